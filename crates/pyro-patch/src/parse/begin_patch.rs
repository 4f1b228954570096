//! The form of patches that Codex taught to models: `*** Begin Patch` to `*** End Patch`.
//!
//! ```text
//! *** Add File: PATH       then lines with `+`
//! *** Delete File: PATH
//! *** Update File: PATH    perhaps `*** Move to: PATH`, then hunks:
//! @@ class A               a line of the file behind which the hunk is; several narrow it down
//!  context
//! -old
//! +new
//! *** End of File          the hunk is at the end
//! ```
//!
//! Hunks have no numbers, so that their lines and anchors decide where they go.

use super::hunk::{read_header, signed};
use super::label::{Label, Style};
use super::lines::Lines;
use super::section::{Hunk, LineKind, Move, Section};
use crate::error::PatchError;

const BEGIN: &[u8] = b"*** Begin Patch";
const END: &[u8] = b"*** End Patch";
const ADD: &[u8] = b"*** Add File:";
const DELETE: &[u8] = b"*** Delete File:";
const UPDATE: &[u8] = b"*** Update File:";
const MOVE: &[u8] = b"*** Move to:";
const END_OF_FILE: &[u8] = b"*** End of File";

pub(crate) fn begins(line: &[u8]) -> bool {
    line.trim_ascii_end() == BEGIN
}

/// Whether the line can only be part of such a patch.
pub(crate) fn is_of_it(line: &[u8]) -> bool {
    begins(line)
        || [ADD, DELETE, UPDATE]
            .iter()
            .any(|head| line.starts_with(head))
}

/// Reads one such patch after the other; what stands between them is passed over.
pub(crate) fn sections<'t>(lines: &mut Lines<'t>) -> Result<Vec<Section<'t>>, PatchError> {
    let mut sections = Vec::new();
    while let Some(line) = lines.peek() {
        if begins(line) {
            lines.advance();
            read(lines, &mut sections)?;
        } else if is_of_it(line) || line.starts_with(b"diff --git ") {
            return Err(PatchError::Mixed {
                line: lines.number(),
            });
        } else {
            lines.advance();
        }
    }
    match sections.is_empty() {
        true => Err(PatchError::NoSections),
        false => Ok(sections),
    }
}

/// Reads up to the end of one patch.
fn read<'t>(lines: &mut Lines<'t>, sections: &mut Vec<Section<'t>>) -> Result<(), PatchError> {
    loop {
        let number = lines.number();
        let wrong = |problem| PatchError::Syntax {
            line: number,
            problem,
        };
        let line = lines
            .peek()
            .ok_or_else(|| wrong("`*** End Patch` is missing, so the patch may be cut off"))?;
        lines.advance();
        let mut section = Section {
            line: number,
            outright: true,
            ..Section::default()
        };
        if line.trim_ascii_end() == END {
            return Ok(());
        } else if let Some(name) = line.strip_prefix(ADD) {
            section.old = Some(Label::Absent);
            section.new = Some(label(name));
            section.hunks = added(lines)?;
        } else if let Some(name) = line.strip_prefix(DELETE) {
            section.old = Some(label(name));
            section.new = Some(Label::Absent);
        } else if let Some(name) = line.strip_prefix(UPDATE) {
            let from = label(name);
            if let Some(name) = lines.peek().and_then(|line| line.strip_prefix(MOVE)) {
                lines.advance();
                section.renamed = Some(Move {
                    from: from.clone(),
                    to: label(name),
                });
            }
            section.old = Some(from.clone());
            section.new = Some(from);
            section.hunks = hunks(lines)?;
            if section.says_nothing() {
                return Err(wrong(
                    "the file is named, but no change and no move follows",
                ));
            }
        } else if line.trim_ascii().is_empty() || line.starts_with(b"*** Environment ID:") {
            continue;
        } else {
            return Err(wrong(
                "`*** Add File: PATH`, `*** Update File: PATH`, `*** Delete File: PATH` or `*** \
                 End Patch` must come here",
            ));
        }
        sections.push(section);
    }
}

