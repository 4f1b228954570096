//! QEMU's jail: what it reads, what it is handed, and how much it may use.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::command_line::{Accelerator, CommandLine, Ram};
use super::machine::Start;
use super::program::QemuProgram;
use crate::jail::{Calls, Handed, Limits, Plan, Prisoner};

const KVM_DEVICE: &str = "/dev/kvm";

/// Among memory hogs the kernel should rather take a VM than a user's own programs.
const OOM_SCORE: u16 = 500;

/// Its sockets and disk files are some twenty; under KVM each queue of a device has two more.
const FILES: u64 = 1024;

/// Its processors, and up to 64 for its disk.
const TASKS: u64 = 1024;

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
        let file = Some(file);
        Ok(Handed { path, file })
    };
    handed_paths(line).into_iter().map(open).collect()
}

/// For a probe of KVM, which has neither disk nor memory to share.
pub(super) fn device(accelerator: Accelerator) -> io::Result<Vec<Handed>> {
    if accelerator != Accelerator::Kvm {
        return Ok(Vec::new());
    }
    let file = OpenOptions::new().read(true).write(true).open(KVM_DEVICE)?;
    Ok(vec![Handed {
        path: KVM_DEVICE.into(),
        file: Some(file),
    }])
}
