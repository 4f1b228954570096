//! Finds the keys that leave a shell in what a person types.

/// What was typed, as far as it is known what it means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// For the shell.
    pub(crate) pass: Vec<u8>,
    pub(crate) detach: bool,
}

pub(crate) struct Keys<'a> {
    detach: &'a [u8],
    /// How many of them were typed last. The shell does not see those before it is sure.
    matched: usize,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(detach: &'a [u8]) -> Self {
        Self { detach, matched: 0 }
    }

    pub(crate) fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(bytes.len());
        for byte in bytes {
            // Where it is no match, a shorter beginning of the keys may be.
            while self.detach.get(self.matched) != Some(byte) && self.matched > 0 {
                let shorter = (0..self.matched)
                    .rev()
                    .find(|length| self.detach[..self.matched].ends_with(&self.detach[..*length]));
                let shorter = shorter.unwrap_or(0);
                pass.extend_from_slice(&self.detach[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.detach.get(self.matched) != Some(byte) {
                pass.push(*byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.detach.len() {
                return Typed { pass, detach: true };
            }
        }
        Typed {
            pass,
            detach: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_however_they_come_and_the_rest_passes() {
        for (detach, typed, pass, leaves) in [
            (&b"\x1d"[..], &b"ab\x1dcd"[..], &b"ab"[..], true),
            (b"\x10\x11", b"\x10\x10\x10\x11", b"\x10\x10", true),
            (b"aab", b"aaaab", b"aa", true),
            (b"aba", b"abcabx", b"abcabx", false),
        ] {
            for size in 1..=typed.len() {
                let mut keys = Keys::new(detach);
                let mut passed = Vec::new();
                let mut left = false;
                for piece in typed.chunks(size) {
                    let Typed { pass, detach } = keys.typed(piece);
                    passed.extend(pass);
                    left |= detach;
                    if left {
                        break;
                    }
                }
                assert_eq!((passed.as_slice(), left), (pass, leaves));
            }
        }
    }
}
