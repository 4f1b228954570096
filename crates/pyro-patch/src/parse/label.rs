//! A name on one side of a patch, and the paths below `/workspace` that it may mean.

use crate::error::PatchError;
use crate::repository::in_repository_folder;
use crate::root::ROOT_PREFIX;
use crate::text::shown;

/// Linux takes no longer path and no longer name.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;
/// In a line of git's with two names.
const MOST_SPACES: usize = 200;
/// What git puts before names, with `diff.mnemonicPrefix` and without.
const PREFIXES: &[u8] = b"abciow12";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// `/dev/null`: nothing is there.
    Absent,
    Name {
        raw: Vec<u8>,
        style: Style,
    },
}

/// What is known about what stands before the path in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Certainly so many bytes: git's own line or both sides say so.
    Known(usize),
    /// So many bytes, as two folders were compared: both names are alike behind that. Doubtful where
    /// the whole name is there as well.
    Folder(usize),
    /// Perhaps an `a/` or `b/`.
    Loose,
    /// Perhaps another of git's letters, as where only one side is there nothing tells it apart from
    /// a folder.
    Letter,
    /// Nothing, unless only `a/` or `b/` makes sense.
    Verbatim,
}

/// Where a name goes on behind a folder.
enum Below {
    At(usize),
    Not,
    Either,
}

impl Label {
    pub(crate) fn name(raw: Vec<u8>, style: Style) -> Self {
        match raw.as_slice() {
            b"/dev/null" => Self::Absent,
            _ => Self::Name { raw, style },
        }
    }

    /// What follows `--- ` or `+++ `.
    pub(crate) fn read(text: &[u8], line: usize) -> Result<Self, PatchError> {
        let text = text.trim_ascii_start();
        let raw = match text {
            [b'"', ..] => match unquote(text) {
                Some((name, _)) => name,
                None => {
                    return Err(PatchError::Syntax {
                        line,
                        problem: "the name in quotes does not end, or has an unknown escape",
                    });
                }
            },
            _ => bare(text).to_vec(),
        };
        Ok(Self::name(raw, Style::Loose))
    }

    /// With a prefix before `/dev/null`, as some write it without git's own head.
    pub(crate) fn or_absent(self) -> Self {
        match &self {
            Self::Name { raw, .. } if matches!(raw.as_slice(), b"a/dev/null" | b"b/dev/null") => {
                Self::Absent
            }
            _ => self,
        }
    }

    /// Both sides at once, as only together they tell what a prefix is.
    pub(crate) fn pair(old: &mut Self, new: &mut Self) {
        match (old, new) {
            (
                Self::Name { raw: old, style },
                Self::Name {
                    raw: new,
                    style: other,
                },
            ) => {
                without_words(old, new);
                if old == new {
                    return;
                }
                if let Some(path) = common_path(old, new) {
                    let ends = [old.len() - path, new.len() - path];
                    let usual = is_prefix(&old[..ends[0]]) && is_prefix(&new[..ends[1]]);
                    let styles = ends.map(|end| match usual {
                        true => Style::Known(end),
                        false => Style::Folder(end),
                    });
                    [*style, *other] = styles;
                } else if old.starts_with(b"a/") && new.starts_with(b"b/") {
                    *style = Style::Known(2);
                    *other = Style::Known(2);
                }
            }
            (Self::Name { raw, style }, Self::Absent) if raw.starts_with(b"a/") => {
                *style = Style::Known(2);
            }
            (Self::Absent, Self::Name { raw, style }) if raw.starts_with(b"b/") => {
                *style = Style::Known(2);
            }
            _ => {}
        }
    }

