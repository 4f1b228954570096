//! `GIT binary patch`: content that is no text, whole (`literal`) or as the difference from what
//! was there (`delta`), packed and in base 85.
//!
//! Git writes the way forward, then the way back. Nothing is replaced unseen: what is there must be
//! what the patch was made from, which the object ids or the way back tell.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::lines::Lines;
use crate::base85::decode_line;
use crate::blob_id::is_blob_id;
use crate::budget::{Budget, Exhausted};
use crate::error::PatchError;
use crate::limits::MAX_FILE;
use crate::text::{is_blank, without_cr};

/// Fewer digits of an object id could be so by chance.
const LEAST_DIGITS: usize = 7;

#[derive(Debug)]
pub(crate) struct Binary {
    forward: Packed,
    back: Option<Packed>,
}

#[derive(Debug)]
struct Packed {
    kind: Kind,
    /// Unpacked.
    size: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Literal,
    Delta,
}

/// What git's `index` line says of the file before and after, in lower case.
#[derive(Debug)]
pub(crate) struct ObjectIds {
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What is wrong with binary content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryError {
    Damaged(&'static str),
    /// The file is not the one that the patch was made from.
    OtherPreimage,
    /// Nothing tells what the patch was made from.
    UnknownPreimage,
    Exhausted,
}

impl From<Exhausted> for BinaryError {
    fn from(Exhausted: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl ObjectIds {
    /// What follows `index `.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let ids = text.split(|byte| *byte == b' ').next()?;
        let dots = ids.windows(2).position(|two| two == b"..")?;
        let (old, new) = (&ids[..dots], &ids[dots + 2..]);
        let is_id = |id: &[u8]| {
            (LEAST_DIGITS..=64).contains(&id.len()) && id.iter().all(u8::is_ascii_hexdigit)
        };
        (is_id(old) && is_id(new)).then(|| Self {
            old: old.to_ascii_lowercase(),
            new: new.to_ascii_lowercase(),
        })
    }
}

/// Reads from the line `GIT binary patch` on.
pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Binary, PatchError> {
    lines.advance();
    let start = lines.number();
    let Some(forward) = packed(lines)? else {
        return Err(PatchError::Syntax {
            line: start,
            problem: "`literal SIZE` or `delta SIZE` must follow `GIT binary patch`",
        });
    };
    Ok(Binary {
        forward,
        back: packed(lines)?,
    })
}

/// One way, up to the blank line behind it.
fn packed(lines: &mut Lines<'_>) -> Result<Option<Packed>, PatchError> {
    let wrong = |line: usize, problem| PatchError::Syntax { line, problem };
    let head = lines.number();
    let line = without_cr(lines.peek().unwrap_or_default());
    let (kind, size) = if let Some(size) = line.strip_prefix(b"literal ") {
        (Kind::Literal, size)
    } else if let Some(size) = line.strip_prefix(b"delta ") {
        (Kind::Delta, size)
    } else {
        return Ok(None);
    };
    let size = std::str::from_utf8(size)
        .ok()
        .and_then(|size| size.trim_end().parse::<usize>().ok())
        .ok_or_else(|| wrong(head, "the size of a binary part is a number"))?;
    if size > MAX_FILE {
        return Err(wrong(head, "the binary part is larger than 8388608 bytes"));
    }
    lines.advance();
    let mut bytes = Vec::new();
    while let Some(line) = lines.peek().map(<[u8]>::trim_ascii_end)
        && !line.is_empty()
        // Subversion leaves no blank line behind the last part.
        && !line.starts_with(b"Index: ")
    {
        decode_line(line, &mut bytes).ok_or_else(|| {
            wrong(
                lines.number(),
                "this is not a line of git's base 85, or it was cut off",
            )
        })?;
        lines.advance();
    }
    if lines.peek().is_some_and(is_blank) {
        lines.advance();
    }
    Ok(Some(Packed { kind, size, bytes }))
}

impl Binary {
    /// The new content, when this is the old one.
    pub(crate) fn apply(
        &self,
        old: &[u8],
        ids: Option<&ObjectIds>,
        budget: &mut Budget,
    ) -> Result<Vec<u8>, BinaryError> {
        budget.spend(old.len())?;
        if let Some(ids) = ids
            && !is_blob_id(&ids.old, old)
        {
            return Err(BinaryError::OtherPreimage);
        }
        let new = self.forward.unpack(old, budget)?;
        if let Some(ids) = ids {
            return match is_blob_id(&ids.new, &new) {
                true => Ok(new),
                false => Err(BinaryError::Damaged(
                    "it does not result in the content that it names",
                )),
            };
        }
        match &self.back {
            // A difference that does not fit the content is for another one, as well.
            Some(back) => match back.unpack(&new, budget) {
                Ok(back) if back == old => Ok(new),
                Err(BinaryError::Exhausted) => Err(BinaryError::Exhausted),
                _ => Err(BinaryError::OtherPreimage),
            },
            None if old.is_empty() => Ok(new),
            None => Err(BinaryError::UnknownPreimage),
        }
    }
}

impl Packed {
    fn unpack(&self, base: &[u8], budget: &mut Budget) -> Result<Vec<u8>, BinaryError> {
        budget.spend(self.size)?;
        let mut bytes = Vec::new();
        // One byte more than stated tells one that is too long; no more is unpacked of it.
        ZlibDecoder::new(self.bytes.as_slice())
            .take(self.size as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| BinaryError::Damaged("it cannot be unpacked"))?;
        if bytes.len() != self.size {
            return Err(BinaryError::Damaged(
                "its size is not the one that it states",
            ));
        }
        match self.kind {
            Kind::Literal => Ok(bytes),
            Kind::Delta => applied(&bytes, base, budget),
        }
    }
}

/// Carries git's delta out: parts of the base, and what is new.
fn applied(mut delta: &[u8], base: &[u8], budget: &mut Budget) -> Result<Vec<u8>, BinaryError> {
    let cut = BinaryError::Damaged("the delta in it is cut off");
    if length(&mut delta).ok_or(cut)? != base.len() {
        return Err(BinaryError::OtherPreimage);
    }
    let size = length(&mut delta).ok_or(cut)?;
    if size > MAX_FILE {
        return Err(BinaryError::Damaged(
            "it makes a file of more than 8388608 bytes",
        ));
    }
    budget.spend(size)?;
    let mut new = Vec::new();
    let byte = |delta: &mut &[u8]| {
        let (first, rest) = delta.split_first()?;
        *delta = rest;
        Some(usize::from(*first))
    };
    while let Some(code) = byte(&mut delta) {
        let part = match code {
            0 => {
                return Err(BinaryError::Damaged("the delta in it has an unknown part"));
            }
            1..0x80 => {
                let (part, rest) = delta.split_at_checked(code).ok_or(cut)?;
                delta = rest;
                part
            }
            _ => {
                let mut number = |bits: std::ops::Range<usize>| {
                    let start = bits.start;
                    bits.filter(|bit| code & 1 << bit != 0)
                        .try_fold(0, |value, bit| {
                            Some(value | byte(&mut delta)? << (8 * (bit - start)))
                        })
                };
                let offset = number(0..4).ok_or(cut)?;
                let count = match number(4..7).ok_or(cut)? {
                    0 => 0x10000,
                    count => count,
                };
                base.get(offset..offset + count)
                    .ok_or(BinaryError::Damaged(
                        "the delta in it reads beyond the file",
                    ))?
            }
        };
        if new.len() + part.len() > size {
            return Err(BinaryError::Damaged("the delta in it produces too much"));
        }
        new.extend_from_slice(part);
    }
    match new.len() == size {
        true => Ok(new),
        false => Err(cut),
    }
}

/// Seven bits a byte, the lowest first.
fn length(delta: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = delta.split_first()?;
        *delta = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
