//! What a commit or a mail has in front of its patch. It may quote heads of patches.

use super::header;
use super::lines::Lines;

/// Whether a mail of `git format-patch`, or what `hg export` writes, begins here.
pub(crate) fn begins(line: &[u8]) -> bool {
    let is_mail = || {
        let id = line.strip_prefix(b"From ")?;
        let digits = id.iter().take_while(|byte| byte.is_ascii_hexdigit());
        (digits.count() >= 40).then_some(())
    };
    line == b"# HG changeset patch" || is_mail().is_some()
}

/// Passes over all of it, up to where a patch can begin.
pub(crate) fn pass(lines: &mut Lines<'_>) {
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
