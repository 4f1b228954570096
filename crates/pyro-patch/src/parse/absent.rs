//! What stands behind a name when no file is there, where the name is not `/dev/null`.

/// GNU diff writes the beginning of time there, Subversion a word.
pub(crate) fn says_absent(label: &[u8]) -> bool {
    let Some(tab) = label.iter().position(|byte| *byte == b'\t') else {
        return false;
    };
    let words = label[tab..].trim_ascii();
    words == b"(nonexistent)" || std::str::from_utf8(words).ok().and_then(is_epoch) == Some(true)
}

/// `1970-01-01 01:00:00.000000000 +0100` and its like, in any time zone.
fn is_epoch(words: &str) -> Option<bool> {
    let mut words = words.split_ascii_whitespace();
    let (day, time, zone) = (words.next()?, words.next()?, words.next()?);
    let day = match day {
        "1970-01-01" => 0,
        "1969-12-31" => -24 * 60,
        _ => return None,
    };
    let (clock, seconds) = time.split_at_checked(5)?;
    let (hours, minutes) = clock.split_once(':')?;
    let local = day + in_minutes(hours, minutes)?;
    let (sign, zone) = zone.split_at_checked(1).filter(|_| zone.len() == 5)?;
    let (hours, minutes) = zone.split_at_checked(2)?;
    let ahead = match sign {
        "+" => in_minutes(hours, minutes)?,
        "-" => -in_minutes(hours, minutes)?,
        _ => return None,
    };
    let on_the_minute = seconds
        .bytes()
        .all(|byte| matches!(byte, b':' | b'.' | b'0'));
    Some(local == ahead && on_the_minute)
}

fn in_minutes(hours: &str, minutes: &str) -> Option<i32> {
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_time_and_a_word_say_so() {
        for label in [
            "x\t1970-01-01 00:00:00.000000000 +0000",
            "x\t1970-01-01 01:00:00.000000000 +0100",
            "x\t1969-12-31 19:00:00.000000000 -0500",
            "x\t1970-01-01 05:30:00 +0530",
            "x\t(nonexistent)",
        ] {
            assert!(says_absent(label.as_bytes()), "{label}");
        }
        for label in [
            "x",
            "x 1970-01-01 00:00:00 +0000",
            "x\t1970-01-01 00:00:00.000000001 +0000",
            "x\t1970-01-01 01:00:00.000000000 +0000",
            "x\t2024-01-01 00:00:00.000000000 +0000",
            "x\t1970-01-01 00:00:00",
            "x\t1970-01-01 \u{e9}0:00:00 +0000",
            "x\t(working copy)",
        ] {
            assert!(!says_absent(label.as_bytes()), "{label}");
        }
    }
}
