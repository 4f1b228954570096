//! Canonical mode: how much of one line the terminal keeps until its end comes. The kernel drops the
//! rest without a word. `cat` and `input()` leave a terminal in it; shells do not.

use nix::sys::termios::{InputFlags, LocalFlags, SpecialCharacterIndices as Key, Termios};

/// How many bytes of a line are kept, its end not counted.
pub(super) const MAX_LINE: usize = 4095;

pub(super) fn is_canonical(settings: &Termios) -> bool {
    settings.local_flags.contains(LocalFlags::ICANON)
}

/// What is typed, line by line, each with what ends it; the last may have no end yet.
pub(super) fn lines<'a>(input: &'a [u8], settings: &Termios) -> impl Iterator<Item = &'a [u8]> {
    let ends = LineEnds::of(settings);
    input.split_inclusive(move |byte| ends.hold(*byte))
}

/// How much of a line is kept: all but what ends it.
pub(super) fn kept_of(line: &[u8], settings: &Termios) -> usize {
    let is_ended = (line.last()).is_some_and(|last| LineEnds::of(settings).hold(*last));
    line.len() - usize::from(is_ended)
}

/// How long the line is that has no end yet, when this was typed too.
pub(super) fn pending_after(pending: usize, input: &[u8], settings: &Termios) -> usize {
    let ends = LineEnds::of(settings);
    match input.iter().rposition(|byte| ends.hold(*byte)) {
        Some(at) => input.len() - at - 1,
        None => pending + input.len(),
    }
}

/// The bytes after which a line begins anew: they end it, or throw it away.
struct LineEnds([u8; 9]);

impl LineEnds {
    fn of(settings: &Termios) -> Self {
        let key = |key: Key| settings.control_chars[key as usize];
        let signals = match settings.local_flags.contains(LocalFlags::ISIG) {
            true => [Key::VINTR, Key::VQUIT, Key::VSUSP].map(key),
            false => [b'\n'; 3],
        };
        let enter = match settings.input_flags.contains(InputFlags::ICRNL) {
            true => b'\r',
            false => b'\n',
        };
        let [eof, eol, eol2, kill] = [Key::VEOF, Key::VEOL, Key::VEOL2, Key::VKILL].map(key);
        let [interrupt, quit, suspend] = signals;
        let ends = [b'\n', enter, eof, eol, eol2, kill, interrupt, quit, suspend];
        // A key that is switched off is a byte like others.
        Self(ends.map(|end| {
            if end == libc::_POSIX_VDISABLE {
                b'\n'
            } else {
                end
            }
        }))
    }

    fn hold(&self, byte: u8) -> bool {
        self.0.contains(&byte)
    }
}

#[cfg(test)]
mod tests {
    use nix::pty::openpty;
    use nix::sys::termios::tcgetattr;

    use super::*;

    #[test]
    fn a_line_ends_with_what_ends_it_in_this_terminal() {
        let pty = openpty(None, None).unwrap();
        let mut settings = tcgetattr(&pty.slave).unwrap();
        assert!(is_canonical(&settings));
        let cut = |settings: &Termios| -> Vec<usize> {
            lines(b"ab\ncd\re\x03f\0g\x15\x04h", settings)
                .map(<[u8]>::len)
                .collect()
        };
        assert_eq!(cut(&settings), [3, 3, 2, 4, 1, 1]);
        settings.local_flags.remove(LocalFlags::ISIG);
        settings.input_flags.remove(InputFlags::ICRNL);
        settings.control_chars[Key::VKILL as usize] = libc::_POSIX_VDISABLE;
        assert_eq!(cut(&settings), [3, 10, 1]);
    }

    #[test]
    fn a_line_goes_on_with_what_is_typed_next() {
        let pty = openpty(None, None).unwrap();
        let settings = tcgetattr(&pty.slave).unwrap();
        assert_eq!(pending_after(10, b"abc", &settings), 13);
        assert_eq!(pending_after(10, b"a\nbc", &settings), 2);
        assert_eq!(pending_after(10, b"abc\x04", &settings), 0);
        assert_eq!(pending_after(10, b"", &settings), 10);
        assert_eq!(kept_of(b"abc", &settings), 3);
        assert_eq!(kept_of(b"abc\n", &settings), 3);
        assert_eq!(kept_of(b"", &settings), 0);
    }
}
