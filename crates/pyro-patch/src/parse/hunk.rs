//! Hunks: their heads, and where they end. Right numbers decide; where they are missing or wrong
//! (models count badly), the signs at the front of the lines do.

use super::header;
use super::label::Label;
use super::lines::{Lines, is_fence};
use super::section::{Hunk, HunkRange, Line, LineKind, Section};
use crate::error::PatchError;
use crate::text::is_blank;

/// As much context as diffs have at the end of a hunk, unless they are asked for more.
const CONTEXT: usize = 3;

/// Reads the hunks of a section. True when it is not certain that they end where they seem to.
pub(crate) fn read_all<'t>(
    lines: &mut Lines<'t>,
    section: &mut Section<'t>,
) -> Result<bool, PatchError> {
    let mut by_signs = section.hunks.is_empty();
    let bare = section.hunks.is_empty()
        && lines.peek().is_some_and(|line| {
            matches!(line.first(), Some(b'+' | b'-' | b' '))
                && !line.starts_with(b"--- ")
                && !line.starts_with(b"+++ ")
                && !is_signature(lines, 0)
        });
    if bare {
        let body = by_sign(lines)?;
        check_absent_side(section, section.line, &body)?;
        section.hunks.push(Hunk {
            line: section.line,
            lines: body,
            ..Hunk::default()
        });
    }
    loop {
        let blank = lines.blank_ahead();
        match lines.ahead(blank) {
            Some(line) if line.starts_with(b"@@@") => {
                return Err(PatchError::Syntax {
                    line: lines.number() + blank,
                    problem: "a combined diff of a merge; only diffs of two sides can be applied",
                });
            }
            Some(line) if line.starts_with(b"@@") => {}
            _ => return Ok(by_signs),
        }
        for _ in 0..blank {
            lines.advance();
        }
        let (hunk, signs) = read(lines, section.git)?;
        check_absent_side(section, hunk.line, &hunk.lines)?;
        check_whole(section, &hunk)?;
        section.hunks.push(hunk);
        by_signs = signs;
    }
}

fn check_absent_side(
    section: &Section<'_>,
    line: usize,
    body: &[Line<'_>],
) -> Result<(), PatchError> {
    let is = |kind: LineKind| body.iter().any(|line| line.kind == kind);
    let problem = match (&section.old, &section.new) {
        (Some(Label::Absent), _) if is(LineKind::Removed) || is(LineKind::Context) => {
            "a new file (`--- /dev/null`) has only lines that begin with `+`"
        }
        (_, Some(Label::Absent)) if is(LineKind::Added) || is(LineKind::Context) => {
            "a deleted file (`+++ /dev/null`) has only lines that begin with `-`"
        }
        _ => return Ok(()),
    };
    Err(PatchError::Syntax { line, problem })
}

/// Git counts right. What it wrote and is short was cut, unless only context at the end is missing,
/// as where blank lines were trimmed.
fn check_whole(section: &Section<'_>, hunk: &Hunk<'_>) -> Result<(), PatchError> {
    let context = hunk.lines.iter().rev();
    let context = context
        .take_while(|line| line.kind == LineKind::Context)
        .count();
    let [old, new] = hunk.missing;
    let only_context = old == new && context + old <= CONTEXT;
    if hunk.missing == [0, 0] || section.ids.is_none() || only_context {
        return Ok(());
    }
    Err(PatchError::Syntax {
        line: hunk.line,
        problem: "this hunk announces more lines than the patch has, so it may be cut off. If it \
                  is complete, correct the numbers of the hunk, or leave out the `index` line",
    })
}

fn read<'t>(lines: &mut Lines<'t>, git: bool) -> Result<(Hunk<'t>, bool), PatchError> {
    let line = lines.number();
    let header = lines.peek().unwrap_or_default();
    let (range, heading) = read_header(header);
    lines.advance();
    let start = lines.place();
    let counted = range.and_then(|range| by_count(lines, range, git));
    let by_signs = counted.is_none();
    let body = match counted {
        Some(body) => body,
        None => {
            lines.go_back(start);
            by_sign(lines)?
        }
    };
    if body.is_empty() {
        return Err(PatchError::Syntax {
            line,
            problem: "no lines follow the header of the hunk",
        });
    }
    let ends = lines.ahead(lines.blank_ahead()).is_none();
    let missing = range.filter(|_| by_signs && ends).map_or([0, 0], |range| {
        let without = |kind: LineKind| body.iter().filter(|line| line.kind != kind).count();
        [
            range.old_count.saturating_sub(without(LineKind::Added)),
            range.new_count.saturating_sub(without(LineKind::Removed)),
        ]
    });
    let hunk = Hunk {
        line,
        header: header.trim_ascii_end(),
        range,
        heading,
        missing,
        lines: body,
        ..Hunk::default()
    };
    Ok((hunk, by_signs))
}

/// `@@ -1,2 +1,3 @@ heading`, or what is left of it.
pub(crate) fn read_header(line: &[u8]) -> (Option<HunkRange>, &[u8]) {
    let rest = line[2..].trim_ascii();
    let numbers = || {
        let rest = rest.strip_prefix(b"-")?;
        let (old_start, old_count, rest) = start_and_count(rest)?;
        let rest = rest.trim_ascii_start().strip_prefix(b"+")?;
        let (_, new_count, rest) = start_and_count(rest)?;
        let rest = rest.trim_ascii_start();
        let heading = rest.strip_prefix(b"@@").unwrap_or(rest).trim_ascii();
        let range = HunkRange {
            old_start,
            old_count,
            new_count,
        };
        Some((Some(range), heading))
    };
    numbers().unwrap_or_else(|| {
        let is_filler = |byte: &u8| matches!(byte, b'@' | b'.' | b',' | b'-' | b'+' | b' ');
        let first = rest.iter().position(|byte| !is_filler(byte));
        let heading = &rest[first.unwrap_or(rest.len())..];
        (
            None,
            heading
                .strip_suffix(b"@@")
                .unwrap_or(heading)
                .trim_ascii_end(),
        )
    })
}

