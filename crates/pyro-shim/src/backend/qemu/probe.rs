//! Does KVM run guests here? A device that opens is not an answer; a guest that ran is.
//!
//! ```text
//! /dev/kvm there and ours? ▶ remembered? ▶ a firmware of 100 bytes ▶ the real kernel and agent
//!         │ no                  │ yes            │ no, after 3 s        │ no, after 8 s
//!         ▼                     ▼                ▼                      ▼
//!     emulation              as it was       emulation              emulation
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access};
use pyro_wire::fault::Fault;
use pyro_wire::launch::{KvmState, Probe};
use pyro_wire::session;
use tokio::process::Command;
use tokio::time::timeout;

use super::command_line::{ALWAYS, Accelerator, CommandLine, Ram};
use super::disk::Disk;
use super::memory::{Found, Memory};
use super::{machine, rom};
use crate::backend::child::{Pass, describe, spawn};
use crate::backend::{BootFailure, Launched};

const DEVICE: &str = "/dev/kvm";

/// Hundred times what the firmware takes on a host that runs it.
const FIRMWARE_DEADLINE: Duration = Duration::from_secs(3);

/// Ten times what the kernel takes under KVM.
const KERNEL_DEADLINE: Duration = Duration::from_secs(8);

const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// What the question is about.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
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
    cache: &Path,
    fresh: bool,
) -> Probe {
    let asked = Asked {
        binary,
        kernel,
        initramfs,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(report(&asked, cache, fresh)),
        Err(error) => Probe {
            accelerator: Accelerator::Tcg.name().into(),
            reason: format!("the runtime could not be started: {error}"),
            kvm: device().0,
            vmm_version: None,
            fault: None,
        },
    }
}

async fn report(asked: &Asked<'_>, cache: &Path, fresh: bool) -> Probe {
    let version = version(asked.binary).await;
    let verdict = match &version {
        Ok(_) => ask(asked, &Memory::at(cache), fresh, || ()).await,
        // Without a QEMU there is nothing to try, but the device can still be looked at.
        Err(fault) => Verdict {
            kvm: device().0,
            reason: fault.message.clone(),
        },
    };
    let (vmm_version, fault) = match version {
        Ok(version) => (version, None),
        Err(fault) => (None, Some(fault)),
    };
    Probe {
        accelerator: verdict.accelerator().name().into(),
        reason: verdict.reason,
        kvm: verdict.kvm,
        vmm_version,
        fault,
    }
}

/// Finds the answer, in memory or by trying. `trying` is called before the latter, which takes
/// seconds at worst.
pub(crate) async fn ask(
    asked: &Asked<'_>,
    memory: &Memory<'_>,
    fresh: bool,
    trying: impl FnOnce(),
) -> Verdict {
    // Looked at each time: a user may join a group or load a module at any moment.
    let (mut kvm, trouble) = device();
    if let Some(reason) = trouble {
        return Verdict { kvm, reason };
    }
    let remembered = || if fresh { None } else { memory.recall(asked) };
    let found = match remembered() {
        Some(found) => found,
        None => {
            trying();
            let _lock = memory.lock().await;
            // Another process may have tried while this one waited.
            match remembered() {
                Some(found) => found,
                None => try_and_remember(asked, memory).await,
            }
        }
    };
    kvm.runs_guests = Some(found.runs_guests);
    Verdict {
        kvm,
        reason: found.reason,
    }
}

async fn try_and_remember(asked: &Asked<'_>, memory: &Memory<'_>) -> Found {
    let outcome = try_both(asked).await;
    let found = match &outcome {
        Ok(()) => Found {
            runs_guests: true,
            reason: "KVM ran a probe guest".into(),
        },
        Err(Trouble::Guest { reason } | Trouble::Host { reason }) => Found {
            runs_guests: false,
            reason: reason.clone(),
        },
    };
    if !matches!(outcome, Err(Trouble::Host { .. })) {
        memory.remember(asked, &found);
    }
    found
}

/// Why a probe guest did not run.
enum Trouble {
    /// It was tried.
    Guest { reason: String },
    /// It could not be tried, which says nothing of KVM.
    Host { reason: String },
}

