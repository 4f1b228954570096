//! QEMU's jail: what it reads, what it is handed, and how much it may use.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::command_line::{Accelerator, CommandLine, Ram};
use super::machine::Start;
use super::program::QemuProgram;
use crate::backend::control_group::Limits as GroupLimits;
use crate::jail::{Calls, Handed, Limits, Plan, Prisoner};

const KVM_DEVICE: &str = "/dev/kvm";

/// Among memory hogs the kernel should rather take a VM than a user's own programs.
const OOM_SCORE: u16 = 500;

/// Its sockets and disk files are some twenty; under KVM each queue of a device has two more.
const FILES: u64 = 1024;

/// Its processors, and up to 64 for its disk.
const TASKS: u64 = 1024;

/// Beside its guest's memory: QEMU itself with its buffers, and the code that emulation makes of the guest's.
const OWN_MEMORY: u64 = 512 << 20;
const TRANSLATED: u64 = 1 << 30;

/// Beside its guest's processors, one for its disk, its monitor and its migration.
const OWN_PROCESSORS: u32 = 1;

/// What a disk's tables take in its file at most, beside what is on the disk: one part of so many.
const TABLES: u64 = 64;
const TABLES_AT_LEAST: u64 = 64 << 20;

/// For a guest that this command line makes.
pub(super) fn plan(program: &QemuProgram, line: &CommandLine<'_>) -> Plan {
    let mut plan = bare_plan(program, line.accelerator);
    if !matches!(line.ram, Ram::Resumed(_)) {
        plan.read.push(line.kernel.path().to_owned());
        plan.read.push(line.initramfs.to_owned());
    }
    plan.handed = handed_paths(line);
    if let Ram::Resumed(memory) = line.ram {
        // It opens it to be written to, and without a gate it would get that: then it is to boot instead.
        plan.handed.retain(|path| path != memory);
    }
    let memory = match line.ram {
        Ram::Saved(_) => u64::from(line.mem_mib) << 20,
        Ram::Own | Ram::Resumed(_) => 0,
    };
    let largest = line.disk.bytes().max(memory);
    plan.limits.file_bytes = Some(largest + (largest / TABLES).max(TABLES_AT_LEAST));
    plan
}

/// What the kernel is to hold such a QEMU to, where a control group is to be had.
pub(super) fn group_limits(line: &CommandLine<'_>) -> GroupLimits {
    let translated = match line.accelerator {
        Accelerator::Kvm => 0,
        Accelerator::Tcg => TRANSLATED,
    };
    GroupLimits {
        memory: (u64::from(line.mem_mib) << 20) + OWN_MEMORY + translated,
        tasks: TASKS,
        processors: line.vcpu_count.saturating_add(OWN_PROCESSORS),
    }
}

/// For one that has no disk.
pub(super) fn bare_plan(program: &QemuProgram, accelerator: Accelerator) -> Plan {
    Plan {
        read: program.read.clone(),
        calls: match accelerator {
            Accelerator::Kvm => Calls::VmmWithKvm,
            Accelerator::Tcg => Calls::Vmm,
        },
        limits: Limits {
            file_bytes: Some(TABLES_AT_LEAST),
            files: Some(FILES),
            tasks: pyro_namespace::counts_tasks_apart().then_some(TASKS),
        },
        oom_score: Some(OOM_SCORE),
        ..Plan::default()
    }
}

pub(super) fn prisoner(start: &Start<'_>, plan: Plan, arguments: Vec<OsString>) -> Prisoner {
    let mut prisoner = Prisoner::new(plan, start.jail, &start.program.binary);
    prisoner.words.extend(arguments);
    for (name, value) in &start.program.environment {
        prisoner.program.env(name, value);
    }
    prisoner
}

fn handed_paths(line: &CommandLine<'_>) -> Vec<PathBuf> {
    let memory = match line.ram {
        Ram::Own => None,
        Ram::Saved(memory) | Ram::Resumed(memory) => Some(memory),
    };
    let device = (line.accelerator == Accelerator::Kvm).then_some(Path::new(KVM_DEVICE));
    memory
        .into_iter()
        .chain(device)
        .map(Path::to_owned)
        .collect()
}

/// A template's memory belongs to others as well: it is good for reading only.
pub(super) fn handed(line: &CommandLine<'_>) -> io::Result<Vec<Handed>> {
    let only_read = matches!(line.ram, Ram::Resumed(_));
    let open = |path: PathBuf| {
        let writable = path == Path::new(KVM_DEVICE) || !only_read;
        let file = OpenOptions::new().read(true).write(writable).open(&path)?;
        Ok(Handed::opened(path, file))
    };
    handed_paths(line).into_iter().map(open).collect()
}

/// For a probe of KVM, which has neither disk nor memory to share.
pub(super) fn device(accelerator: Accelerator) -> io::Result<Vec<Handed>> {
    if accelerator != Accelerator::Kvm {
        return Ok(Vec::new());
    }
    let file = OpenOptions::new().read(true).write(true).open(KVM_DEVICE)?;
    Ok(vec![Handed::opened(KVM_DEVICE.into(), file)])
}

#[cfg(test)]
mod tests {
    use super::super::command_line::Kernel;
    use super::super::disk::Disk;
    use super::*;

    /// So that what is seen of one of them in the place of a QEMU that boots is true of the other.
    #[test]
    fn a_qemu_that_resumes_has_the_walls_of_one_that_boots() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("memory");
        std::fs::write(&memory, "of all").unwrap();
        let program = QemuProgram {
            binary: "/qemu".into(),
            read: vec!["/qemu".into()],
            environment: Vec::new(),
        };
        let disk = Disk::new(Vec::new(), true);
        let (kernel, initramfs) = (Path::new("/kernel"), Path::new("/initramfs"));
        let line = |ram| CommandLine {
            accelerator: Accelerator::Tcg,
            kernel: Kernel::Vmlinux(kernel),
            initramfs,
            vcpu_count: 1,
            mem_mib: 256,
            disk: &disk,
            ram,
            network: None,
        };
        let booted = plan(&program, &line(Ram::Own));
        let resumed = plan(&program, &line(Ram::Resumed(&memory)));
        assert_eq!(booted.read, [Path::new("/qemu"), kernel, initramfs]);
        // Of files it has fewer, and of everything else the same.
        let alike = Plan {
            read: program.read.clone(),
            ..booted
        };
        assert_eq!(resumed, alike);
        // And the memory that is everybody's it gets for reading alone.
        let handed = handed(&line(Ram::Resumed(&memory))).unwrap();
        let [handed] = &handed[..] else {
            panic!("{handed:?}");
        };
        assert_eq!(handed.path, memory);
        let mut file = handed.open().unwrap();
        let written = std::io::Write::write(&mut file, b"of one");
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn emulation_may_keep_what_it_has_translated() {
        let disk = Disk::new(Vec::new(), true);
        let line = |accelerator| CommandLine {
            accelerator,
            kernel: Kernel::Vmlinux(Path::new("/kernel")),
            initramfs: Path::new("/initramfs"),
            vcpu_count: 2,
            mem_mib: 1024,
            disk: &disk,
            ram: Ram::Own,
            network: None,
        };
        let (kvm, tcg) = (
            group_limits(&line(Accelerator::Kvm)),
            group_limits(&line(Accelerator::Tcg)),
        );
        assert_eq!(kvm.memory, 1536 << 20);
        assert_eq!(tcg.memory, 2560 << 20);
        assert_eq!((tcg.tasks, tcg.processors), (TASKS, 3));
    }
}
