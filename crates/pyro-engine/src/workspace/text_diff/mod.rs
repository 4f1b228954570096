//! The difference of two files as a unified diff that applies again, by pyro and by git: three
//! lines of context, git's heads for modes, links, new and deleted files, and for odd names.
//!
//! Not every mode is one of git's two. Others are written as they are; git reads them as the
//! nearer of its two, pyro takes them exactly.

mod changes;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::ops::Range;

use changes::{Change, changes};

const CONTEXT: usize = 3;
/// Sides longer than this are not compared.
pub(crate) const MAX_SIDE: usize = 8 * 1024 * 1024;

const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// What is at the path before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side<'c> {
    Absent,
    File {
        content: &'c [u8],
        /// Permission bits.
        mode: u32,
    },
    Link {
        target: &'c [u8],
    },
}

/// The unified diff of a path below `/workspace`; empty when nothing differs, and `None` when the
/// content that differs is no text (UTF-8 without NUL) or too long.
pub(crate) fn text_diff(path: &[u8], before: Side<'_>, after: Side<'_>) -> Option<String> {
    match (before, after) {
        // As in git: what becomes something else goes first.
        (Side::File { .. }, Side::Link { .. }) | (Side::Link { .. }, Side::File { .. }) => {
            let gone = one_kind(path, before, Side::Absent)?;
            let made = one_kind(path, Side::Absent, after)?;
            Some(gone + &made)
        }
        _ => one_kind(path, before, after),
    }
}

fn one_kind(path: &[u8], before: Side<'_>, after: Side<'_>) -> Option<String> {
    if before == after {
        return Some(String::new());
    }
    let (old_name, new_name) = (quoted(b"a/", path), quoted(b"b/", path));
    let mut text = format!("diff --git {old_name} {new_name}\n");
    match (before.mode(), after.mode()) {
        (None, Some(new)) => text.push_str(&format!("new file mode {new:o}\n")),
        (Some(old), None) => text.push_str(&format!("deleted file mode {old:o}\n")),
        // A link's is told even though it never changes, as its content is no file's.
        (Some(old), Some(new)) if old != new || old == LINK => {
            text.push_str(&format!("old mode {old:o}\nnew mode {new:o}\n"));
        }
        _ => {}
    }
    let (old, new) = (before.content(), after.content());
    if old == new {
        return Some(text);
    }
    let (old, new) = (as_text(old)?, as_text(new)?);
    let end = if path.iter().any(u8::is_ascii_whitespace) && !old_name.starts_with('"') {
        // Where a name ends that has spaces in it.
        "\t"
    } else {
        ""
    };
    match before {
        Side::Absent => text.push_str("--- /dev/null\n"),
        _ => text.push_str(&format!("--- {old_name}{end}\n")),
    }
    match after {
        Side::Absent => text.push_str("+++ /dev/null\n"),
        _ => text.push_str(&format!("+++ {new_name}{end}\n")),
    }
    write_hunks(&mut text, old, new);
    Some(text)
}

impl<'c> Side<'c> {
    fn mode(self) -> Option<u32> {
        match self {
            Self::Absent => None,
            Self::File { mode, .. } => Some(FILE | (mode & 0o7777)),
            Self::Link { .. } => Some(LINK),
        }
    }

    fn content(self) -> &'c [u8] {
        match self {
            Self::Absent => b"",
            Self::File { content, .. } => content,
            Self::Link { target } => target,
        }
    }
}

fn as_text(content: &[u8]) -> Option<&str> {
    if content.len() > MAX_SIDE || content.contains(&0) {
        return None;
    }
    std::str::from_utf8(content).ok()
}

/// The name with its prefix, in quotes when it has to be, as git writes it.
fn quoted(prefix: &[u8], path: &[u8]) -> String {
    let name = [prefix, path].concat();
    let is_odd = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\');
    if let Ok(name) = std::str::from_utf8(&name)
        && !name.bytes().any(|byte| is_odd(&byte))
    {
        return name.to_owned();
    }
    let mut words = String::from("\"");
    for byte in name {
        match byte {
            b'\t' => words.push_str("\\t"),
            b'\n' => words.push_str("\\n"),
            b'\r' => words.push_str("\\r"),
            b'"' => words.push_str("\\\""),
            b'\\' => words.push_str("\\\\"),
            b' '..=b'~' => words.push(char::from(byte)),
            other => words.push_str(&format!("\\{other:03o}")),
        }
    }
    words.push('"');
    words
}

/// Neighbouring changes with the context around them, in lines counted from 0.
struct Group {
    changes: Vec<Change>,
}

fn write_hunks(text: &mut String, old: &str, new: &str) {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    for group in groups(changes(&old, &new)) {
        write_group(text, &group, &old, &new);
    }
}

fn groups(changes: Vec<Change>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for change in changes {
        match groups.last_mut() {
            Some(group)
                if group
                    .changes
                    .last()
                    .is_some_and(|last| change.old.start - last.old.end <= 2 * CONTEXT) =>
            {
                group.changes.push(change);
            }
            _ => groups.push(Group {
                changes: vec![change],
            }),
        }
    }
    groups
}

fn write_group(text: &mut String, group: &Group, old: &[&str], new: &[&str]) {
    let (Some(first), Some(last)) = (group.changes.first(), group.changes.last()) else {
        return;
    };
    let before = first.old.start.min(CONTEXT);
    let after = (old.len() - last.old.end).min(CONTEXT);
    let old_range = first.old.start - before..last.old.end + after;
    let new_range = first.new.start - before..last.new.end + after;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "@@ -{} +{} @@",
        numbers(&old_range),
        numbers(&new_range)
    );
    let mut at = old_range.start;
    for change in &group.changes {
        write_lines(text, ' ', old, at..change.old.start);
        write_lines(text, '-', old, change.old.clone());
        write_lines(text, '+', new, change.new.clone());
        at = change.old.end;
    }
    write_lines(text, ' ', old, at..old_range.end);
}

/// `start,count`: from 1, or the line before where there are none.
fn numbers(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn write_lines(text: &mut String, sign: char, lines: &[&str], range: Range<usize>) {
    for line in &lines[range] {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}
