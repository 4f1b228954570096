//! Reads the little of an ELF file that pyro must know: its architecture, its interpreter, its
//! notes and a named section.
//!
//! The bytes come from outside, so nothing here trusts an offset.

/// The bytes that tell the architecture.
pub(crate) const HEADER: u64 = 64;

/// The machine of the programs that run here: x86-64 or AArch64, as ELF numbers them.
pub(crate) const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else {
    62
};

/// Whether these bytes begin an ELF file of any kind.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// A 64-bit little-endian ELF file.
pub(crate) struct Elf<'a>(&'a [u8]);

const PROGRAM_INTERPRETER: u32 = 3;
const PROGRAM_NOTES: u32 = 4;

impl<'a> Elf<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        // Magic, 64 bit, little endian.
        let fits = bytes.starts_with(b"\x7fELF\x02\x01") && bytes.len() >= 64;
        fits.then_some(Self(bytes))
    }

    /// The architecture, as ELF numbers them.
    pub(crate) fn machine(&self) -> Option<u16> {
        self.u16(18)
    }

    /// Whether the kernel would hand this program to a dynamic loader; `None` when broken.
    pub(crate) fn has_interpreter(&self) -> Option<bool> {
        for header in self.program_headers()? {
            if self.u32(header?)? == PROGRAM_INTERPRETER {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Whether it has a note of that owner and type; `None` when broken.
    pub(crate) fn has_note(&self, owner: &[u8], kind: u32) -> Option<bool> {
        for header in self.program_headers()? {
            let header = header?;
            if self.u32(header)? == PROGRAM_NOTES
                && notes_have(self.bytes(header, 8, 32)?, owner, kind)?
            {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Where each program header is.
    fn program_headers(&self) -> Option<impl Iterator<Item = Option<u64>> + use<>> {
        let table = self.u64(32)?;
        let (size, count) = (u64::from(self.u16(54)?), u64::from(self.u16(56)?));
        Some((0..count).map(move |index| table.checked_add(index * size)))
    }

    /// The bytes of the section of that name.
    pub(crate) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let names = self.bytes(self.section_header(u64::from(self.u16(62)?))?, 24, 32)?;
        (0..u64::from(self.u16(60)?)).find_map(|index| {
            let header = self.section_header(index)?;
            let from = usize::try_from(self.u32(header)?).ok()?;
            let rest = names.get(from..)?.strip_prefix(name.as_bytes())?;
            (rest.first() == Some(&0)).then(|| self.bytes(header, 24, 32))?
        })
    }

    fn section_header(&self, index: u64) -> Option<u64> {
        self.u64(40)?.checked_add(index * u64::from(self.u16(58)?))
    }

    /// The bytes that a header describes, with their offset and their size where it says so.
    fn bytes(&self, header: u64, offset_at: u64, size_at: u64) -> Option<&'a [u8]> {
        let start = self.u64(header.checked_add(offset_at)?)?;
        let size = self.u64(header.checked_add(size_at)?)?;
        let end = start.checked_add(size)?;
        self.0
            .get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    fn at<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let rest = self.0.get(usize::try_from(offset).ok()?..)?;
        rest.first_chunk().copied()
    }

    fn u16(&self, offset: u64) -> Option<u16> {
        self.at(offset).map(u16::from_le_bytes)
    }

    fn u32(&self, offset: u64) -> Option<u32> {
        self.at(offset).map(u32::from_le_bytes)
    }

    fn u64(&self, offset: u64) -> Option<u64> {
        self.at(offset).map(u64::from_le_bytes)
    }
}

/// Looks through notes, each of which is the lengths of owner and description, a type, and then both,
/// filled up to words.
fn notes_have(mut notes: &[u8], owner: &[u8], kind: u32) -> Option<bool> {
    while let Some((head, rest)) = notes.split_first_chunk::<12>() {
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let [owner_size, size] = [word(0), word(4)].map(|size| size as usize);
        if word(8) == kind && rest.get(..owner_size)? == owner {
            return Some(true);
        }
        let padded = owner_size.checked_next_multiple_of(4)?;
        let padded = padded.checked_add(size.checked_next_multiple_of(4)?)?;
        notes = rest.get(padded..)?;
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{module, program, with_note};

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        let told = |bytes: &[u8]| Elf::parse(bytes).map(|elf| elf.has_interpreter());
        assert_eq!(told(&program(true)), Some(Some(true)));
        assert_eq!(told(&program(false)), Some(Some(false)));
        assert_eq!(told(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let bytes = module("depends=a,b\0");
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.section(".modinfo"), Some(&b"depends=a,b\0"[..]));
        assert_eq!(elf.section(".mod"), None);
    }

    #[test]
    fn a_note_is_found_by_its_owner_and_type() {
        let bytes = with_note(b"Xen\0", 18);
        let has = |owner, kind| Elf::parse(&bytes).unwrap().has_note(owner, kind);
        assert_eq!(has(b"Xen\0", 18), Some(true));
        assert_eq!(has(b"abc\0", 1), Some(true));
        assert_eq!(has(b"Xen\0", 1), Some(false));
        assert_eq!(has(b"GNU\0", 18), Some(false));
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_makes_it_panic() {
        for whole in [
            module("depends=a\0"),
            program(true),
            with_note(b"Xen\0", 18),
        ] {
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] = 0xff;
                for bytes in [&whole[..at], &flipped] {
                    if let Some(elf) = Elf::parse(bytes) {
                        let _ = (elf.has_interpreter(), elf.section(".modinfo"));
                        let _ = elf.has_note(b"Xen\0", 18);
                    }
                }
            }
        }
    }
}
