//! Each value in the encodings that it is looked for in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::encoding::{Encoding, Scanner};
use super::matcher::NeedleSet;
use crate::secrets::without_line_end;

/// Values of fewer bytes are looked for as they are only: in other forms they would be so short
/// that they turn up everywhere.
pub const ENCODED_FROM: usize = 8;

/// How many lines of one value are looked for by themselves: each costs its share of every byte
/// that is printed.
const LINES: usize = 256;

/// What to look for, by encoding.
#[derive(Default)]
pub(super) struct Needles {
    sets: [NeedleSet; 3],
}

const ENCODINGS: [Encoding; 3] = [Encoding::Plain, Encoding::Percent, Encoding::Base64];

impl Needles {
    pub(super) fn of<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut needles = Self::default();
        let [as_it_is, percent, base64] = &mut needles.sets;
        for value in values {
            let value = without_line_end(value.as_ref());
            as_it_is.add(as_seen(value, Encoding::Plain));
            if value.len() < ENCODED_FROM {
                continue;
            }
            percent.add(as_seen(value, Encoding::Percent));
            for alignment in 0..3 {
                base64.add(base64_inside(value, alignment));
            }
            for line in lines(value) {
                as_it_is.add(as_seen(line, Encoding::Plain));
            }
        }
        needles
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.iter().all(NeedleSet::is_empty)
    }

    pub(super) fn sets(&self) -> &[NeedleSet; 3] {
        &self.sets
    }

    pub(super) fn scanners(&self) -> [Scanner; 3] {
        [0, 1, 2].map(|index| Scanner::new(ENCODINGS[index], &self.sets[index]))
    }
}

/// The lines of a value that has several, as a program may print one of them: those that are long
/// enough to mean something, and not what stands around every key.
fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let several = value.contains(&b'\n').then_some(value);
    let lines = several
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b'\n'));
    lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| line.len() >= ENCODED_FROM && !line.starts_with(b"-----"))
        .take(LINES)
}

/// A value without what its encoding skips.
fn as_seen(value: &[u8], encoding: Encoding) -> Zeroizing<Vec<u8>> {
    let seen = value.iter().copied().filter(|byte| !encoding.skips(*byte));
    Zeroizing::new(seen.map(|byte| encoding.letter(byte)).collect())
}

/// The letters of base64 that depend on the value alone, when it begins so many bytes after a
/// multiple of three.
fn base64_inside(value: &[u8], alignment: usize) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(vec![0; alignment]);
    text.extend_from_slice(value);
    let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(text.as_slice()));
    let first = (alignment * 8).div_ceil(6);
    let end = text.len() * 8 / 6;
    Zeroizing::new(
        encoded
            .as_bytes()
            .get(first..end)
            .unwrap_or_default()
            .to_vec(),
    )
}
