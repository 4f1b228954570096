//! The floor under every cold boot of a kernel that unpacks itself: the same kernel on the same
//! machine type with neither initramfs nor disk, from the start of QEMU to the kernel's panic for want
//! of a root file system.

use super::contender::{Contender, Errand, League};
use super::process::Process;

pub(crate) fn contender(kernel: &str, accelerator: &str, mem_mib: u32) -> Contender {
    let cpu = if accelerator == "kvm" {
        "host"
    } else {
        "Haswell-noTSX"
    };
    let memory = mem_mib.to_string();
    let words = [
        "qemu-system-x86_64",
        "-M",
        "q35",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "null",
        "-accel",
        accelerator,
        "-cpu",
        cpu,
        "-m",
        &memory,
        "-kernel",
        kernel,
        "-append",
        "console=ttyS0 quiet panic=-1",
    ];
    Contender::new("plain QEMU, same kernel, to its panic", Process::new(words))
        .league(League::Fresh(Errand::True))
}
