//! What a commit or a mail has in front of its patch. It may quote heads of patches.

use super::header;
use super::parse::Lines;

/// Whether a mail of `git format-patch`, or what `hg export` writes, begins here.
pub(super) fn begins(line: &[u8]) -> bool {
    let is_mail = || {
        let id = line.strip_prefix(b"From ")?;
        let digits = id.iter().take_while(|byte| byte.is_ascii_hexdigit());
        (digits.count() >= 40).then_some(())
    };
    line == b"# HG changeset patch" || is_mail().is_some()
}

/// Passes over all of it, up to where a patch can begin.
pub(super) fn pass(lines: &mut Lines<'_>) {
    let start = lines.place();
    loop {
        lines.advance();
        let Some(line) = lines.peek() else {
            // Nothing marks its end, so it is read as any other text.
            lines.go_back(start);
            lines.advance();
            return;
        };
        let hunk = |line: &[u8]| line.starts_with(b"@@");
        if line == b"---"
            || line.starts_with(b"diff ")
            || line.starts_with(b"Index: ")
            || begins(line)
            || (header::has_names(lines, 0) && lines.ahead(2).is_some_and(hunk))
        {
            return;
        }
    }
}

/// Makes the lines between the parts of a mail blank, as `git format-patch --attach` has them: they
/// begin as removed lines do.
pub(super) fn blank_boundaries(lines: &mut [&[u8]]) {
    const NAME: &[u8] = b"boundary=\"";
    let mut boundary: Option<&[u8]> = None;
    for passed in lines {
        let line = *passed;
        if line.starts_with(b"Content-Type: multipart/")
            && let Some(start) = line.windows(NAME.len()).position(|part| part == NAME)
        {
            let rest = &line[start + NAME.len()..];
            let end = rest.iter().position(|byte| *byte == b'"');
            boundary = end.map(|end| &rest[..end]).filter(|name| !name.is_empty());
            continue;
        }
        let Some(boundary) = boundary else {
            continue;
        };
        let is_boundary = line.strip_prefix(b"--").is_some_and(|rest| {
            matches!(
                rest.strip_prefix(boundary),
                Some(b"" | b"--" | b"\r" | b"--\r")
            )
        });
        if is_boundary {
            *passed = b"";
        }
    }
}
