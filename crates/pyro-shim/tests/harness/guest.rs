//! What a virtual machine is made of: a kernel from the catalog's cache (or anywhere of the same
//! layout), an initramfs with the fake agent as its agent, and a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_catalog::Kernel;
use pyro_wire::launch::{AcceleratorChoice, DiskFormat, DiskLayer, Qemu};

use super::example::{agent, example};

/// Names a folder with `vmlinuz` and `modules/` (`order` and `*.ko`).
const KERNEL: &str = "PYRO_TEST_KERNEL";

pub(crate) fn spec(folder: &Path) -> Qemu {
    let base = folder.join("base, raw.img");
    fs::File::create(&base).unwrap().set_len(512 << 20).unwrap();
    machine(folder, &example("fake_agent"), base)
}

/// With the real agent, and the root disk of one of Debian's environments that lies beside the kernel in the
/// catalog's cache. Images of others may be there, too.
pub(crate) fn real(folder: &Path) -> Qemu {
    let agent = agent();
    let cache = kernel();
    let environments = fs::read_dir(cache.parent().unwrap()).unwrap();
    let base = environments
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"debian"))
        .map(|entry| entry.path().join("rootfs.ext4"))
        .find(|image| image.exists())
        .expect("an environment beside the kernel: run `make test`");
    machine(folder, &agent, base)
}

fn kernel() -> PathBuf {
    std::env::var_os(KERNEL)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{KERNEL} must name a folder with a kernel: run `make test`"))
}

fn machine(folder: &Path, agent: &Path, base: PathBuf) -> Qemu {
    let kernel = kernel();
    let initramfs = folder.join("initramfs");
    let agent = stripped(folder, agent);
    fs::write(&initramfs, archive(&agent, &kernel.join("modules"))).unwrap();
    let top = folder.join("top.qcow2");
    layer(&base, &top);
    Qemu {
        binary: "/usr/bin/qemu-system-x86_64".into(),
        accelerator: AcceleratorChoice::Tcg,
        probe_cache: folder.join("kvm.json"),
        kernel: kernel.join("vmlinuz"),
        vmlinux: vmlinux(&kernel),
        initramfs,
        vcpu_count: 2,
        mem_mib: 256,
        disk: vec![
            DiskLayer {
                path: base,
                format: DiskFormat::Raw,
            },
            DiskLayer {
                path: top,
                format: DiskFormat::Qcow2,
            },
        ],
        template: None,
        network: None,
        jail: pyro_wire::jail::JailChoice::Auto,
    }
}

/// The kernel as the engine has it unpacked.
fn vmlinux(folder: &Path) -> Result<PathBuf, String> {
    let kernel = Kernel {
        image: folder.join("vmlinuz"),
        modules_dir: folder.join("modules"),
        release: String::new(),
        digest: String::new(),
    };
    kernel.vmlinux().map_err(|error| error.to_string())
}

/// Puts one in its place of which the processor understands not a word.
pub(crate) fn damage_vmlinux(qemu: &mut Qemu) {
    const UD2: [u8; 2] = [0x0f, 0x0b];
    let mut vmlinux = fs::read(qemu.vmlinux.as_ref().unwrap()).unwrap();
    // Where the first of the segments begins, which has the entry.
    let code = u64::from_le_bytes(vmlinux[64 + 8..64 + 16].try_into().unwrap());
    let code = usize::try_from(code).unwrap();
    vmlinux[code..code + 0x1000].copy_from_slice(&UD2.repeat(0x800));
    let path = qemu.initramfs.with_file_name("vmlinux");
    fs::write(&path, vmlinux).unwrap();
    qemu.vmlinux = Ok(path);
}

/// A program as a release would ship it: a guest unpacks its agent before it starts.
fn stripped(folder: &Path, program: &Path) -> Vec<u8> {
    let small = folder.join("agent");
    let made = Command::new("strip")
        .arg("-o")
        .args([&small, program])
        .status();
    match made {
        Ok(status) if status.success() => fs::read(small).unwrap(),
        _ => fs::read(program).unwrap(),
    }
}

/// A new qcow2 layer on another disk.
pub(crate) fn layer(base: &Path, top: &Path) {
    let format = match base.extension() {
        Some(extension) if extension == "qcow2" => "qcow2",
        _ => "raw",
    };
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .args([base, top])
        .status();
    assert!(made.unwrap().success());
}

/// A new qcow2 layer that names nothing below it.
pub(crate) fn empty_layer(path: &Path, size: u64) -> DiskLayer {
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg(size.to_string())
        .status();
    assert!(made.unwrap().success());
    DiskLayer {
        path: path.to_owned(),
        format: DiskFormat::Qcow2,
    }
}

/// A cpio archive (`newc`) with the agent as `/init`.
fn archive(agent: &[u8], modules: &Path) -> Vec<u8> {
    const FOLDER: u32 = 0o40_755;
    const FILE: u32 = 0o100_755;
    const CONSOLE: u32 = 0o20_600;
    let mut archive = Vec::new();
    for folder in ["proc", "sys", "dev", "root", "modules"] {
        entry(&mut archive, folder, FOLDER, (0, 0), &[]);
    }
    entry(&mut archive, "dev/console", CONSOLE, (5, 1), &[]);
    entry(&mut archive, "init", FILE, (0, 0), agent);
    for module in fs::read_dir(modules).unwrap() {
        let module = module.unwrap();
        let name = format!("modules/{}", module.file_name().display());
        entry(
            &mut archive,
            &name,
            FILE,
            (0, 0),
            &fs::read(module.path()).unwrap(),
        );
    }
    entry(&mut archive, "TRAILER!!!", 0, (0, 0), &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
    let inode = u32::try_from(archive.len()).unwrap();
    let size = u32::try_from(data.len()).unwrap();
    let name_size = u32::try_from(name.len() + 1).unwrap();
    archive.extend(b"070701");
    let fields = [
        inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
    ];
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
