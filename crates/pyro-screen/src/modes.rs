//! What a program has switched on in a terminal: the mouse, another screen, an invisible cursor.
//!
//! Whoever comes to a shell later needs the same, and whoever leaves wants none of it.

/// Modes that change what a person sees, or what keys and mouse send. Set at first: 7 and 25.
const MODES: [(u16, bool); 16] = [
    (1, false),
    (7, true),
    (9, false),
    (25, true),
    (47, false),
    (1000, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1005, false),
    (1006, false),
    (1015, false),
    (1016, false),
    (1047, false),
    (1049, false),
    (2004, false),
];

/// Modes that are another screen. An emulator restores those by itself.
const OTHER_SCREEN: [u16; 3] = [47, 1047, 1049];

/// Longer sequences are none that set modes.
const LONGEST: usize = 64;

/// Which modes are set after all that a terminal was told.
#[derive(Clone, Debug)]
pub struct ScreenModes {
    set: [bool; MODES.len()],
    keypad: bool,
    /// What came of a sequence that is not complete.
    begun: Vec<u8>,
}

impl Default for ScreenModes {
    fn default() -> Self {
        Self {
            set: MODES.map(|(_, at_first)| at_first),
            keypad: false,
            begun: Vec::new(),
        }
    }
}

impl ScreenModes {
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (self.begun.as_slice(), byte) {
                (_, 0x1b) => self.begun = vec![0x1b],
                ([], _) => {}
                ([0x1b], b'[') | ([0x1b, b'['], b'?') => self.begun.push(*byte),
                ([0x1b, b'[', b'?', ..], b'0'..=b'9' | b';') if self.begun.len() < LONGEST => {
                    self.begun.push(*byte);
                }
                ([0x1b, b'[', b'?', numbers @ ..], b'h' | b'l') => {
                    let numbers = String::from_utf8_lossy(numbers).into_owned();
                    for number in numbers.split(';').filter_map(|number| number.parse().ok()) {
                        self.note(number, *byte == b'h');
                    }
                    self.begun.clear();
                }
                ([0x1b], b'=' | b'>') => {
                    self.keypad = *byte == b'=';
                    self.begun.clear();
                }
                // The terminal is as new.
                ([0x1b], b'c') => *self = Self::default(),
                _ => self.begun.clear(),
            }
        }
    }

    fn note(&mut self, number: u16, set: bool) {
        for ((mode, _), is_set) in MODES.iter().zip(&mut self.set) {
            if *mode == number {
                *is_set = set;
            }
        }
    }

    /// What makes a terminal, on which nothing was changed, have the same modes; its screen aside.
    pub fn repeat(&self) -> String {
        let changed = self
            .changed()
            .filter(|(mode, _)| !OTHER_SCREEN.contains(mode));
        let mut told: String = changed
            .map(|(mode, set)| format!("\x1b[?{mode}{}", if set { 'h' } else { 'l' }))
            .collect();
        if self.keypad {
            told.push_str("\x1b=");
        }
        told
    }

    /// What makes the terminal an ordinary one again.
    pub fn undo(&self) -> String {
        // The screen first: the rest is for the one that stays.
        let (screens, others): (Vec<_>, Vec<_>) = self
            .changed()
            .partition(|(mode, _)| OTHER_SCREEN.contains(mode));
        let mut told: String = screens
            .into_iter()
            .chain(others)
            .map(|(mode, set)| format!("\x1b[?{mode}{}", if set { 'l' } else { 'h' }))
            .collect();
        if self.keypad {
            told.push_str("\x1b>");
        }
        // No colour, the usual letters, and all of the screen scrolls, with the cursor kept.
        told.push_str("\x1b[0m\x1b(B\x0f\x1b7\x1b[r\x1b8");
        told
    }

    fn changed(&self) -> impl Iterator<Item = (u16, bool)> {
        let now = MODES.iter().zip(self.set);
        now.filter(|((_, at_first), set)| at_first != set)
            .map(|((mode, _), set)| (*mode, set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_switched_on_is_known_however_it_comes() {
        let told = b"a\x1b[?1049;25h\x1b[?25l\x1b[?1000;1006h\x1b=\x1b[31mx\x1b[?1h\x1b[?1l";
        for size in 1..told.len() {
            let mut modes = ScreenModes::default();
            for piece in told.chunks(size) {
                modes.feed(piece);
            }
            assert_eq!(modes.repeat(), "\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b=");
            let undo = modes.undo();
            assert!(
                undo.starts_with("\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b>"),
                "{undo:?}"
            );
            modes.feed(undo.as_bytes());
            assert_eq!(modes.repeat(), "");
        }
    }

    #[test]
    fn nothing_is_undone_that_was_not_done() {
        let mut modes = ScreenModes::default();
        modes.feed(b"\x1b[?9999h plain \x1b]0;t\x07 text \x1b[?1049h\x1bc\x1b[?");
        modes.feed(&vec![b'1'; 10_000]);
        assert!(modes.begun.len() <= LONGEST);
        assert_eq!(modes.undo(), ScreenModes::default().undo());
        assert!(!modes.undo().contains('?'));
    }
}
