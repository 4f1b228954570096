//! The head of a section: which files, which modes, and what happens to them besides hunks.

use super::absent::says_absent;
use super::binary::{self, ObjectIds};
use super::label::{Label, Style, common_path};
use super::lines::Lines;
use super::section::{Move, Section};
use crate::error::PatchError;
use crate::text::{shown, without_cr};

const GIT: &[u8] = b"diff --git ";

/// Whether a section begins at the next line.
pub(crate) fn begins(lines: &Lines<'_>) -> bool {
    let Some(line) = lines.peek() else {
        return false;
    };
    line.starts_with(GIT)
        || has_names(lines, 0)
        || lines
            .ahead(1)
            .is_some_and(|next| is_move(line, next, b"rename ") || is_move(line, next, b"copy "))
}

fn is_move(line: &[u8], next: &[u8], what: &[u8]) -> bool {
    let rest = |line: &[u8]| line.strip_prefix(what).map(<[u8]>::to_vec);
    rest(line).is_some_and(|rest| rest.starts_with(b"from "))
        && rest(next).is_some_and(|rest| rest.starts_with(b"to "))
}

/// Whether a `--- ` and a `+++ ` line come next.
pub(crate) fn has_names(lines: &Lines<'_>, skip: usize) -> bool {
    let is = |count: usize, sign: &[u8]| {
        lines
            .ahead(skip + count)
            .and_then(|line| line.strip_prefix(sign))
            .is_some_and(|name| !name.trim_ascii().is_empty())
    };
    is(0, b"--- ") && is(1, b"+++ ")
}

/// Whether what comes next can hardly be a removed and an added line that look like a head.
pub(crate) fn surely_has_names(lines: &Lines<'_>) -> bool {
    if !has_names(lines, 0) {
        return false;
    }
    let name = |count: usize| match lines.ahead(count).map(|line| Label::read(&line[4..], 0)) {
        Some(Ok(Label::Name { raw, .. })) => Some(raw),
        _ => None,
    };
    match (name(0), name(1)) {
        (Some(old), Some(new)) => {
            common_path(&old, &new).is_some()
                || lines.ahead(2).is_some_and(|line| line.starts_with(b"@@"))
        }
        _ => true,
    }
}

/// Reads up to the first hunk.
pub(crate) fn read<'t>(lines: &mut Lines<'t>) -> Result<Section<'t>, PatchError> {
    let mut section = Section {
        line: lines.number(),
        ..Section::default()
    };
    if let Some(names) = lines.peek().and_then(|line| line.strip_prefix(GIT)) {
        section.git = true;
        if let Some((old, new)) = Label::git_pair(without_cr(names)) {
            section.old = Some(old);
            section.new = Some(new);
        }
        lines.advance();
    }
    let mut moved = [const { None }; 4];
    while let Some(line) = lines.peek() {
        let line_number = lines.number();
        if has_names(lines, 0) {
            read_names(lines, &mut section)?;
            break;
        }
        if without_cr(line) == b"GIT binary patch" {
            section.binary = Some(binary::read(lines)?);
            break;
        }
        if line.starts_with(b"Binary files ") {
            let name = section.new.as_ref().or(section.old.as_ref());
            return Err(PatchError::Binary {
                line: line_number,
                name: name.map(Label::shown).unwrap_or_default(),
            });
        }
        // Moves without git's own line between them are a section each.
        let moves = line.starts_with(b"rename from ") || line.starts_with(b"copy from ");
        if moves && moved.iter().any(Option::is_some) {
            break;
        }
        let line = without_cr(line);
        let after = |start: &[u8]| line.strip_prefix(start);
        if let Some(mode) = after(b"old mode ") {
            section.old_mode = Some(read_mode(mode, line_number)?);
        } else if let Some(mode) = after(b"new mode ") {
            section.new_mode = Some(read_mode(mode, line_number)?);
        } else if let Some(mode) = after(b"new file mode ") {
            section.created_mode = Some(read_mode(mode, line_number)?);
        } else if let Some(mode) = after(b"deleted file mode ") {
            section.deleted_mode = Some(read_mode(mode, line_number)?);
        } else if let Some(name) = after(b"rename from ") {
            moved[0] = Some(verbatim(name, line_number)?);
        } else if let Some(name) = after(b"rename to ") {
            moved[1] = Some(verbatim(name, line_number)?);
        } else if let Some(name) = after(b"copy from ") {
            moved[2] = Some(verbatim(name, line_number)?);
        } else if let Some(name) = after(b"copy to ") {
            moved[3] = Some(verbatim(name, line_number)?);
        } else if let Some(index) = after(b"index ") {
            section.ids = ObjectIds::read(index);
            let mode = index.rsplit(|byte| *byte == b' ').next();
            section.index_mode = mode.and_then(|mode| read_mode(mode, line_number).ok());
        } else if after(b"similarity index ").is_none() && after(b"dissimilarity index ").is_none()
        {
            break;
        }
        lines.advance();
    }
    let [rename_from, rename_to, copy_from, copy_to] = moved;
    section.renamed = both(rename_from, rename_to, section.line)?;
    section.copied = both(copy_from, copy_to, section.line)?;
    if section.old.is_none() && section.renamed.is_none() && section.copied.is_none() {
        return Err(PatchError::Syntax {
            line: section.line,
            problem: "no file names can be read; add `--- a/PATH` and `+++ b/PATH`",
        });
    }
    Ok(section)
}

