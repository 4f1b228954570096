//! Reads the little of an ELF file that pyro must know: its architecture, its interpreter and
//! a named section.
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
        let table = self.u64(32)?;
        let (size, count) = (self.u16(54)?, self.u16(56)?);
        for index in 0..u64::from(count) {
            let header = table.checked_add(index * u64::from(size))?;
            if self.u32(header)? == PROGRAM_INTERPRETER {
                return Some(true);
            }
        }
        Some(false)
    }

    /// The bytes of the section of that name.
    pub(crate) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let names = self.section_bytes(self.section_header(u64::from(self.u16(62)?))?)?;
        (0..u64::from(self.u16(60)?)).find_map(|index| {
            let header = self.section_header(index)?;
            let from = usize::try_from(self.u32(header)?).ok()?;
            let rest = names.get(from..)?.strip_prefix(name.as_bytes())?;
            (rest.first() == Some(&0)).then(|| self.section_bytes(header))?
        })
    }

    fn section_header(&self, index: u64) -> Option<u64> {
        self.u64(40)?.checked_add(index * u64::from(self.u16(58)?))
    }

    fn section_bytes(&self, header: u64) -> Option<&'a [u8]> {
        let start = self.u64(header.checked_add(24)?)?;
        let size = self.u64(header.checked_add(32)?)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{module, program};

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
    fn no_prefix_and_no_flipped_byte_makes_it_panic() {
        for whole in [module("depends=a\0"), program(true)] {
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] = 0xff;
                for bytes in [&whole[..at], &flipped] {
                    if let Some(elf) = Elf::parse(bytes) {
                        let _ = (elf.has_interpreter(), elf.section(".modinfo"));
                    }
                }
            }
        }
    }
}