    /// The names on the line that begins with `diff --git`, which say what git put before them,
    /// whatever its settings: nothing, where both are the same. Names with spaces make the line
    /// ambiguous; then both are alike, as others follow on lines of their own.
    pub(crate) fn git_pair(text: &[u8]) -> Option<(Self, Self)> {
        // The search takes the longer, the more spaces and bytes there are.
        let spaces = text.iter().filter(|byte| **byte == b' ').count();
        if text.len() > 4 * LONGEST_PATH || spaces > MOST_SPACES {
            return None;
        }
        let (old, new) = if text.starts_with(b"\"") {
            let (old, rest) = unquote(text)?;
            let rest = rest.strip_prefix(b" ")?;
            match unquote(rest) {
                Some((new, _)) => (old, new),
                None => (old, rest.to_vec()),
            }
        } else if text.ends_with(b"\"") {
            let split = text.windows(2).position(|two| two == b" \"")?;
            (text[..split].to_vec(), unquote(&text[split + 1..])?.0)
        } else {
            let splits = || (0..text.len()).filter(|at| text[*at] == b' ');
            let halves = |at: usize| (&text[..at], &text[at + 1..]);
            let alike = splits()
                .map(halves)
                .filter_map(|(old, new)| Some((common_path(old, new)?, (old, new))))
                .max_by_key(|(length, _)| *length);
            let only = || match splits().count() {
                1 => splits().map(halves).next(),
                _ => None,
            };
            let (old, new) = alike.map(|(_, halves)| halves).or_else(only)?;
            (old.to_vec(), new.to_vec())
        };
        let styles = match common_path(&old, &new) {
            _ if old == new => [Style::Verbatim; 2],
            Some(path) => [old.len(), new.len()].map(|length| Style::Known(length - path)),
            None if old.starts_with(b"a/") && new.starts_with(b"b/") => [Style::Known(2); 2],
            None => [Style::Loose; 2],
        };
        Some((Self::name(old, styles[0]), Self::name(new, styles[1])))
    }

    /// Takes over what git's own line said of the same name, or of the same path with something
    /// else before it. False when it says nothing about this.
    pub(crate) fn learn(&mut self, from_git: &Self) -> bool {
        let (
            Self::Name { raw, style },
            Self::Name {
                raw: known,
                style: known_style,
            },
        ) = (self, from_git)
        else {
            return true;
        };
        if raw == known {
            *style = *known_style;
            return true;
        }
        let Style::Known(end) = *known_style else {
            return false;
        };
        let path = &known[end..];
        let own = raw.len().saturating_sub(path.len());
        if raw.ends_with(path) && (own == 0 || raw[own - 1] == b'/') {
            *style = Style::Known(own);
            return true;
        }
        false
    }

    /// What stands before the path, where that is certain.
    pub(crate) fn prefix(&self) -> Option<&[u8]> {
        match self {
            Self::Name {
                raw,
                style: Style::Known(end) | Style::Folder(end),
            } => Some(&raw[..*end]),
            _ => None,
        }
    }

    /// Takes a longer prefix, which the rest of the patch has.
    pub(crate) fn take_prefix(&mut self, prefix: &[u8]) {
        let known = self.prefix().map_or(0, <[u8]>::len);
        if let Self::Name { raw, style } = self
            && prefix.len() > known
            && raw.len() > prefix.len()
            && raw.starts_with(prefix)
        {
            *style = match is_prefix(prefix) {
                true => Style::Known(prefix.len()),
                false => Style::Folder(prefix.len()),
            };
        }
    }

    /// Takes a letter in front for one of git's, which says so nowhere.
    pub(crate) fn take_letter(&mut self) {
        if let Self::Name { raw, style } = self
            && *style == Style::Loose
            && let [letter, b'/', _, ..] = raw.as_slice()
            && !b"ab".contains(letter)
            && PREFIXES.contains(letter)
        {
            *style = Style::Letter;
        }
    }

    /// Whether a letter in front may be one of git's.
    pub(crate) fn may_have_letter(&self) -> bool {
        matches!(
            self,
            Self::Name {
                style: Style::Letter,
                ..
            }
        )
    }

