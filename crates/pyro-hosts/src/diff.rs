//! The lines that a change takes away and adds, for a person to see.

use pyro_api::report::plain;

/// A line longer than this is not shown: somebody may have written all of a file in one.
const MAX_LINE_CHARS: usize = 200;

/// Lines that begin with `-` or `+`. Only what differs is shown, and a comma that a line gets or
/// loses is no difference: its neighbour may be a key.
pub(crate) fn lines(before: &str, after: &str) -> Vec<String> {
    let before: Vec<&str> = before.lines().collect();
    let after: Vec<&str> = after.lines().collect();
    let bare = |line: &str| line.trim_end_matches(',').to_owned();
    let same = |(left, right): &(&&str, &&str)| bare(left) == bare(right);
    let head = before.iter().zip(&after).take_while(same).count();
    let (before, after) = (&before[head..], &after[head..]);
    let tail = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(same)
        .count();
    let gone = before[..before.len() - tail]
        .iter()
        .map(|line| shown('-', line));
    let new = after[..after.len() - tail]
        .iter()
        .map(|line| shown('+', line));
    gone.chain(new).collect()
}

fn shown(sign: char, line: &str) -> String {
    match line.chars().count() {
        0..=MAX_LINE_CHARS => format!("{sign} {}", plain(&line.replace('\t', "    "))),
        many => format!("{sign} (a line of {many} characters)"),
    }
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(lines("a\nb\nc\n", "a\nx\ny\nc\n"), ["- b", "+ x", "+ y"]);
        assert_eq!(lines("", "a\n"), ["+ a"]);
        assert_eq!(lines("a\na\n", "a\na\na\n"), ["+ a"]);
        assert!(lines("a\n", "a\n").is_empty());
        assert_eq!(lines("key\n}", "key,\nb\n}"), ["+ b"]);
        assert_eq!(
            lines("", &"x".repeat(201)),
            ["+ (a line of 201 characters)"]
        );
    }
}
