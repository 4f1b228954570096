//! A template out of a machine: boot, prepare, freeze, write down.
//!
//! ```text
//! boot ▶ greet ▶ prepare ▶ leave ▶ the agent waits ▶ stop ▶ devices to a file ▶ quit ▶ on the disk
//!   └── one retry ┘
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use pyro_wire::agent::{Prepare, Ready, WAITING, WARM_UP_LIMIT};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::template::{DEVICES, FACTS, MEMORY, TemplateBuilt, TemplateSpec};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::command_line::{Kernel, Ram};
use super::machine::{self, QemuMachine};
use super::qmp::QmpError;
use super::{QemuBackend, migration};
use crate::backend::{BootFailure, Machine};
use crate::console::TAIL_LINES;
use crate::events::Events;
use crate::folder;
use crate::guest::{Guest, GuestError};
use crate::holes;

/// How long the agent may take to notice that its host is gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long QEMU may take to write the devices' state, some hundred kilobytes, and to end.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(30);

/// Beyond the limit of each warm-up command: killing it, and mounting and syncing the disk.
const PREPARE_MARGIN: Duration = Duration::from_secs(15);

const ATTEMPTS: u32 = 2;

/// Disks are seldom full to the last byte.
const FULL_BELOW: u64 = 1 << 20;

impl QemuBackend {
    /// Saves a template. Dropping the future kills what it started.
    pub(crate) async fn save(
        &mut self,
        spec: &TemplateSpec,
        events: &Events,
    ) -> Result<TemplateBuilt, Fault> {
        let saved = self.try_to_save(spec, events).await;
        // QEMU, whose memory is a file there, dies without knowing why.
        saved.map_err(|fault| full(&spec.folder, spec.qemu.mem_mib).unwrap_or(fault))
    }

    async fn try_to_save(
        &mut self,
        spec: &TemplateSpec,
        events: &Events,
    ) -> Result<TemplateBuilt, Fault> {
        let started = Instant::now();
        self.choose_accelerator(events).await;
        self.check_files().map_err(|failure| failure.fault)?;
        let memory = spec.folder.join(MEMORY);
        let deadline = Duration::from_millis(spec.boot_deadline_ms);
        let mut attempt = 1;
        let (mut machine, guest, ready) = loop {
            // Only its owner may read what a guest had in its memory.
            create(&memory).map_err(|error| host_io(&memory, &error))?;
            match self.boot(&memory, deadline).await {
                Ok(booted) => break booted,
                Err(failure) if failure.lasting || attempt == ATTEMPTS => return Err(failure.fault),
                Err(failure) => {
                    self.give_up_vmlinux(&failure);
                    attempt += 1;
                }
            }
            let _ = fs::remove_file(&memory);
        };
        let boot_ms = ms(started);

        let prepare_started = Instant::now();
        if let Some(prepare) = &spec.prepare {
            let limit = prepare_limit(prepare);
            with_deadline(&mut machine, limit, guest.prepare(prepare)).await?;
        }
        let prepare_ms = ms(prepare_started);
        guest.close().await;
        let noticed = timeout(CLOSE_TIMEOUT, machine.wait_for_console(WAITING)).await;
        noticed.map_err(|_| too_late("notice that its host is gone", CLOSE_TIMEOUT))?;

        let freeze_started = Instant::now();
        let devices = spec.folder.join(DEVICES);
        let devices = create(&devices).map_err(|error| host_io(&devices, &error))?;
        let frozen = timeout(FREEZE_TIMEOUT, freeze(&mut machine, &devices)).await;
        frozen.map_err(|_| too_late("be frozen", FREEZE_TIMEOUT))??;
        let save_ms = ms(freeze_started);

        let about = machine.about();
        let mut built = TemplateBuilt {
            accelerator: about.accelerator.into(),
            accelerator_reason: about.accelerator_reason.clone(),
            vmm_version: about.vmm_version.clone().unwrap_or_default(),
            agent_version: ready.agent_version,
            kernel_release: ready.kernel_release,
            vmlinux: matches!(self.kernel(), Kernel::Vmlinux(_)),
            vcpu_count: self.spec.vcpu_count,
            mem_mib: self.spec.mem_mib,
            mounted: spec.prepare.is_some(),
            boot_ms,
            prepare_ms: spec.prepare.as_ref().map_or(0, |_| prepare_ms),
            save_ms,
            total_ms: 0,
            disk_bytes: 0,
        };
        drop(machine);
        let layer = self.spec.disk.last().map(|layer| layer.path.as_path());
        built.disk_bytes = sync_to_disk(&memory, &devices, layer)
            .map_err(|error| host_io(&spec.folder, &error))?;
        built.total_ms = ms(started);
        write_facts(&spec.folder, &built).map_err(|error| host_io(&spec.folder, &error))?;
        Ok(built)
    }