    /// Where its likeliest reading goes on behind a folder; one that begins at the root says by
    /// itself where it belongs.
    fn behind(&self, folder: &[u8]) -> Below {
        let Self::Name { raw, style } = self else {
            return Below::Either;
        };
        let start = match (style, raw.as_slice()) {
            (Style::Known(end) | Style::Folder(end), _) => *end,
            (Style::Loose, [b'a' | b'b', b'/', ..]) | (Style::Letter, _) => 2,
            _ => 0,
        };
        if raw[start..].starts_with(b"/") {
            return Below::Either;
        }
        match part_behind(&raw[start..], folder) {
            Some(behind) => Below::At(start + behind),
            None => Below::Not,
        }
    }

    /// Whether it goes on behind a folder. `None`: it may be there or not.
    pub(crate) fn is_below(&self, folder: &[u8]) -> Option<bool> {
        match self.behind(folder) {
            Below::At(_) => Some(true),
            Below::Not => Some(false),
            Below::Either => None,
        }
    }

    /// Takes a folder that it goes on behind as a part of what stands before the path.
    pub(crate) fn strip_folder(&mut self, folder: &[u8]) {
        let behind = self.behind(folder);
        if let (Self::Name { style, .. }, Below::At(end)) = (self, behind) {
            *style = match style {
                Style::Folder(_) => Style::Folder(end),
                _ => Style::Known(end),
            };
        }
    }

    /// The paths that the name may mean, likeliest first.
    pub(crate) fn readings(&self, line: usize) -> Result<Vec<Vec<u8>>, PatchError> {
        let Self::Name { raw, style } = self else {
            return Ok(Vec::new());
        };
        let stripped = match raw.as_slice() {
            [b'a' | b'b', b'/', rest @ ..] => Some(rest),
            [_, b'/', rest @ ..] if *style == Style::Letter => Some(rest),
            _ => None,
        };
        let spoken = match (style, stripped) {
            (Style::Known(end) | Style::Folder(end), _) => vec![&raw[*end..]],
            (_, None) => vec![raw.as_slice()],
            (Style::Loose | Style::Letter, Some(rest)) => vec![rest, raw.as_slice()],
            (Style::Verbatim, Some(rest)) => vec![raw.as_slice(), rest],
        };
        let mut paths: Vec<Vec<u8>> = Vec::new();
        for name in spoken {
            let path = clean(name, raw, line)?;
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        // Who thinks of `/workspace/x` may well write `a/workspace/x`.
        if let Some(path) = paths[0].strip_prefix(&ROOT_PREFIX[1..])
            && !path.is_empty()
        {
            paths.push(path.to_vec());
        }
        Ok(paths)
    }

    /// The whole name of a file in one of two folders that were compared, which makes it doubtful
    /// when it is there.
    pub(crate) fn whole(&self) -> Option<Vec<u8>> {
        match self {
            Self::Name {
                raw,
                style: Style::Folder(end),
            } if *end > 0 => clean(raw, raw, 0).ok(),
            _ => None,
        }
    }

    /// A folder that, when it is there, makes a reading doubtful.
    pub(crate) fn folder_of_prefix(&self) -> Option<Vec<u8>> {
        let Self::Name { raw, style } = self else {
            return None;
        };
        match style {
            Style::Loose if raw.starts_with(b"a/") => Some(b"a".to_vec()),
            Style::Letter => Some(raw[..1].to_vec()),
            Style::Folder(end) => clean(raw[..*end].strip_suffix(b"/")?, raw, 0).ok(),
            _ if is_workspace(raw) => Some(b"workspace".to_vec()),
            _ => None,
        }
    }

    /// Whether a new file of this name may belong into the folder of its prefix, when that is there.
    pub(crate) fn is_doubtful(&self) -> bool {
        match self {
            Self::Name { raw, style } => match style {
                Style::Loose => raw.starts_with(b"a/") || raw.starts_with(b"b/"),
                Style::Folder(_) | Style::Letter => true,
                Style::Known(_) | Style::Verbatim => false,
            },
            Self::Absent => false,
        }
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Absent => "/dev/null".to_owned(),
            Self::Name { raw, .. } => shown(raw),
        }
    }
}

/// `workspace/x`, with a prefix or without.
fn is_workspace(raw: &[u8]) -> bool {
    let rest = match raw {
        [b'a' | b'b', b'/', rest @ ..] => rest,
        _ => raw,
    };
    rest.starts_with(&ROOT_PREFIX[1..])
}

