//! Does KVM run guests here? A device that opens is not an answer; a guest that ran is.
//!
//! ```text
//! /dev/kvm there and ours? ▶ remembered? ▶ a firmware of 100 bytes ▶ the real kernel and agent
//!         │ no                  │ yes            │ no, after 3 s        │ no, after 8 s
//!         ▼                     ▼                ▼                      ▼
//!     emulation              as it was       emulation              emulation
//! ```

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access};
use pyro_wire::fault::Fault;
use pyro_wire::jail::{JailChoice, Wall, Walls};
use pyro_wire::launch::{KvmState, Probe};
use pyro_wire::session;
use tokio::process::Command;
use tokio::time::timeout;

use super::command_line::{Accelerator, COMMON_ARGUMENTS, CommandLine, Kernel, Ram};
use super::disk::Disk;
use super::machine::Start;
use super::{jail, machine, program, rom};
use crate::backend::child::{Inherit, describe, end_of, spawn, watch};
use crate::backend::control_group::{ControlGroup, Limits as GroupLimits};
use crate::backend::probe_cache::{ProbeCache, ProbeResult};
use crate::backend::{BootFailure, Launched};
use crate::console::ERROR_BYTES;
use crate::jail::{Prisoner, gate};

const KVM_DEVICE: &str = "/dev/kvm";

/// Of a group in which nothing is to run.
const PROBE_LIMITS: GroupLimits = GroupLimits {
    memory: 1 << 30,
    tasks: 1 << 10,
    processors: 1,
};

/// Hundred times what the firmware takes on a host that runs it.
const FIRMWARE_TIMEOUT: Duration = Duration::from_secs(3);

/// Ten times what the kernel takes under KVM.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(8);

const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// What is probed. Another QEMU or kernel may have another answer.
#[derive(Clone, Copy)]
pub(crate) struct ProbeTarget<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    pub(crate) jail: JailChoice,
}

impl<'a> ProbeTarget<'a> {
    /// What else a guest holds makes no difference to KVM.
    pub(crate) fn files(&self) -> [&'a Path; 2] {
        [self.binary, self.kernel]
    }
}

pub(crate) struct Verdict {
    pub(crate) kvm: KvmState,
    /// Why, in one sentence.
    pub(crate) reason: String,
}

impl Verdict {
    pub(crate) fn accelerator(&self) -> Accelerator {
        match self.kvm.runs_guests {
            Some(true) => Accelerator::Kvm,
            _ => Accelerator::Tcg,
        }
    }
}

/// See [`crate::probe`].
pub(crate) fn run(
    binary: &Path,
    kernel: &Path,
    initramfs: &Path,
    path: &Path,
    fresh: bool,
) -> Probe {
    let target = ProbeTarget {
        binary,
        kernel,
        initramfs,
        jail: JailChoice::Auto,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(report(&target, path, fresh)),
        Err(error) => Probe {
            accelerator: Accelerator::Tcg.name().into(),
            reason: format!("the runtime could not be started: {error}"),
            kvm: device().0,
            vmm_version: None,
            fault: None,
            jail: None,
        },
    }
}

async fn report(target: &ProbeTarget<'_>, path: &Path, fresh: bool) -> Probe {
    let version = version(target.binary).await;
    let verdict = match &version {
        Ok(_) => find_out(target, &ProbeCache::at(path), fresh, || ()).await,
        // Without a QEMU there is nothing to try, but the device can still be looked at.
        Err(fault) => Verdict {
            kvm: device().0,
            reason: fault.message.clone(),
        },
    };
    let (vmm_version, fault, jail) = match version {
        Ok(version) => (version, None, Some(walls(target, path).await)),
        Err(fault) => (None, Some(fault), None),
    };
    Probe {
        accelerator: verdict.accelerator().name().into(),
        reason: verdict.reason,
        kvm: verdict.kvm,
        vmm_version,
        fault,
        jail,
    }
}

/// Puts QEMU into its jail, where it does no more than to tell its version.
async fn walls(target: &ProbeTarget<'_>, cache: &Path) -> Result<Walls, String> {
    let words = |failure: BootFailure| failure.fault.message;
    let program = program::find(target.binary, Accelerator::Tcg, cache);
    let program = program.await.map_err(words)?;
    let start = Start {
        program: &program,
        jail: target.jail,
        reason: "a probe",
        lock: None,
    };
    let plan = jail::bare_plan(&program, Accelerator::Tcg);
    let prisoner = jail::prisoner(&start, plan, vec!["--version".into()]);
    let ran = timeout(VERSION_TIMEOUT, run_to_its_end(&start, prisoner)).await;
    let (status, mut walls) = ran
        .map_err(|_| "QEMU does not answer in its jail".to_owned())?
        .map_err(words)?;
    if !walls.standing.contains(&Wall::SystemCalls) {
        return Err(machine::NO_FILTERS.to_owned());
    }
    if let Err(reason) = ControlGroup::make(&PROBE_LIMITS) {
        walls.lack(machine::no_group(reason));
    }
    match status.success() {
        true => Ok(walls),
        false => Err(format!("QEMU {} in its jail", describe(status))),
    }
}