fn read_names(lines: &mut Lines<'_>, section: &mut Section<'_>) -> Result<(), PatchError> {
    let mut read = |sign: &[u8]| {
        let number = lines.number();
        let line = lines.peek().unwrap_or_default();
        let name = without_cr(line.strip_prefix(sign).unwrap_or_default());
        let mut label = Label::read(name, number)?;
        if !section.git {
            label = label.or_absent();
        }
        lines.advance();
        Ok::<_, PatchError>((label, says_absent(name)))
    };
    let (mut old, old_absent) = read(b"--- ")?;
    let (mut new, new_absent) = read(b"+++ ")?;
    if (&old, &new) == (&Label::Absent, &Label::Absent) {
        return Err(PatchError::Syntax {
            line: section.line,
            problem: "both sides are /dev/null",
        });
    }
    let learnt = match (&section.old, &section.new) {
        (Some(from_git), Some(to_git)) => {
            let learnt = old.learn(from_git);
            new.learn(to_git) && learnt
        }
        _ => false,
    };
    if !learnt {
        Label::pair(&mut old, &mut new);
    }
    section.old = Some(old);
    section.new = Some(new);
    section.perhaps_absent = [old_absent, new_absent];
    Ok(())
}

fn both(from: Option<Label>, to: Option<Label>, line: usize) -> Result<Option<Move>, PatchError> {
    match (from, to) {
        (Some(from), Some(to)) => Ok(Some(Move { from, to })),
        (None, None) => Ok(None),
        _ => Err(PatchError::Syntax {
            line,
            problem: "`rename from` and `rename to` (or `copy`) belong together",
        }),
    }
}

fn verbatim(name: &[u8], line: usize) -> Result<Label, PatchError> {
    Ok(match Label::read(name, line)? {
        Label::Absent => Label::Absent,
        Label::Name { raw, .. } => Label::Name {
            raw,
            style: Style::Verbatim,
        },
    })
}

/// Octal digits: `100644` and its like.
fn read_mode(text: &[u8], line: usize) -> Result<u32, PatchError> {
    let text = text.trim_ascii();
    let mode = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() <= 7)
        .and_then(|text| u32::from_str_radix(text, 8).ok());
    match mode {
        Some(mode) if matches!(mode >> 12, 0o10 | 0o12) => Ok(mode),
        Some(mode) if mode >> 12 == 0o16 => Err(PatchError::Path {
            line,
            label: shown(text),
            problem: "this mode is a git submodule's",
        }),
        _ => Err(PatchError::Syntax {
            line,
            problem: "a mode is 100644 (a file), 100755 (a program) or 120000 (a symbolic link)",
        }),
    }
}
