//! Ways into the parsers of a guest's bytes, for the targets in `fuzz/` and nobody else.

use pyro_wire::shells::Size;

use crate::shells::ScreenModes;
use crate::shells::screen;

/// Reads what a terminal was told, in two parts, on a screen whose size the first bytes say.
pub fn terminal(bytes: &[u8]) {
    let [cols, rows, cut, text @ ..] = bytes else {
        return;
    };
    let size = Size {
        cols: (*cols).into(),
        rows: (*rows).into(),
    };
    let text = String::from_utf8_lossy(text);
    let middle = text.chars().count() * usize::from(*cut) / 256;
    let cut = text.char_indices().nth(middle).map_or(0, |(at, _)| at);
    let (before, part) = text.split_at(cut);
    let seen = screen::seen(size, before, part);
    assert!(seen.chars().all(|c| c == '\n' || !c.is_control()));
    let _ = screen::repaint(size, part);
    let mut modes = ScreenModes::default();
    modes.feed(part.as_bytes());
    let undo = modes.undo();
    modes.feed(undo.as_bytes());
    assert_eq!(modes.repeat(), "");
}