/// Finds the answer, in memory or by trying. `trying` is called before the latter, which takes
/// seconds at worst.
pub(crate) async fn find_out(
    target: &ProbeTarget<'_>,
    cache: &ProbeCache<'_>,
    fresh: bool,
    trying: impl FnOnce(),
) -> Verdict {
    // Looked at each time: a user may join a group or load a module at any moment.
    let (mut kvm, trouble) = device();
    if let Some(reason) = trouble {
        return Verdict { kvm, reason };
    }
    let cached = || {
        if fresh {
            None
        } else {
            cache.get(&target.files())
        }
    };
    let result = match cached() {
        Some(result) => result,
        None => {
            trying();
            let _lock = cache.lock().await;
            // Another process may have tried while this one waited.
            match cached() {
                Some(result) => result,
                None => probe_and_cache(target, cache).await,
            }
        }
    };
    kvm.runs_guests = Some(result.runs_guests);
    Verdict {
        kvm,
        reason: result.reason,
    }
}

async fn probe_and_cache(target: &ProbeTarget<'_>, cache: &ProbeCache<'_>) -> ProbeResult {
    let outcome = try_both(target, cache.path()).await;
    let result = match &outcome {
        Ok(()) => ProbeResult {
            runs_guests: true,
            reason: "KVM ran a probe guest".into(),
        },
        Err(ProbeFailure::Guest { reason } | ProbeFailure::Host { reason }) => ProbeResult {
            runs_guests: false,
            reason: reason.clone(),
        },
    };
    if !matches!(outcome, Err(ProbeFailure::Host { .. })) {
        cache.put(&target.files(), &result);
    }
    result
}

/// Why a probe guest did not run.
enum ProbeFailure {
    /// It was tried.
    Guest { reason: String },
    /// It could not be tried, which says nothing of KVM.
    Host { reason: String },
}

fn host(error: io::Error) -> ProbeFailure {
    ProbeFailure::Host {
        reason: format!("KVM could not be tested: {error}"),
    }
}

async fn try_both(target: &ProbeTarget<'_>, cache: &Path) -> Result<(), ProbeFailure> {
    for file in [target.kernel, target.initramfs] {
        File::open(file).map_err(host)?;
    }
    let program = program::find(target.binary, Accelerator::Kvm, cache).await;
    let program = program.map_err(|failure| ProbeFailure::Guest {
        reason: format!(
            "{KVM_DEVICE} exists but QEMU does not start with it: {}",
            failure.fault.message
        ),
    })?;
    let start = Start {
        program: &program,
        jail: target.jail,
        reason: "a probe",
        lock: None,
    };
    try_firmware(&start).await?;
    try_kernel(target, &start).await
}

async fn try_firmware(start: &Start<'_>) -> Result<(), ProbeFailure> {
    let firmware = firmware().map_err(host)?;
    let kvm = Accelerator::Kvm.arguments();
    let words = COMMON_ARGUMENTS.iter().chain(&kvm).chain(rom::ARGUMENTS);
    let mut arguments: Vec<OsString> = words.map(OsString::from).collect();
    arguments.push("-bios".into());
    arguments.push(format!("/proc/self/fd/{}", firmware.as_raw_fd()).into());
    let (errors, errors_end) = io::pipe().map_err(host)?;
    let mut plan = jail::bare_plan(start.program, Accelerator::Kvm);
    plan.reopened.push(firmware.as_raw_fd());
    plan.handed = vec![KVM_DEVICE.into()];
    let mut prisoner = jail::prisoner(start, plan, arguments);
    prisoner.handed = jail::device(Accelerator::Kvm).map_err(host)?;
    prisoner.program.stderr(errors_end).keep(firmware);
    let outcome = timeout(FIRMWARE_TIMEOUT, run_to_its_end(start, prisoner)).await;
    let status = match outcome {
        Ok(Ok((status, _))) => status,
        Ok(Err(failure)) => {
            return Err(ProbeFailure::Host {
                reason: format!("KVM could not be tested: {}", failure.fault.message),
            });
        }
        // Dropping the future has killed it.
        Err(_) => {
            let seconds = FIRMWARE_TIMEOUT.as_secs();
            return Err(ProbeFailure::Guest {
                reason: format!(
                    "{KVM_DEVICE} exists but emulates a guest instead of running it: \
                     a copy of 16 MiB took more than {seconds} s"
                ),
            });
        }
    };
    let mut stderr = Vec::new();
    // Nobody has the other end any more.
    errors
        .take(ERROR_BYTES as u64)
        .read_to_end(&mut stderr)
        .map_err(host)?;
    if status.code() == Some(rom::EXIT_STATUS) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&stderr);
    let words = words.lines().next().unwrap_or_default();
    let words = words.split_once(": ").map_or(words, |(_, words)| words);
    Err(ProbeFailure::Guest {
        reason: format!(
            "{KVM_DEVICE} exists but runs no guest: QEMU {} ({})",
            describe(status),
            words.trim_start_matches("error: ")
        ),
    })
}

