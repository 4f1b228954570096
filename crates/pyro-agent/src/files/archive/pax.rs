//! The records with which an archive says what a tar header has no room for:
//! `<length> <key>=<value>\n`, where the length counts the whole record.

use pyro_wire::sparse;

use crate::files::status;

/// What comes before the name of an extended attribute.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What the records in front of a member say about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) mtime_ns: Option<i64>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    /// Names and values.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: sparse::Records,
}

impl Records {
    /// Takes over what other records say; `None` when they are damaged.
    pub(crate) fn read(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = number(&records[..space])?;
            let record = records.get(space + 1..length.checked_sub(1)?)?;
            if records.get(length - 1) != Some(&b'\n') {
                return None;
            }
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value)?),
                b"uid" => self.user = Some(number(value)?),
                b"gid" => self.group = Some(number(value)?),
                _ if key.starts_with(ATTRIBUTE) => {
                    let name = key[ATTRIBUTE.len()..].to_vec();
                    self.attributes.push((name, value.to_vec()));
                }
                b"mtime" => self.mtime_ns = Some(time(value)?),
                _ => self.sparse.take(key, value).ok()?,
            }
            records = &records[length..];
        }
        Some(())
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `-1.5` is a second and a half before 1970. Digits beyond nanoseconds are cut.
fn time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (negative, whole) = match whole.strip_prefix('-') {
        Some(whole) => (true, whole),
        None => (false, whole),
    };
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds >= 0)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let time = status::nanoseconds(seconds, digits.parse().ok()?);
    Some(if negative { -time } else { time })
}

/// Appends a record.
pub(crate) fn append(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    // The length counts its own digits too.
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A time as records hold it.
pub(crate) fn time_text(nanoseconds: i64) -> String {
    let size = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (seconds, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    format!("{sign}{seconds}.{rest:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for length in [
            0, 1, 85, 86, 87, 88, 89, 90, 984, 985, 986, 987, 9_980, 70_000,
        ] {
            let name: Vec<u8> = (0..length)
                .map(|at| [b'\n', b'=', b' ', 0xff][at % 4])
                .collect();
            let mut text = Vec::new();
            append(&mut text, "path", &name);
            append(&mut text, "linkpath", b"x");
            let mut records = Records::default();
            records.read(&text).unwrap();
            assert_eq!(records.path.unwrap(), name);
            assert_eq!(records.link.unwrap(), b"x");
        }
    }

    #[test]
    fn times_are_exact() {
        for (text, expected) in [
            ("0", 0),
            ("1.5", 1_500_000_000),
            ("-1.5", -1_500_000_000),
            ("1700000000.1234567899", 1_700_000_000_123_456_789),
            ("12.000000001", 12_000_000_001),
        ] {
            assert_eq!(time(text.as_bytes()), Some(expected), "{text}");
            assert_eq!(time(time_text(expected).as_bytes()), Some(expected));
        }
        for text in ["", "x", "1.x", "--1", "1.-5", "1e9"] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for text in [
            "x",
            "5",
            "0 a=b\n",
            "1 ",
            "99 a=b\n",
            "6 a=b\nx",
            "6 a=bx",
            "5 ab\n",
            "18446744073709551615 a=b\n",
            "-6 a=b\n",
            "9 size=-\n",
        ] {
            assert_eq!(Records::default().read(text.as_bytes()), None, "{text}");
        }
    }
}
