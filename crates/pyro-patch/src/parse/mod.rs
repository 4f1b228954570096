//! From the text of a patch to its sections. What stands around the sections (prose, Markdown
//! fences, a mail's head and foot) is passed over, but never a line that could be part of a hunk.

mod absent;
mod begin_patch;
pub(crate) mod binary;
mod header;
mod hunk;
pub(crate) mod label;
mod lines;
pub(crate) mod mail;
mod message;
pub(crate) mod section;
mod subversion;

use crate::error::PatchError;
use crate::text::shown;

use self::label::Label;
use self::lines::{Lines, is_fence};
use self::section::Section;

/// Which of the two families a patch is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Unified,
    /// From `*** Begin Patch` to `*** End Patch`.
    BeginPatch,
}

pub(crate) fn sections(text: &[u8]) -> Result<(Format, Vec<Section<'_>>), PatchError> {
    let mut lines = Lines::new(text);
    let mut sections: Vec<Section<'_>> = Vec::new();
    // After a hunk without right numbers, or a head without hunks, a line with a sign may be lost.
    let mut guarded = false;
    let mut one_sided = Vec::new();
    while let Some(line) = lines.peek() {
        if sections.is_empty() && begin_patch::begins(line) {
            return Ok((Format::BeginPatch, begin_patch::sections(&mut lines)?));
        }
        if message::begins(line) {
            message::pass(&mut lines);
            guarded = false;
            continue;
        }
        if subversion::begins(line) {
            subversion::read_properties(&mut lines, sections.last_mut());
            guarded = false;
            continue;
        }
        if header::begins(&lines) {
            let mut section = header::read(&mut lines)?;
            guarded = match section.binary {
                Some(_) => false,
                None => hunk::read_all(&mut lines, &mut section)?,
            };
            section.settle();
            sections.push(section);
            continue;
        }
        if line.starts_with(b"@@") {
            let Some(section) = sections.last_mut() else {
                return Err(syntax(&lines, "a hunk comes before any `--- ` and `+++ `"));
            };
            guarded = hunk::read_all(&mut lines, section)?;
            continue;
        }
        if is_fence(line) {
            guarded = false;
        } else if let Some(name) = one_sided_name(line) {
            one_sided.push(name);
        } else if let Some(problem) = hint_of_more(&lines, line, guarded) {
            return Err(problem);
        }
        lines.advance();
    }
    if sections.is_empty() {
        return Err(PatchError::NoSections);
    }
    for section in &sections {
        if section.says_nothing() {
            return Err(PatchError::Syntax {
                line: section.line,
                problem: "the file is named, but no hunk, mode or rename follows",
            });
        }
    }
    share_prefixes(&mut sections);
    sections[0].one_sided = one_sided;
    Ok((Format::Unified, sections))
}

/// Where only one side is there, what stands before its name is seen from the rest of the patch.
/// If that has something before its names, or is not there, git's letters are known as well.
fn share_prefixes(sections: &mut [Section<'_>]) {
    let mut known: Vec<[Vec<u8>; 2]> = Vec::new();
    for section in sections.iter().filter(|section| !section.is_one_sided()) {
        let prefix = |label: &Option<Label>| {
            label
                .as_ref()
                .and_then(Label::prefix)
                .unwrap_or_default()
                .to_vec()
        };
        let both = [prefix(&section.old), prefix(&section.new)];
        if !known.contains(&both) {
            known.push(both);
        }
    }
    let all_have = match known.as_slice() {
        [both] => Some(both),
        _ => None,
    };
    let nothing = |both: &[Vec<u8>; 2]| both.iter().all(Vec::is_empty);
    for section in sections {
        if !section.is_one_sided() {
            continue;
        }
        for (side, label) in [&mut section.old, &mut section.new].into_iter().enumerate() {
            let Some(label) = label else {
                continue;
            };
            if let Some(both) = all_have {
                label.take_prefix(&both[side]);
            }
            if !all_have.is_some_and(nothing) {
                label.take_letter();
            }
        }
    }
}

/// A line outside of sections that must not be passed over.
fn hint_of_more(lines: &Lines<'_>, line: &[u8], guarded: bool) -> Option<PatchError> {
    if begin_patch::is_of_it(line) {
        return Some(PatchError::Mixed {
            line: lines.number(),
        });
    }
    if line.starts_with(b"<<<<<<< SEARCH") {
        return Some(PatchError::SearchReplace {
            line: lines.number(),
        });
    }
    if line.starts_with(b"diff --cc ") || line.starts_with(b"diff --combined ") {
        return Some(syntax(
            lines,
            "a combined diff of a merge; only diffs of two sides can be applied",
        ));
    }
    if let Some(name) = binary_left_out(line) {
        return Some(PatchError::Binary {
            line: lines.number(),
            name: shown(name),
        });
    }
    let label = |line: &[u8], sign: &[u8]| {
        line.strip_prefix(sign).is_some_and(|name| {
            name.starts_with(b"a/") || name.starts_with(b"b/") || name.starts_with(b"/dev/null")
        })
    };
    if label(line, b"--- ") {
        return Some(syntax(lines, "a `+++ ` line must follow a `--- ` line"));
    }
    if label(line, b"+++ ") {
        return Some(syntax(
            lines,
            "a `--- ` line must come before a `+++ ` line",
        ));
    }
    if guarded && matches!(line.first(), Some(b'+' | b'-')) && !hunk::is_signature(lines, 0) {
        return Some(syntax(
            lines,
            "this may be part of the patch above, which ended before. In a hunk each line begins \
             with a space, `+` or `-`; text between patches must not begin so",
        ));
    }
    None
}

/// `Only in FOLDER: NAME` of GNU diff.
fn one_sided_name(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"Only in ")?.trim_ascii_end();
    rest.windows(2).any(|pair| pair == b": ").then_some(rest)
}

/// What GNU diff, hg and Subversion write in place of what is no text; what they say of it.
fn binary_left_out(line: &[u8]) -> Option<&[u8]> {
    let between = |start: &[u8], end: &[u8]| line.strip_prefix(start)?.strip_suffix(end);
    between(b"Binary files ", b" differ")
        .or_else(|| between(b"Binary file ", b" has changed"))
        .or_else(|| {
            between(b"", b"")
                .filter(|line| line == b"Cannot display: file marked as a binary type.")
        })
}

fn syntax(lines: &Lines<'_>, problem: &'static str) -> PatchError {
    PatchError::Syntax {
        line: lines.number(),
        problem,
    }
}
