//! A machine out of a template.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::Qemu;
use pyro_wire::reached;
use pyro_wire::template::{DEVICES, FACTS, MEMORY, TemplateBuilt};
use serde_json::json;

use super::command_line::{Accelerator, CommandLine, Kernel, Ram};
use super::machine::{self, QemuMachine, Start};
use super::migration;
use super::qmp::QmpError;
use crate::backend::{BootFailure, Launched};

/// A hundred times what it takes: a template that is no good must not cost more than a boot.
pub(super) const RESUME_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("{name} cannot be read: {source}")]
    Read {
        name: &'static str,
        source: io::Error,
    },
    #[error("{FACTS} is damaged: {source}")]
    Damaged { source: serde_json::Error },
    #[error("it was saved with {theirs}, this is {ours}")]
    Differs { theirs: String, ours: String },
    #[error("{MEMORY} has {found} bytes instead of {wanted}")]
    Size { found: u64, wanted: u64 },
}

/// A template's files, which were looked at as far as that can be done without running it.
pub(super) struct Template {
    pub(super) memory: PathBuf,
    devices: File,
    vmm_version: String,
    /// It was booted by the kernel without compression.
    vmlinux: bool,
}

impl Template {
    pub(super) fn open(
        folder: &Path,
        spec: &Qemu,
        accelerator: Accelerator,
    ) -> Result<Self, TemplateError> {
        let read = |name| move |source| TemplateError::Read { name, source };
        let facts = fs::read(folder.join(FACTS)).map_err(read(FACTS))?;
        let facts: TemplateBuilt =
            serde_json::from_slice(&facts).map_err(|source| TemplateError::Damaged { source })?;
        check_same(
            format!(
                "{}, {} processors, {} MiB",
                facts.accelerator, facts.vcpu_count, facts.mem_mib
            ),
            format!(
                "{}, {} processors, {} MiB",
                accelerator.name(),
                spec.vcpu_count,
                spec.mem_mib
            ),
        )?;
        let memory = folder.join(MEMORY);
        let found = fs::metadata(&memory).map_err(read(MEMORY))?.len();
        // QEMU would make an empty file as long as it needs it, and resume a guest without memory.
        let wanted = u64::from(spec.mem_mib) << 20;
        if found != wanted {
            return Err(TemplateError::Size { found, wanted });
        }
        Ok(Self {
            memory,
            devices: File::open(folder.join(DEVICES)).map_err(read(DEVICES))?,
            vmm_version: facts.vmm_version,
            vmlinux: facts.vmlinux,
        })
    }

    /// Starts QEMU and lets the guest go on where it was frozen.
    pub(super) async fn resume(
        &self,
        start: &Start<'_>,
        command_line: &CommandLine<'_>,
    ) -> Result<Launched, BootFailure> {
        let path = command_line.kernel.path();
        let command_line = CommandLine {
            // Whatever would be booted today.
            kernel: match self.vmlinux {
                true => Kernel::Vmlinux(path),
                false => Kernel::BzImage(path),
            },
            ram: Ram::Resumed(&self.memory),
            ..*command_line
        };
        let (mut machine, channel) = machine::open(start, &command_line).await?;
        match self.unpause(&mut machine).await {
            Ok(()) => Ok(Launched {
                machine: Box::new(machine),
                channel: Box::new(channel),
            }),
            Err(error) => Err(machine.monitor_failed(error).await),
        }
    }

    async fn unpause(&self, machine: &mut QemuMachine) -> Result<(), QmpError> {
        let qmp = machine.monitor()?;
        if qmp.version() != self.vmm_version {
            return Err(QmpError::Refused {
                command: "migrate-incoming".into(),
                reason: format!(
                    "it is of version {}, the template of {}",
                    qmp.version(),
                    self.vmm_version
                ),
            });
        }
        migration::load(qmp, self.devices.as_fd()).await?;
        reached!("state loaded");
        qmp.ask("cont", json!({})).await?;
        reached!("guest goes on");
        Ok(())
    }
}

fn check_same(theirs: String, ours: String) -> Result<(), TemplateError> {
    if theirs == ours {
        Ok(())
    } else {
        Err(TemplateError::Differs { theirs, ours })
    }
}

impl From<TemplateError> for BootFailure {
    fn from(error: TemplateError) -> Self {
        Self::lasting(Fault::new(FaultCode::VmmFailed, error.to_string()))
    }
}