    async fn boot(
        &self,
        memory: &Path,
        deadline: Duration,
    ) -> Result<(QemuMachine, Guest, Ready), BootFailure> {
        let command_line = self.command_line(Ram::Saved(memory));
        let until = Instant::now() + deadline;
        let late = || too_late("answer", deadline);
        let opened = async {
            let program = self.find_program().await?;
            machine::open(&self.how(&program), &command_line).await
        };
        let opened = tokio::time::timeout_at(until, opened).await;
        let (mut machine, channel) = opened.map_err(|_| BootFailure::passing(late()))??;
        let handshake = async {
            let guest = Guest::handshake(Box::new(channel)).await?;
            let ready = guest.about().await?;
            Ok((guest, ready))
        };
        let rest = until.saturating_duration_since(Instant::now());
        match with_deadline(&mut machine, rest, handshake).await {
            Ok((guest, ready)) => Ok((machine, guest, ready)),
            Err(fault) => {
                machine.kill();
                machine.ended().await;
                Err(BootFailure::passing(fault))
            }
        }
    }
}

/// A conversation with the agent: within a time, and with a machine that lives.
async fn with_deadline<T>(
    machine: &mut QemuMachine,
    limit: Duration,
    work: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, Fault> {
    let outcome = tokio::select! {
        biased;
        outcome = timeout(limit, work) => match outcome {
            Ok(outcome) => outcome.map_err(Fault::from),
            Err(_) => Err(too_late("answer", limit)),
        },
        death = machine.ended() => Err(BootFailure::from(death).fault),
    };
    outcome.map_err(|fault| {
        let mut fault = fault.with_detail(machine.console_tail());
        fault.detail.truncate(TAIL_LINES + 20);
        fault
    })
}

async fn freeze(machine: &mut QemuMachine, devices: &File) -> Result<(), Fault> {
    let frozen = async {
        let qmp = machine.monitor()?;
        qmp.ask("stop", json!({})).await?;
        migration::save(qmp, devices.as_fd()).await?;
        // The answer may get lost with QEMU.
        let _ = qmp.ask("quit", json!({})).await;
        Ok::<(), QmpError>(())
    };
    match frozen.await {
        Ok(()) => {
            machine.ended().await;
            Ok(())
        }
        Err(error) => Err(machine.monitor_failed(error).await.fault),
    }
}

/// Puts everything on the disk, where it must stay as it is; what memory and devices take there.
fn sync_to_disk(memory: &Path, devices: &File, layer: Option<&Path>) -> io::Result<u64> {
    let memory = OpenOptions::new().read(true).write(true).open(memory)?;
    // A file system without holes only costs space.
    let _ = holes::punch(&memory);
    memory.sync_all()?;
    devices.sync_all()?;
    if let Some(layer) = layer {
        File::open(layer)?.sync_all()?;
    }
    Ok((memory.metadata()?.blocks() + devices.metadata()?.blocks()) * 512)
}

fn write_facts(folder: &Path, built: &TemplateBuilt) -> io::Result<()> {
    folder::write_atomically(&folder.join(FACTS), built)?;
    File::open(folder.join(FACTS))?.sync_all()?;
    File::open(folder)?.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn prepare_limit(prepare: &Prepare) -> Duration {
    let count = u32::try_from(prepare.warm_up.len()).unwrap_or(u32::MAX);
    (WARM_UP_LIMIT + PREPARE_MARGIN).saturating_mul(count.saturating_add(1))
}

fn too_late(what: &str, limit: Duration) -> Fault {
    let seconds = limit.as_secs_f32();
    Fault::new(
        FaultCode::BootTimeout,
        format!("the guest did not {what} within {seconds} s"),
    )
}

/// That the disk is full, when it is.
fn full(folder: &Path, mem_mib: u32) -> Option<Fault> {
    let disk = nix::sys::statvfs::statvfs(folder).ok()?;
    let left = disk.blocks_available() * disk.fragment_size();
    let folder = folder.display();
    (left < FULL_BELOW).then(|| {
        Fault::new(
            FaultCode::NoSpace,
            format!("the disk is full: {folder} may need {mem_mib} MiB"),
        )
    })
}

fn host_io(path: &Path, error: &io::Error) -> Fault {
    let path = path.display();
    Fault::new(
        FaultCode::of_io(error),
        format!("the template cannot be written to {path}: {error}"),
    )
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