fn host(error: io::Error) -> Trouble {
    Trouble::Host {
        reason: format!("KVM could not be tried: {error}"),
    }
}

async fn try_both(asked: &Asked<'_>) -> Result<(), Trouble> {
    for file in [asked.kernel, asked.initramfs] {
        File::open(file).map_err(host)?;
    }
    try_firmware(asked.binary).await?;
    try_kernel(asked).await
}

async fn try_firmware(binary: &Path) -> Result<(), Trouble> {
    let firmware = firmware().map_err(host)?;
    let mut command = Command::new(binary);
    command
        .args(ALWAYS)
        .args(Accelerator::Kvm.arguments())
        .args(rom::ARGUMENTS)
        .arg("-bios")
        .arg(format!("/proc/self/fd/{}", firmware.as_raw_fd()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = spawn(
        command,
        &Pass::AsTheyAre(&[firmware.as_fd()]),
        Signal::SIGKILL,
    )
    .map_err(host)?;
    // Dropping the future kills the child.
    let Ok(ended) = timeout(FIRMWARE_DEADLINE, child.wait_with_output()).await else {
        let seconds = FIRMWARE_DEADLINE.as_secs();
        return Err(Trouble::Guest {
            reason: format!(
                "{DEVICE} exists but emulates a guest instead of running it: \
                 a copy of 16 MiB took more than {seconds} s"
            ),
        });
    };
    let Output { status, stderr, .. } = ended.map_err(host)?;
    if status.code() == Some(rom::EXIT_STATUS) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&stderr);
    let words = words.lines().next().unwrap_or_default();
    let words = words.split_once(": ").map_or(words, |(_, words)| words);
    Err(Trouble::Guest {
        reason: format!(
            "{DEVICE} exists but runs no guest: QEMU {} ({})",
            describe(status),
            words.trim_start_matches("error: ")
        ),
    })
}

/// The firmware as a file that needs no place on disk.
fn firmware() -> io::Result<OwnedFd> {
    let memory = memfd_create(c"probe", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(&rom::image())?;
    Ok(file.into())
}

async fn try_kernel(asked: &Asked<'_>) -> Result<(), Trouble> {
    let command_line = CommandLine {
        accelerator: Accelerator::Kvm,
        kernel: asked.kernel,
        initramfs: asked.initramfs,
        vcpu_count: 2,
        mem_mib: 256,
        disk: &Disk::new(Vec::new(), true),
        ram: Ram::Own,
        network: None,
    };
    let guest = |reason: String| Trouble::Guest {
        reason: format!("{DEVICE} exists but a probe guest did not run: {reason}"),
    };
    let booted = timeout(KERNEL_DEADLINE, async {
        let Launched {
            mut machine,
            mut channel,
        } = machine::start(asked.binary, &command_line, "a probe", None).await?;
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
            KERNEL_DEADLINE.as_secs()
        ))),
    }
}

/// The state of the device, and what is wrong with it if something is.
fn device() -> (KvmState, Option<String>) {
    let path = Path::new(DEVICE);
    let may = |flags| access(path, flags).is_ok();
    let kvm = KvmState {
        exists: path.exists(),
        readable: may(AccessFlags::R_OK),
        writable: may(AccessFlags::W_OK),
        runs_guests: None,
    };
    let trouble = if !kvm.exists {
        Some(format!(
            "{DEVICE} does not exist: this host offers no hardware virtualisation"
        ))
    } else {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.err().map(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "no permission to use {DEVICE}: add yourself to the group kvm and log in again"
            ),
            _ => format!("{DEVICE} cannot be opened: {error}"),
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
    let child = spawn(command, &Pass::AsTheyAre(&[]), Signal::SIGKILL)
        .map_err(|error| machine::not_started(binary, &error))?;
    let told = timeout(VERSION_DEADLINE, child.wait_with_output()).await;
    Ok(told.ok().and_then(Result::ok).and_then(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text.split_once("version ")?;
        rest.split_whitespace().next().map(str::to_owned)
    }))
}