async fn run_to_its_end(
    start: &Start<'_>,
    prisoner: Prisoner,
) -> Result<(ExitStatus, Walls), BootFailure> {
    let binary = &start.program.binary;
    let failed = |error: io::Error| BootFailure::lasting(machine::not_started(binary, &error));
    let jailed = prisoner.start().await;
    let jailed = jailed.map_err(|error| machine::not_jailed(binary, &error))?;
    let mut child = watch(jailed.child).map_err(failed)?;
    let mut gate = jailed.gate;
    let ended = tokio::select! {
        ended = end_of(&mut child) => ended,
        error = gate::serve(&mut gate) => Err(error),
    };
    Ok((ended.map_err(failed)?, jailed.walls))
}

/// The firmware as a file that needs no place on disk.
fn firmware() -> io::Result<OwnedFd> {
    let memory = memfd_create(c"probe", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(&rom::image())?;
    Ok(file.into())
}

async fn try_kernel(target: &ProbeTarget<'_>, start: &Start<'_>) -> Result<(), ProbeFailure> {
    let command_line = CommandLine {
        accelerator: Accelerator::Kvm,
        kernel: Kernel::BzImage(target.kernel),
        initramfs: target.initramfs,
        vcpu_count: 2,
        mem_mib: 256,
        disk: &Disk::new(Vec::new(), true),
        ram: Ram::Own,
        network: None,
    };
    let guest = |reason: String| ProbeFailure::Guest {
        reason: format!("{KVM_DEVICE} exists but a probe guest did not run: {reason}"),
    };
    let booted = timeout(KERNEL_TIMEOUT, async {
        let Launched {
            mut machine,
            mut channel,
        } = machine::start(start, &command_line).await?;
        let outcome = tokio::select! {
            greeted = session::handshake(&mut channel) => greeted.map_err(|error| error.to_string()),
            death = machine.ended() => return Err(BootFailure::from(death)),
        };
        machine.kill();
        machine.ended().await;
        Ok(outcome)
    });
    match booted.await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(reason))) => Err(guest(reason)),
        Ok(Err(failure)) => Err(guest(failure.fault.message)),
        Err(_) => Err(guest(format!(
            "no answer within {} s",
            KERNEL_TIMEOUT.as_secs()
        ))),
    }
}

/// The state of the device, and what is wrong with it if something is.
fn device() -> (KvmState, Option<String>) {
    let path = Path::new(KVM_DEVICE);
    let may = |flags| access(path, flags).is_ok();
    let kvm = KvmState {
        exists: path.exists(),
        readable: may(AccessFlags::R_OK),
        writable: may(AccessFlags::W_OK),
        runs_guests: None,
    };
    let trouble = if !kvm.exists {
        Some(format!(
            "{KVM_DEVICE} does not exist: this host offers no hardware virtualisation"
        ))
    } else {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.err().map(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "no permission to use {KVM_DEVICE}: add yourself to the group kvm and log in again"
            ),
            _ => format!("{KVM_DEVICE} cannot be opened: {error}"),
        })
    };
    (kvm, trouble)
}

/// `7.2.22`, as QEMU tells it; a fault when it cannot be executed.
async fn version(binary: &Path) -> Result<Option<String>, Fault> {
    let mut command = Command::new(binary);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = spawn(command, &Inherit::SameNumbers(&[]), Signal::SIGKILL)
        .map_err(|error| machine::not_started(binary, &error))?;
    let told = timeout(VERSION_TIMEOUT, child.wait_with_output()).await;
    Ok(told.ok().and_then(Result::ok).and_then(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text.split_once("version ")?;
        rest.split_whitespace().next().map(str::to_owned)
    }))
}
