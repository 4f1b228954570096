//! The smallest guest that tells a KVM that runs guests from one that only pretends.
//!
//! Some hosts (nested, paravirtual) have a `/dev/kvm` that emulates guest instructions one by one
//! instead of running them. This firmware enters 32-bit mode and copies 16 MiB: some hundredths
//! of a second on hardware, more than four seconds where it was seen to be emulated. Then it ends
//! QEMU through the debug exit device.

/// What the firmware writes to the debug exit device.
const EXIT_CODE: u8 = 0x2a;

/// How QEMU's debug exit device turns the answer into an exit status.
pub(crate) const EXIT_STATUS: i32 = ((EXIT_CODE as i32) << 1) | 1;

/// For QEMU's command line, beside the firmware itself.
pub(crate) const ARGUMENTS: &[&str] = &[
    "-machine",
    "q35",
    "-m",
    "16M",
    "-device",
    "isa-debug-exit,iobase=0xf4,iosize=1",
];

const SIZE: usize = 64 * 1024;

/// Where the processor starts, in the last 16 bytes of the firmware: `jmp 0`.
const RESET: (usize, [u8; 3]) = (SIZE - 16, [0xe9, 0x0d, 0x00]);

/// From offset 0, which is at 0xffff0000 in memory.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xfa,                                           // 00      cli
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x60, 0x00,       // 01      lgdtl %cs:0x60
    0x0f, 0x20, 0xc0,                               // 08      mov %cr0, %eax
    0x0c, 0x01,                                     // 0b      or $1, %al
    0x0f, 0x22, 0xc0,                               // 0d      mov %eax, %cr0
    0x66, 0xea, 0x18, 0x00, 0xff, 0xff, 0x08, 0x00, // 10      ljmpl $8, $0xffff0018
    0x66, 0xb8, 0x10, 0x00,                         // 18      mov $16, %ax
    0x8e, 0xd8,                                     // 1c      mov %ax, %ds
    0x8e, 0xc0,                                     // 1e      mov %ax, %es
    0xfc,                                           // 20      cld
    0xbb, 0x04, 0x00, 0x00, 0x00,                   // 21      mov $4, %ebx
    0xbe, 0x00, 0x00, 0x10, 0x00,                   // 26 more: mov $0x100000, %esi
    0xbf, 0x00, 0x00, 0x50, 0x00,                   // 2b      mov $0x500000, %edi
    0xb9, 0x00, 0x00, 0x10, 0x00,                   // 30      mov $0x100000, %ecx
    0xf3, 0xa5,                                     // 35      rep movsl
    0x4b,                                           // 37      dec %ebx
    0x75, 0xec,                                     // 38      jnz more
    0x66, 0xba, 0xf4, 0x00,                         // 3a      mov $0xf4, %dx
    0xb0, EXIT_CODE,                                   // 3e      mov $EXIT_CODE, %al
    0xee,                                           // 40      out %al, (%dx)
    0xf4,                                           // 41      hlt
    0, 0, 0, 0, 0, 0,                               // 42
    0, 0, 0, 0, 0, 0, 0, 0,                         // 48      nothing
    0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0,             // 50      all memory, as code
    0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0,             // 58      all memory, as data
    0x17, 0x00, 0x48, 0x00, 0xff, 0xff,             // 60      three descriptors at 0xffff0048
];

pub(crate) fn image() -> Vec<u8> {
    const HALT: u8 = 0xf4;
    let mut image = vec![HALT; SIZE];
    image[..CODE.len()].copy_from_slice(CODE);
    let (at, jump) = RESET;
    image[at..at + jump.len()].copy_from_slice(&jump);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_are_where_the_code_looks_for_them() {
        assert_eq!(CODE[0x60..], [0x17, 0, 0x48, 0, 0xff, 0xff]);
        assert_eq!(CODE[0x18..0x1a], [0x66, 0xb8]);
        // The jump is relative to the instruction after it and wraps within the segment.
        let (at, jump) = RESET;
        let distance = usize::from(u16::from_le_bytes([jump[1], jump[2]]));
        assert_eq!((at + jump.len() + distance) % SIZE, 0);
    }
}
