//! Makes the inputs of a target. Which one a number is depends on nothing else.
//!
//! First come the seeds as they are, then each of them cut off at many lengths, then damaged ones,
//! and at last noise.

use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;
use pyro_fuzz::{Seed, Target};

/// The longest piece of noise, and about the longest piece that is moved.
const PIECE: usize = 300;

#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) target: Target,
    seeds: Arc<[Sound]>,
}

struct Sound {
    seed: Seed,
    /// Where it has something. The rest of an image is zeros.
    filled: Vec<usize>,
}

impl Inputs {
    pub(crate) fn new(target: Target, seeds: Vec<Seed>) -> Self {
        let sound = seeds.into_iter().map(|seed| Sound {
            filled: (0..seed.bytes.len())
                .filter(|at| seed.bytes[*at] != 0)
                .collect(),
            seed,
        });
        Self {
            target,
            seeds: sound.collect(),
        }
    }

    pub(crate) fn is_whole_seed(&self, number: u64) -> bool {
        number < self.count()
    }

    fn count(&self) -> u64 {
        self.seeds.len() as u64
    }

    /// Where it comes from, and the input.
    pub(crate) fn get(&self, number: u64) -> (String, Vec<u8>) {
        let seeds = self.count();
        let one = &self.seeds[(number % seeds) as usize];
        let name = &one.seed.name;
        let cuts = self.target.inputs / 8 / seeds;
        let noise = self.target.inputs / 16;
        // How many seeds there were before, and so which cut or damage it is.
        let round = number / seeds;
        if self.is_whole_seed(number) {
            return (format!("seed {name}"), one.seed.bytes.clone());
        }
        if round <= cuts {
            let length = one.seed.bytes.len() as u64 * (round - 1) / cuts;
            let bytes = one.seed.bytes[..length as usize].to_vec();
            return (format!("seed {name}, its first {length} bytes"), bytes);
        }
        let mut random = Rng::with_seed(number);
        if number >= self.target.inputs - noise {
            let length = random.usize(..PIECE);
            let bytes = (0..length).map(|_| random.u8(..)).collect();
            return (format!("{length} bytes of noise"), bytes);
        }
        let mut bytes = one.seed.bytes.clone();
        // Mostly little, as much of it would be refused at its beginning.
        let times = 1 + random.usize(..4) * random.usize(..3);
        for _ in 0..times {
            self.damage(one, &mut bytes, &mut random);
        }
        let mended = random.u8(..4) != 0;
        if mended {
            (self.target.mend)(&mut bytes);
        }
        let checksums = if mended { "right" } else { "left" };
        let origin = format!("seed {name}, damaged {times} times, checksums {checksums}");
        (origin, bytes)
    }

    fn damage(&self, one: &Sound, bytes: &mut Vec<u8>, random: &mut Rng) {
        let at = one.place(bytes.len(), random);
        let Some(byte) = bytes.get_mut(at) else {
            bytes.push(random.u8(..));
            return;
        };
        match random.u8(..13) {
            0 | 1 => *byte ^= 1 << random.u8(..8),
            2 => *byte = *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap_or(&0),
            3 => *byte = random.u8(..),
            4 => *byte = byte.wrapping_add(random.u8(..9)).wrapping_sub(4),
            5 | 6 => put_number(bytes, at, random),
            7 => put_digits(bytes, at, random),
            8 => drop(bytes.drain(piece(bytes, at, random))),
            9 => {
                let piece = bytes[piece(bytes, at, random)].to_vec();
                let times = 1 + random.usize(..3);
                bytes.splice(at..at, piece.repeat(times));
            }
            10 => {
                let piece = bytes[piece(bytes, at, random)].to_vec();
                let to = one.place(bytes.len(), random);
                let end = bytes.len().min(to + piece.len());
                bytes.splice(to..end, piece);
            }
            11 => {
                let filling = *random.choice(b"\0\xff~ 9").unwrap_or(&0);
                let piece = piece(bytes, at, random);
                bytes[piece].fill(filling);
            }
            // The beginning of this one, and the end of another.
            _ => {
                let other = &self.seeds[random.usize(..self.seeds.len())];
                let from = other.place(other.seed.bytes.len(), random);
                bytes.truncate(at);
                bytes.extend_from_slice(&other.seed.bytes[from..]);
            }
        }
    }
}

impl Sound {
    /// Somewhere in so many bytes, and rather where it has something.
    fn place(&self, length: usize, random: &mut Rng) -> usize {
        match random.choice(&self.filled) {
            Some(at) if *at < length && random.u8(..8) != 0 => *at,
            _ => random.usize(..length.max(1)),
        }
    }
}

fn piece(bytes: &[u8], at: usize, random: &mut Rng) -> Range<usize> {
    let most = if random.bool() { 16 } else { PIECE };
    at..bytes.len().min(at + 1 + random.usize(..most))
}

/// A number as headers have them: of two, four or eight bytes, and either way around.
fn put_number(bytes: &mut [u8], at: usize, random: &mut Rng) {
    let size = 2 << random.u8(..3);
    let width = 8 * size as u32;
    let number = match random.u8(..7) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX >> (64 - width + 1),
        3 => 1 << (width - 1),
        4 => 1 << random.u32(..width),
        5 => bytes.len() as u64,
        _ => random.u64(..) >> random.u32(..64),
    };
    let number = match random.bool() {
        true => number.to_le_bytes()[..size].to_vec(),
        false => number.to_be_bytes()[8 - size..].to_vec(),
    };
    for (byte, of_number) in bytes[at..].iter_mut().zip(number) {
        *byte = of_number;
    }
}

/// Another number where the next digits are.
fn put_digits(bytes: &mut Vec<u8>, at: usize, random: &mut Rng) {
    let Some(skipped) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return put_number(bytes, at, random);
    };
    let at = at + skipped;
    let count = bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = match random.u8(..4) {
        0 => "0".to_owned(),
        1 => u64::MAX.to_string(),
        2 => "7".repeat(count),
        _ => (random.u64(..) >> random.u32(..64)).to_string(),
    };
    bytes.splice(at..at + count, number.into_bytes());
}
