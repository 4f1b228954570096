//! What QEMU is told, and why.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use pyro_wire::network::{GUEST_MAC, MTU, Network};
use serde_json::json;

use super::disk::{Disk, FIRST_NODE, SetFile};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // The default translation buffer of 1 GiB is a promise of memory per VM that no
            // workload here was seen to use; when it is full, QEMU starts it anew.
            // Programs expect x86-64-v3 today (with `qemu64` wheels such as numpy die of an
            // illegal instruction); what TCG lacks of a Haswell is taken out, or QEMU warns.
            Self::Tcg => [
                "-accel",
                "tcg,tb-size=256",
                "-cpu",
                "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid",
            ],
        }
    }
}

/// What every QEMU here gets: nothing but what is named, and a cage around itself. The sandbox
/// forbids QEMU to start programs, so a guest that breaks out of it has no shell.
pub(crate) const COMMON_ARGUMENTS: &[&str] = &[
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    // A guest that restarts, or panics, is over.
    "-no-reboot",
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
];

/// The plain `q35`, which means the newest version of it that this QEMU has. A saved state needs
/// the same version again, but whoever keeps states must key them by QEMU's version anyway.
/// Without the devices that no guest here uses: each costs firmware and kernel a search.
pub(crate) const MACHINE: &str =
    "q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off,dump-guest-core=off";

/// The guest's kernel command line. Figures are processor time of QEMU for one boot under TCG,
/// 1.6 s in all; two series of the same boot differ by 0.1 s on a busy host.
///
/// Left out on purpose: `tsc=reliable`, which takes away the watch on a clock that was calibrated
/// on a busy host (under TCG a wrong figure makes guest time run wrong). `no_timer_check` (60 boots
/// with and without), `nokaslr`, `rcupdate.rcu_expedited=1`, `audit=0`, `apparmor=0` saved nothing
/// that could be told from noise.
const KERNEL_PARAMETERS: &[&str] = &[
    "console=ttyS0",
    // Every character on an emulated serial line is an exit of the guest.
    "quiet",
    // With `-no-reboot`: a panic ends QEMU at once and not after the boot's deadline.
    "panic=-1",
    // No self-tests of ciphers: 150 to 300 ms.
    "cryptomgr.notests",
    // There are no three further serial ports to look for: with the next one 50 ms, 60 boots each.
    "8250.nr_uarts=1",
    // They guard programs of one guest against each other; here all of them are root's, and what
    // guards the host against the guest is on the host.
    "mitigations=off",
    // The processor's random numbers are the host's; without them a guest that does nothing yet
    // may wait long for its first. Debian's kernel does so anyway.
    "random.trust_cpu=on",
];

/// Programs at the same addresses in every process. TCG's translations are of virtual addresses:
/// moved, a program is translated anew each time it is started, which makes a start four to five
/// times as long. What it would guard is a guest's programs against each other's input; whoever wants
/// that more than speed writes 2 to `/proc/sys/kernel/randomize_va_space`.
const TCG_KERNEL_PARAMETERS: &str = "norandmaps";

fn kernel_parameters(accelerator: Accelerator) -> String {
    let more = match accelerator {
        Accelerator::Tcg => Some(TCG_KERNEL_PARAMETERS),
        Accelerator::Kvm => None,
    };
    let words: Vec<&str> = KERNEL_PARAMETERS.iter().copied().chain(more).collect();
    words.join(" ")
}

/// What a guest boots. QEMU makes one device of each, and of either kind another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel<'a> {
    /// It unpacks itself.
    BzImage(&'a Path),
    /// An ELF file, entered by PVH.
    Vmlinux(&'a Path),
}

impl<'a> Kernel<'a> {
    pub(crate) fn path(self) -> &'a Path {
        match self {
            Self::BzImage(path) | Self::Vmlinux(path) => path,
        }
    }
}

/// Where the guest's memory is.
#[derive(Clone, Copy)]
pub(crate) enum Ram<'a> {
    /// In QEMU.
    Own,
    /// In this file, which is made for a template.
    Saved(&'a Path),
    /// In this file of a template: read from it, and written to copies of its pages.
    Resumed(&'a Path),
}

/// Descriptors that QEMU inherits.
pub(crate) struct Descriptors<'a> {
    /// In place of the kernel of a guest that is past its boot.
    pub(crate) stub_kernel: RawFd,
    pub(crate) agent: RawFd,
    pub(crate) console: RawFd,
    pub(crate) monitor: RawFd,
    /// The other end of the guest's network device, where it has one.
    pub(crate) netdev: Option<RawFd>,
    /// The layers of the disk.
    pub(crate) disk: &'a [SetFile],
}

pub(crate) struct CommandLine<'a> {
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: Kernel<'a>,
    pub(crate) initramfs: &'a Path,
    pub(crate) vcpu_count: u32,
    pub(crate) mem_mib: u32,
    pub(crate) disk: &'a Disk,
    pub(crate) ram: Ram<'a>,
    /// What the guest may reach.
    pub(crate) network: Option<&'a Network>,
}