fn start_and_count(text: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (start, rest) = number(text)?;
    match rest.strip_prefix(b",") {
        None => Some((start, 1, rest)),
        Some(rest) => {
            let (count, rest) = number(rest)?;
            Some((start, count, rest))
        }
    }
}

fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    // Nine digits are more lines than any file has, and never too large a number.
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() <= 9)?;
    Some((digits.parse().ok()?, rest))
}

/// Takes as many lines as the head says, when that is plausible.
fn by_count<'t>(lines: &mut Lines<'t>, range: HunkRange, git: bool) -> Option<Vec<Line<'t>>> {
    let (mut old, mut new) = (range.old_count, range.new_count);
    let mut body = Vec::new();
    loop {
        if let Some(line) = lines.peek()
            && is_marker(line)
            && mark(&mut body)
        {
            lines.advance();
            continue;
        }
        if old == 0 && new == 0 {
            break;
        }
        if !git && header::surely_has_names(lines) {
            return None;
        }
        let line = lines.peek().and_then(signed)?;
        let counts = match line.kind {
            LineKind::Context => (1, 1),
            LineKind::Removed => (1, 0),
            LineKind::Added => (0, 1),
        };
        old = old.checked_sub(counts.0)?;
        new = new.checked_sub(counts.1)?;
        body.push(line);
        lines.advance();
    }
    (!goes_on(lines)).then_some(body)
}

/// Whether what comes next looks like more of the hunk.
fn goes_on(lines: &Lines<'_>) -> bool {
    let blank = lines.blank_ahead();
    let Some(line) = lines.ahead(blank) else {
        return false;
    };
    match line.first() {
        Some(b' ') => blank == 0 && !is_fence(line),
        Some(b'+' | b'-') => !is_signature(lines, blank) && !header::has_names(lines, blank),
        _ => false,
    }
}

/// The foot of a mail: two dashes, and git's version.
pub(crate) fn is_signature(lines: &Lines<'_>, skip: usize) -> bool {
    lines
        .ahead(skip)
        .is_some_and(|line| line.trim_ascii_end() == b"--")
        && lines
            .ahead(skip + 1)
            .is_some_and(|line| line.first().is_some_and(u8::is_ascii_digit))
        && lines
            .ahead(skip + 2)
            .is_none_or(|line| is_blank(line) || line.starts_with(b"From "))
}

/// Takes lines as long as their signs allow.
fn by_sign<'t>(lines: &mut Lines<'t>) -> Result<Vec<Line<'t>>, PatchError> {
    let mut body = Vec::new();
    loop {
        let blank = lines.blank_ahead();
        let Some(next) = lines.ahead(blank) else {
            break;
        };
        if is_marker(next) && blank == 0 {
            if !mark(&mut body) {
                return Err(PatchError::Syntax {
                    line: lines.number(),
                    problem: "`\\ No newline at end of file` does not follow a line",
                });
            }
            lines.advance();
            continue;
        }
        let ends = next.starts_with(b"@@")
            || is_fence(next)
            || is_signature(lines, blank)
            || next.starts_with(b"diff ")
            || next.starts_with(b"Index: ")
            || next.starts_with(b"*** ")
            || next.starts_with(b"rename from ");
        if ends {
            break;
        }
        if blank > 0 {
            // Blank lines belong to the hunk only when it goes on behind them.
            if signed(next).is_none() {
                break;
            }
            let place = lines.place();
            let blanks: Vec<_> = (0..blank).filter_map(|count| lines.ahead(count)).collect();
            for _ in 0..blank {
                lines.advance();
            }
            if header::surely_has_names(lines) {
                lines.go_back(place);
                break;
            }
            body.extend(blanks.into_iter().filter_map(signed));
            continue;
        }
        if header::surely_has_names(lines) {
            break;
        }
        let Some(line) = signed(next) else {
            return Err(PatchError::Syntax {
                line: lines.number(),
                problem: "in a hunk each line begins with a space, `+` or `-`",
            });
        };
        body.push(line);
        lines.advance();
    }
    Ok(body)
}

/// A line of a hunk. Editors and models drop the space of an empty line.
pub(crate) fn signed(line: &[u8]) -> Option<Line<'_>> {
    let (kind, text) = match line {
        [] | [b'\r'] => (LineKind::Context, line),
        [b' ', text @ ..] => (LineKind::Context, text),
        [b'-', text @ ..] => (LineKind::Removed, text),
        [b'+', text @ ..] => (LineKind::Added, text),
        _ => return None,
    };
    Some(Line {
        kind,
        text,
        unended: false,
    })
}

fn is_marker(line: &[u8]) -> bool {
    line.starts_with(b"\\ ")
}

fn mark(body: &mut [Line<'_>]) -> bool {
    match body.last_mut() {
        Some(line) => {
            line.unended = true;
            true
        }
        None => false,
    }
}
