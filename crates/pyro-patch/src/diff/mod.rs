//! The difference of two files as a unified diff that applies again, by pyro and by git: three
//! lines of context, git's heads for modes, links, new and deleted files, and for odd names.
//!
//! Text is what has no NUL, whatever its encoding, and is written byte for byte. What is no text may
//! be written as a binary section of git's.
//!
//! Not every mode is one of git's two. Where a patch gives a file a mode, that is written as it is;
//! git reads it as the nearer of its two, pyro takes it exactly. A change between two that are one
//! to git is not written, as git refuses a patch that tells nothing else.

mod binary;
mod changes;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::ops::Range;

use crate::limits::MAX_FILE;

use self::changes::{Change, changes};

const CONTEXT: usize = 3;

const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// What is at the path before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'c> {
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

/// The unified diff of a path; empty when nothing differs that a patch can tell, and `None` when the
/// content that differs is no text or longer than [`MAX_FILE`].
pub fn text_diff(path: &[u8], before: Side<'_>, after: Side<'_>) -> Option<Vec<u8>> {
    in_kinds(path, before, after, Binary::LeftOut)
}

/// The same, where what is no text is a binary section. `None`: it is too long.
pub fn binary_diff(path: &[u8], before: Side<'_>, after: Side<'_>) -> Option<Vec<u8>> {
    in_kinds(path, before, after, Binary::Section)
}

/// What becomes of content that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    LeftOut,
    Section,
}

fn in_kinds(path: &[u8], before: Side<'_>, after: Side<'_>, binary: Binary) -> Option<Vec<u8>> {
    match (before, after) {
        // As in git: what becomes something else goes first.
        (Side::File { .. }, Side::Link { .. }) | (Side::Link { .. }, Side::File { .. }) => {
            let mut both = one_kind(path, before, Side::Absent, binary)?;
            both.extend(one_kind(path, Side::Absent, after, binary)?);
            Some(both)
        }
        _ => one_kind(path, before, after, binary),
    }
}

fn one_kind(path: &[u8], before: Side<'_>, after: Side<'_>, binary: Binary) -> Option<Vec<u8>> {
    let (old, new) = (before.content(), after.content());
    if old == new && before.mode().map(git_mode) == after.mode().map(git_mode) {
        return Some(Vec::new());
    }
    let (old_name, new_name) = (quoted(b"a/", path), quoted(b"b/", path));
    let mut text = format!("diff --git {old_name} {new_name}\n");
    match (before.mode(), after.mode()) {
        (None, Some(new)) => text.push_str(&format!("new file mode {new:o}\n")),
        (Some(old), None) => text.push_str(&format!("deleted file mode {:o}\n", git_mode(old))),
        // A link's is told even though it never changes, as its content is no file's.
        (Some(old), Some(new)) if git_mode(old) != git_mode(new) || old == LINK => {
            text.push_str(&format!("old mode {old:o}\nnew mode {new:o}\n"));
        }
        _ => {}
    }
    if old == new {
        // GNU patch takes the word of nothing else for it that a file comes or goes without lines.
        match (before, after) {
            (Side::Absent, _) => text.push_str("index 0000000..e69de29\n"),
            (_, Side::Absent) => text.push_str("index e69de29..0000000\n"),
            _ => {}
        }
        return Some(text.into_bytes());
    }
    if old.len().max(new.len()) > MAX_FILE {
        return None;
    }
    if !(is_text(old) && is_text(new)) {
        if binary == Binary::LeftOut {
            return None;
        }
        let mut text = text.into_bytes();
        let content = |side: Side<'_>, content| (side != Side::Absent).then_some(content);
        binary::write_section(&mut text, content(before, old), content(after, new));
        return Some(text);
    }
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
    let mut text = text.into_bytes();
    write_hunks(&mut text, old, new);
    Some(text)
}

/// Of all modes git knows three: of a file, of one that may be executed, and of a link.
fn git_mode(mode: u32) -> u32 {
    match mode {
        LINK => LINK,
        mode if mode & 0o100 != 0 => FILE | 0o755,
        _ => FILE | 0o644,
    }
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

/// As git has it, but for all of the content and not the first 8,000 bytes alone. UTF-16 is none, to
/// git and here.
fn is_text(content: &[u8]) -> bool {
    !content.contains(&0)
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

fn write_hunks(text: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let is_end = |byte: &u8| *byte == b'\n';
    let old: Vec<&[u8]> = old.split_inclusive(is_end).collect();
    let new: Vec<&[u8]> = new.split_inclusive(is_end).collect();
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

fn write_group(text: &mut Vec<u8>, group: &Group, old: &[&[u8]], new: &[&[u8]]) {
    let (Some(first), Some(last)) = (group.changes.first(), group.changes.last()) else {
        return;
    };
    let before = first.old.start.min(CONTEXT);
    let after = (old.len() - last.old.end).min(CONTEXT);
    let old_range = first.old.start - before..last.old.end + after;
    let new_range = first.new.start - before..last.new.end + after;
    // Writing to a Vec cannot fail.
    let _ = writeln!(
        text,
        "@@ -{} +{} @@",
        numbers(&old_range),
        numbers(&new_range)
    );
    let mut at = old_range.start;
    for change in &group.changes {
        write_lines(text, b' ', old, at..change.old.start);
        write_lines(text, b'-', old, change.old.clone());
        write_lines(text, b'+', new, change.new.clone());
        at = change.old.end;
    }
    write_lines(text, b' ', old, at..old_range.end);
}

/// `start,count`: from 1, or the line before where there are none.
fn numbers(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn write_lines(text: &mut Vec<u8>, sign: u8, lines: &[&[u8]], range: Range<usize>) {
    for line in &lines[range] {
        text.push(sign);
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}
