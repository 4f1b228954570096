//! What a shell's terminal was told, made into what a person sees.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_screen::{ScreenModes, repaint, visible_text};
use pyro_wire::shells::Size;

// In two parts, on a screen whose size the first bytes say.
fuzz_target!(|bytes: &[u8]| {
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
    let seen = visible_text(size, before, part);
    assert!(seen.chars().all(|c| c == '\n' || !c.is_control()));
    let _ = repaint(size, part);
    let mut modes = ScreenModes::default();
    modes.feed(part.as_bytes());
    let undo = modes.undo();
    modes.feed(undo.as_bytes());
    assert_eq!(modes.repeat(), "");
});