/// Where the part of a path begins that comes after a folder.
fn part_behind(path: &[u8], folder: &[u8]) -> Option<usize> {
    let mut folders = folder.split(|byte| *byte == b'/').peekable();
    let mut at = 0;
    for part in path.split(|byte| *byte == b'/') {
        match folders.peek() {
            None => return Some(at),
            _ if matches!(part, b"" | b".") => {}
            Some(wanted) if *wanted == part => drop(folders.next()),
            Some(_) => return None,
        }
        at += part.len() + 1;
    }
    None
}

/// How long the path is in which two names end, from the front of a part on.
pub(crate) fn common_path(old: &[u8], new: &[u8]) -> Option<usize> {
    let alike = std::iter::zip(old.iter().rev(), new.iter().rev());
    let longest = alike.take_while(|(old, new)| old == new).count();
    let begins =
        |name: &[u8], length: usize| name.len() == length || name[name.len() - length - 1] == b'/';
    (1..=longest)
        .rev()
        .find(|length| begins(old, *length) && begins(new, *length))
}

/// Whether this is what git, hg and models put before names.
fn is_prefix(prefix: &[u8]) -> bool {
    match prefix {
        [] => true,
        [letter, b'/'] => PREFIXES.contains(letter),
        _ => false,
    }
}

/// isort says behind both names which is which.
fn without_words(old: &mut Vec<u8>, new: &mut Vec<u8>) {
    if let (Some(before), Some(after)) = (old.strip_suffix(b":before"), new.strip_suffix(b":after"))
        && before == after
    {
        let length = before.len();
        old.truncate(length);
        new.truncate(length);
    }
}

/// A name without quotes ends at a TAB, before a time, or with the line.
fn bare(text: &[u8]) -> &[u8] {
    if let Some(tab) = text.iter().position(|byte| *byte == b'\t') {
        return &text[..tab];
    }
    let is_time = |rest: &[u8]| {
        let shape = b" 0000-00-00 00:00";
        rest.len() >= shape.len()
            && rest.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let end = (0..text.len()).find(|at| is_time(&text[*at..]));
    text[..end.unwrap_or(text.len())].trim_ascii_end()
}

/// A name in quotes as git writes it, and what follows.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (escape, after) = rest.split_first()?;
                rest = after;
                name.push(match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'"' | b'\\' => *escape,
                    b'0'..=b'3' => {
                        let (digits, after) = rest.split_first_chunk::<2>()?;
                        rest = after;
                        digits
                            .iter()
                            .try_fold(escape - b'0', |value, digit| match digit {
                                b'0'..=b'7' => Some(value << 3 | (digit - b'0')),
                                _ => None,
                            })?
                    }
                    _ => return None,
                });
            }
            other => name.push(*other),
        }
    }
}

/// The path below `/workspace`, without needless parts.
fn clean(name: &[u8], label: &[u8], line: usize) -> Result<Vec<u8>, PatchError> {
    let refused = |problem| PatchError::Path {
        line,
        label: shown(label),
        problem,
    };
    let below = match name.strip_prefix(ROOT_PREFIX) {
        Some(below) => below,
        None if name.starts_with(b"/") => return Err(refused("it is not below /workspace")),
        None => name,
    };
    if below.contains(&0) {
        return Err(refused("it contains a NUL byte"));
    }
    if below.ends_with(b"/") {
        return Err(refused("it names a folder"));
    }
    let mut path = Vec::with_capacity(below.len());
    for part in below.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(refused("it contains `..`")),
            _ if part.len() > LONGEST_NAME => return Err(refused("a name in it is too long")),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    if path.is_empty() {
        return Err(refused("it names no file"));
    }
    if path.len() > LONGEST_PATH {
        return Err(refused("it is too long"));
    }
    if in_repository_folder(&path) {
        return Err(PatchError::Repository {
            line,
            label: shown(label),
        });
    }
    Ok(path)
}