fn label(name: &[u8]) -> Label {
    Label::name(name.trim_ascii().to_vec(), Style::Known(0))
}

/// The lines of a new file, as one hunk; of an empty one, none.
fn added<'t>(lines: &mut Lines<'t>) -> Result<Vec<Hunk<'t>>, PatchError> {
    let mut hunk = Hunk {
        line: lines.number(),
        ..Hunk::default()
    };
    while let Some(line) = before_marker(lines) {
        hunk.lines.push(
            signed(line)
                .filter(|line| line.kind == LineKind::Added)
                .ok_or_else(|| PatchError::Syntax {
                    line: lines.number(),
                    problem: "in a new file each line begins with `+`, even an empty one",
                })?,
        );
        lines.advance();
    }
    Ok(match hunk.lines.is_empty() {
        true => Vec::new(),
        false => vec![hunk],
    })
}

fn hunks<'t>(lines: &mut Lines<'t>) -> Result<Vec<Hunk<'t>>, PatchError> {
    let mut hunks: Vec<Hunk<'t>> = Vec::new();
    let mut hunk = fresh(lines);
    loop {
        if let Some(line) = lines.peek()
            && line.trim_ascii_end() == END_OF_FILE
        {
            lines.advance();
            hunk.at_end = true;
            finish(&mut hunks, std::mem::replace(&mut hunk, fresh(lines)))?;
            continue;
        }
        let Some(line) = before_marker(lines) else {
            finish(&mut hunks, hunk)?;
            return Ok(hunks);
        };
        if line.starts_with(b"@@") {
            if !hunk.lines.is_empty() {
                finish(&mut hunks, std::mem::replace(&mut hunk, fresh(lines)))?;
            }
            let (range, heading) = read_header(line);
            hunk.header = line.trim_ascii_end();
            hunk.range = range.or(hunk.range);
            let anchor = match range {
                Some(_) => heading,
                None => anchor(line),
            };
            if let Some(anchors) = &mut hunk.anchors
                && !anchor.is_empty()
            {
                anchors.push(anchor);
            }
        } else {
            hunk.lines
                .push(signed(line).ok_or_else(|| PatchError::Syntax {
                    line: lines.number(),
                    problem: "in a hunk each line begins with a space, `+` or `-`",
                })?);
        }
        lines.advance();
    }
}

/// What stands behind `@@`; a form without numbers has nothing or dots there.
fn anchor(line: &[u8]) -> &[u8] {
    let anchor = line[2..].trim_ascii();
    let anchor = anchor.strip_suffix(b"@@").unwrap_or(anchor).trim_ascii();
    match anchor.iter().all(|byte| *byte == b'.') {
        true => b"",
        false => anchor,
    }
}

fn fresh<'t>(lines: &Lines<'t>) -> Hunk<'t> {
    Hunk {
        line: lines.number(),
        anchors: Some(Vec::new()),
        ..Hunk::default()
    }
}

/// Keeps a hunk that says something.
fn finish<'t>(hunks: &mut Vec<Hunk<'t>>, hunk: Hunk<'t>) -> Result<(), PatchError> {
    if !hunk.lines.is_empty() {
        hunks.push(hunk);
        return Ok(());
    }
    match hunk.header.is_empty() {
        true => Ok(()),
        false => Err(PatchError::Syntax {
            line: hunk.line,
            problem: "no lines follow the header of the hunk",
        }),
    }
}

/// The next line, unless a marker comes first: blank lines before one belong to nothing.
fn before_marker<'t>(lines: &mut Lines<'t>) -> Option<&'t [u8]> {
    let blank = lines.blank_ahead();
    let next = lines.ahead(blank);
    let ends = match next {
        None => true,
        Some(line) => line.starts_with(b"*** ") || line.starts_with(b"@@"),
    };
    // Such a line may be one of a space, which is a line of the file.
    let empty = (0..blank).all(|at| {
        lines
            .ahead(at)
            .is_some_and(|line| matches!(line, [] | [b'\r']))
    });
    if ends && empty {
        for _ in 0..blank {
            lines.advance();
        }
    }
    lines.peek().filter(|line| !line.starts_with(b"*** "))
}
