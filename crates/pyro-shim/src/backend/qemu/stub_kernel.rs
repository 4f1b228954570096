//! A file that QEMU takes for a kernel, for guests that are past their boot.
//!
//! QEMU makes one device out of `-kernel`, the option ROM that loads it, and a saved state knows of
//! that device. What is in the file the guest never sees. There is one such ROM for each kind of kernel:
//!
//! - A file without the magic of Linux's boot protocol counts as a bzImage of the first days: at least
//!   five sectors long, and without initramfs.
//! - An ELF file is entered by PVH, with a note that tells where. It loads nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::command_line::Kernel;

const SIZE: u64 = 8192;

const ELF_HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;

/// Owner's length, description's length, type, owner, and the address of the entry.
const PVH_NOTE: [u8; 24] = [
    4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, b'X', b'e', b'n', 0, 0, 0, 16, 0, 0, 0, 0, 0,
];

/// The file, of the same kind as that kernel. It needs no place on disk.
pub(super) fn create(kernel: Kernel<'_>) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"stub", MFdFlags::MFD_CLOEXEC)?);
    if let Kernel::Vmlinux(_) = kernel {
        file.write_all(&elf())?;
    }
    file.set_len(SIZE)?;
    Ok(file.into())
}

/// An x86-64 program of nothing but the note.
fn elf() -> Vec<u8> {
    let note_at = u64::from(ELF_HEADER + PROGRAM_HEADER);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    // Executable, x86-64, version; entry, program headers, section headers; flags.
    elf.extend([2_u16, 62, 1, 0].map(u16::to_le_bytes).concat());
    elf.extend([0, u64::from(ELF_HEADER), 0].map(u64::to_le_bytes).concat());
    elf.extend([0; 4]);
    let sizes = [ELF_HEADER, PROGRAM_HEADER, 1, 0, 0, 0];
    elf.extend(sizes.map(u16::to_le_bytes).concat());
    // A segment of notes, readable; offset, addresses, sizes, alignment.
    elf.extend([4_u32, 4].map(u32::to_le_bytes).concat());
    let size = PVH_NOTE.len() as u64;
    elf.extend(
        [note_at, 0, 0, size, size, 4]
            .map(u64::to_le_bytes)
            .concat(),
    );
    elf.extend(PVH_NOTE);
    elf
}
