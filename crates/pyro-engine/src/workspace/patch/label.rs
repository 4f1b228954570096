//! A name on one side of a patch, and the paths below `/workspace` that it may mean.

use super::PatchError;
use super::text::shown;

const WORKSPACE: &[u8] = b"/workspace/";
/// Linux takes no longer path and no longer name.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;
/// What git puts before names, with `diff.mnemonicPrefix` and without.
const PREFIXES: &[u8] = b"abciow12";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// `/dev/null`: nothing is there.
    Absent,
    Name {
        raw: Vec<u8>,
        style: Style,
    },
}

/// What is known about an `a/` or `b/` in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Certainly a prefix: the two sides have one each and are otherwise alike.
    Prefixed,
    /// Perhaps one.
    Loose,
    /// Not one, unless only that makes sense.
    Verbatim,
}

impl Label {
    pub(super) fn name(raw: Vec<u8>, style: Style) -> Self {
        match raw.as_slice() {
            b"/dev/null" => Self::Absent,
            _ => Self::Name { raw, style },
        }
    }

    /// What follows `--- ` or `+++ `.
    pub(super) fn read(text: &[u8], line: usize) -> Result<Self, PatchError> {
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
    pub(super) fn or_absent(self) -> Self {
        match &self {
            Self::Name { raw, .. } if matches!(raw.as_slice(), b"a/dev/null" | b"b/dev/null") => {
                Self::Absent
            }
            _ => self,
        }
    }

    /// Both sides at once, as only together they tell what a prefix is.
    pub(super) fn pair(old: &mut Self, new: &mut Self) {
        match (old, new) {
            (
                Self::Name { raw: old, style },
                Self::Name {
                    raw: new,
                    style: other,
                },
            ) if is_pair(old, new) => {
                *style = Style::Prefixed;
                *other = Style::Prefixed;
            }
            (Self::Name { raw, style }, Self::Absent) if raw.starts_with(b"a/") => {
                *style = Style::Prefixed;
            }
            (Self::Absent, Self::Name { raw, style }) if raw.starts_with(b"b/") => {
                *style = Style::Prefixed;
            }
            _ => {}
        }
    }

    /// The names on the line that begins with `diff --git`. Names with spaces make it ambiguous,
    /// but where no other line names the files, both are the same.
    pub(super) fn git_pair(text: &[u8]) -> Option<(Self, Self)> {
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
            let alike = splits().map(halves).find(|(old, new)| same_file(old, new));
            let only = || match splits().count() {
                1 => splits().map(halves).next(),
                _ => None,
            };
            let (old, new) = alike.or_else(only)?;
            (old.to_vec(), new.to_vec())
        };
        let (mut old, mut new) = (Self::name(old, Style::Loose), Self::name(new, Style::Loose));
        Self::pair(&mut old, &mut new);
        Some((old, new))
    }

    /// The paths that the name may mean, likeliest first.
    pub(super) fn readings(&self, line: usize) -> Result<Vec<Vec<u8>>, PatchError> {
        let Self::Name { raw, style } = self else {
            return Ok(Vec::new());
        };
        let prefixes = match style {
            Style::Prefixed => PREFIXES,
            Style::Loose | Style::Verbatim => b"ab",
        };
        let stripped = raw
            .split_first_chunk::<2>()
            .filter(|(head, _)| head[1] == b'/' && prefixes.contains(&head[0]))
            .map(|(_, rest)| rest);
        let spoken = match (style, stripped) {
            (_, None) => vec![raw.as_slice()],
            (Style::Prefixed, Some(rest)) => vec![rest],
            (Style::Loose, Some(rest)) => vec![rest, raw.as_slice()],
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
        if let Some(path) = paths[0].strip_prefix(&WORKSPACE[1..])
            && !path.is_empty()
        {
            paths.push(path.to_vec());
        }
        Ok(paths)
    }

    /// A folder that, when it is there, makes a reading doubtful.
    pub(super) fn folder_of_prefix(&self) -> Option<Vec<u8>> {
        let Self::Name { raw, style } = self else {
            return None;
        };
        match style {
            Style::Loose if raw.starts_with(b"a/") => Some(b"a".to_vec()),
            _ if is_workspace(raw) => Some(b"workspace".to_vec()),
            _ => None,
        }
    }

    /// Whether its first two readings are one with and one without what may be a prefix.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self, Self::Name { raw, style: Style::Loose }
            if raw.starts_with(b"a/") || raw.starts_with(b"b/"))
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
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
    rest.starts_with(&WORKSPACE[1..])
}

/// Whether two labels name one file, whatever stands before it.
pub(super) fn same_file(old: &[u8], new: &[u8]) -> bool {
    !old.is_empty() && (old == new || is_pair(old, new) && old[2..] == new[2..])
}

/// Whether both have a prefix: the two of git, even where a rename makes the rest differ, or two
/// different ones before the same name.
fn is_pair(old: &[u8], new: &[u8]) -> bool {
    match (old, new) {
        ([b'a', b'/', old @ ..], [b'b', b'/', new @ ..]) => !old.is_empty() && !new.is_empty(),
        ([old, b'/', old_rest @ ..], [new, b'/', new_rest @ ..]) => {
            old != new
                && old_rest == new_rest
                && !old_rest.is_empty()
                && PREFIXES.contains(old)
                && PREFIXES.contains(new)
        }
        _ => false,
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
    let below = match name.strip_prefix(WORKSPACE) {
        Some(below) => below,
        None if name.starts_with(b"/") => return Err(refused("it is not below /workspace")),
        None => name,
    };
    if below.contains(&0) {
        return Err(refused("it holds a NUL byte"));
    }
    if below.ends_with(b"/") {
        return Err(refused("it names a folder"));
    }
    let mut path = Vec::with_capacity(below.len());
    for part in below.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(refused("it holds `..`")),
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
    Ok(path)
}