impl CommandLine<'_> {
    pub(crate) fn arguments(&self, descriptors: &Descriptors<'_>) -> Vec<OsString> {
        let mut line = Arguments::default();
        line.all(COMMON_ARGUMENTS);
        self.machine(&mut line);
        line.all(&self.accelerator.arguments());
        line.pair("-m", format!("{}M", self.mem_mib));
        line.pair("-smp", self.vcpu_count.to_string());
        self.kernel(&mut line, descriptors);

        // Sockets that exist before QEMU does: nothing on disk, and nothing to wait for.
        line.pair("-chardev", socket("console", descriptors.console));
        line.all(&["-serial", "chardev:console"]);
        line.pair("-chardev", socket("monitor", descriptors.monitor));
        line.all(&["-mon", "chardev=monitor,mode=control"]);
        line.pair("-chardev", socket("agent", descriptors.agent));
        line.all(&[
            "-device",
            "virtio-serial-pci,disable-legacy=on,max_ports=2",
            "-device",
            "virtserialport,chardev=agent,name=pyro.agent",
        ]);

        for SetFile { set, file } in descriptors.disk {
            line.pair("-add-fd", format!("fd={},set={set}", file.as_raw_fd()));
        }
        if let Some(chain) = self.disk.chain() {
            line.pair("-blockdev", chain.to_string());
            // A write that the host refuses stops the guest, of which the shim hears: it ends the
            // VM with the reason, or lets it try again. Reported to the guest it would be an I/O
            // error in a log nobody reads, long after the program that wrote has ended well.
            line.pair(
                "-device",
                format!(
                    "virtio-blk-pci,disable-legacy=on,drive={FIRST_NODE},werror=stop,rerror=report"
                ),
            );
        }
        if let Some(netdev) = descriptors.netdev {
            line.pair("-netdev", netdev_argument(netdev));
            let mac = GUEST_MAC.map(|byte| format!("{byte:02x}")).join(":");
            // Nobody boots from it, so it needs no program for that.
            line.pair(
                "-device",
                format!(
                    "virtio-net-pci,disable-legacy=on,netdev=net0,mac={mac},host_mtu={MTU},romfile="
                ),
            );
        }
        line.arguments
    }

    fn machine(&self, line: &mut Arguments) {
        let (path, share) = match self.ram {
            Ram::Own => return line.all(&["-machine", MACHINE]),
            Ram::Saved(path) => (path, true),
            Ram::Resumed(path) => (path, false),
        };
        let memory = json!({
            "qom-type": "memory-backend-file",
            "id": "ram",
            "mem-path": path,
            "share": share,
            "size": u64::from(self.mem_mib) << 20,
        });
        line.pair("-object", memory.to_string());
        line.pair("-machine", format!("{MACHINE},memory-backend=ram"));
    }

    /// A guest that is resumed has its kernel in its memory. QEMU only has to make the same devices
    /// of it as before, for which any file will do that looks like a kernel: the real one and its
    /// initramfs would be 17 MiB in every QEMU.
    fn kernel(&self, line: &mut Arguments, descriptors: &Descriptors<'_>) {
        if let Ram::Resumed(_) = self.ram {
            line.pair(
                "-kernel",
                format!("/proc/self/fd/{}", descriptors.stub_kernel),
            );
            line.all(&["-incoming", "defer"]);
            return;
        }
        line.pair("-kernel", self.kernel.path());
        line.pair("-initrd", self.initramfs);
        line.pair("-append", kernel_parameters(self.accelerator));
    }
}

fn socket(id: &str, fd: RawFd) -> String {
    format!("socket,id={id},fd={fd}")
}

/// Frames on a socket, each after its length: what is at the other end is no affair of QEMU's.
fn netdev_argument(netdev: RawFd) -> String {
    format!("stream,id=net0,server=off,addr.type=fd,addr.str={netdev}")
}

#[derive(Default)]
struct Arguments {
    arguments: Vec<OsString>,
}

impl Arguments {
    fn all(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(OsString::from));
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.extend([name.into(), value.into()]);
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::launch::{DiskFormat, DiskLayer};

    use super::*;

    #[test]
    fn saving_and_resuming_differ_in_the_memory_and_the_kernel_only() {
        let layer = DiskLayer {
            path: "/disk".into(),
            format: DiskFormat::Qcow2,
        };
        let disk = Disk::new(vec![layer], false);
        let line = |ram| {
            let line = CommandLine {
                accelerator: Accelerator::Tcg,
                kernel: Kernel::Vmlinux(Path::new("/kernel")),
                initramfs: Path::new("/initramfs"),
                vcpu_count: 2,
                mem_mib: 256,
                disk: &disk,
                ram,
                network: None,
            };
            let arguments = line.arguments(&Descriptors {
                agent: 3,
                console: 4,
                monitor: 5,
                stub_kernel: 6,
                netdev: None,
                disk: &[],
            });
            assert!(!arguments.iter().any(|word| word == "-netdev"));
            let words = arguments
                .iter()
                .map(|word| word.to_string_lossy().into_owned());
            words.collect::<Vec<_>>()
        };
        let file = Path::new("/a folder, with comma/memory");
        let (saved, resumed) = (line(Ram::Saved(file)), line(Ram::Resumed(file)));
        let only = |one: &[String], other: &[String]| -> Vec<String> {
            one.iter()
                .filter(|word| !other.contains(word))
                .cloned()
                .collect()
        };
        // The order of the keys depends on what else is built along.
        let memory = |share: bool| {
            json!({
                "qom-type": "memory-backend-file",
                "id": "ram",
                "mem-path": "/a folder, with comma/memory",
                "share": share,
                "size": 256 << 20,
            })
            .to_string()
        };
        assert_eq!(
            only(&resumed, &saved),
            [&memory(false), "/proc/self/fd/6", "-incoming", "defer"]
        );
        assert_eq!(
            only(&saved, &resumed),
            [
                &memory(true),
                "/kernel",
                "-initrd",
                "/initramfs",
                "-append",
                &kernel_parameters(Accelerator::Tcg)
            ]
        );
        assert!(
            !line(Ram::Own)
                .iter()
                .any(|word| word.contains("memory-backend"))
        );
    }
}
