//! Virtual machines by QEMU (7.2 to 10), with KVM where a probe guest ran under it and QEMU's own
//! emulation (TCG) where not.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{AcceleratorChoice, Qemu};

use self::command_line::{Accelerator, CommandLine, Kernel, Ram};
use self::disk::Disk;
use self::host_file::{readable, usable};
use self::machine::Start;
use self::probe::ProbeTarget;
use self::program::QemuProgram;
use self::resume::Template;
use super::probe_cache::{ProbeCache, ProbeResult};
use super::{Backend, BootFailure, Launched, Next};
use crate::events::Events;

mod command_line;
mod disk;
mod disk_full;
mod host_file;
mod jail;
mod machine;
mod migration;
mod network;
pub(crate) mod probe;
mod program;
mod qmp;
mod resume;
mod rom;
mod save;
mod stub_kernel;

pub(crate) struct QemuBackend {
    spec: Qemu,
    /// Inherited by QEMU, so that the VM counts as alive for as long as QEMU lives.
    lock: Option<OwnedFd>,
    disk: Disk,
    accelerator: Accelerator,
    reason: String,
    /// A machine was resumed, and nothing was heard of it yet.
    resuming: bool,
}

impl QemuBackend {
    /// A `disposable` disk is thrown away at the end.
    pub(crate) fn new(spec: Qemu, lock: Option<OwnedFd>, disposable: bool) -> Self {
        Self {
            resuming: false,
            disk: Disk::new(spec.disk.clone(), disposable),
            spec,
            lock,
            accelerator: Accelerator::Tcg,
            reason: "emulation was requested".into(),
        }
    }

    async fn choose_accelerator(&mut self, events: &Events) {
        match self.spec.accelerator {
            AcceleratorChoice::Tcg => {}
            AcceleratorChoice::Kvm => {
                self.accelerator = Accelerator::Kvm;
                self.reason = "KVM was requested".into();
            }
            AcceleratorChoice::Auto => {
                let target = ProbeTarget {
                    binary: &self.spec.binary,
                    kernel: &self.spec.kernel,
                    initramfs: &self.spec.initramfs,
                    jail: self.spec.jail,
                };
                let cache = ProbeCache::at(&self.spec.probe_cache);
                let verdict = probe::find_out(&target, &cache, false, || {
                    events
                        .note("checking whether KVM runs guests here, once per boot of this host");
                });
                let verdict = verdict.await;
                self.accelerator = verdict.accelerator();
                self.reason = verdict.reason;
            }
        }
    }

    fn check_files(&self) -> Result<(), BootFailure> {
        readable(self.kernel().path(), "the kernel")?;
        readable(&self.spec.initramfs, "the initramfs")?;
        if let Some((top, below)) = self.disk.layers().split_last() {
            for layer in below {
                readable(&layer.path, "the disk layer")?;
            }
            usable(
                &top.path,
                "the disk layer",
                OpenOptions::new().read(true).write(true),
            )?;
        }
        Ok(())
    }

    /// What a guest boots here. Under KVM a kernel unpacks itself in no time, an emulator takes half a
    /// second for it.
    fn kernel(&self) -> Kernel<'_> {
        match &self.spec.vmlinux {
            Ok(vmlinux) if self.accelerator == Accelerator::Tcg => Kernel::Vmlinux(vmlinux),
            _ => Kernel::BzImage(&self.spec.kernel),
        }
    }

    /// Whether the next boot is to be of the kernel with its compression, after one without it that
    /// came to nothing: the file may be damaged, or this QEMU lack what loads it.
    fn give_up_vmlinux(&mut self, failure: &BootFailure) -> bool {
        let is_at_fault = !failure.lasting && matches!(self.kernel(), Kernel::Vmlinux(_));
        if is_at_fault {
            let why = format!(
                "without compression it did not boot: {}",
                failure.fault.message
            );
            self.spec.vmlinux = Err(why);
        }
        is_at_fault
    }

    fn command_line<'a>(&'a self, ram: Ram<'a>) -> CommandLine<'a> {
        CommandLine {
            accelerator: self.accelerator,
            kernel: self.kernel(),
            initramfs: &self.spec.initramfs,
            vcpu_count: self.spec.vcpu_count,
            mem_mib: self.spec.mem_mib,
            disk: &self.disk,
            ram,
            network: self.spec.network.as_ref(),
        }
    }

    async fn find_program(&self) -> Result<QemuProgram, BootFailure> {
        program::find(&self.spec.binary, self.accelerator, &self.spec.probe_cache).await
    }

    fn how<'a>(&'a self, program: &'a QemuProgram) -> Start<'a> {
        Start {
            program,
            jail: self.spec.jail,
            reason: &self.reason,
            lock: self.lock.as_ref(),
        }
    }

    async fn start(&mut self) -> Result<Launched, BootFailure> {
        self.check_files()?;
        self.resuming = self.spec.template.is_some();
        let program = self.find_program().await?;
        let command_line = self.command_line(Ram::Own);
        match &self.spec.template {
            Some(folder) => {
                let template = Template::open(folder, &self.spec, self.accelerator)?;
                template.resume(&self.how(&program), &command_line).await
            }
            None => machine::start(&self.how(&program), &command_line).await,
        }
    }
}

impl Backend for QemuBackend {
    fn prepare<'a>(&'a mut self, events: &'a Events) -> LocalBoxFuture<'a, Result<(), Fault>> {
        async {
            self.choose_accelerator(events).await;
            Ok(())
        }
        .boxed_local()
    }

    fn launch(&mut self) -> LocalBoxFuture<'_, Result<Launched, BootFailure>> {
        self.start().boxed_local()
    }

    fn launch_limit(&self) -> Option<Duration> {
        self.spec.template.as_ref().map(|_| resume::RESUME_TIMEOUT)
    }

    fn booted_kernel(&self) -> Option<String> {
        let told = match &self.spec.vmlinux {
            _ if self.accelerator == Accelerator::Kvm => "compressed".into(),
            Ok(_) => "uncompressed".into(),
            Err(why) => format!("compressed: {why}"),
        };
        (!self.resuming).then_some(told)
    }

    fn boot_failed(&mut self, failure: &BootFailure) -> Next {
        let message = &failure.fault.message;
        // By `PYRO_JAIL=strict`, however the guest is to start.
        if failure.fault.code == FaultCode::Refused {
            return Next::Same;
        }
        if std::mem::take(&mut self.resuming) {
            self.spec.template = None;
            return Next::Boot(format!(
                "the template could not be resumed ({message}), booting instead"
            ));
        }
        if self.give_up_vmlinux(failure) {
            return Next::Different;
        }
        let chosen_here = self.spec.accelerator == AcceleratorChoice::Auto;
        if !chosen_here || self.accelerator != Accelerator::Kvm {
            return Next::Same;
        }
        // A probe can be right and the host wrong an hour later: emulation still works.
        let reason = format!("a guest failed to boot under KVM: {message}");
        let target = ProbeTarget {
            binary: &self.spec.binary,
            kernel: &self.spec.kernel,
            initramfs: &self.spec.initramfs,
            jail: self.spec.jail,
        };
        let result = ProbeResult {
            runs_guests: false,
            reason: reason.clone(),
        };
        ProbeCache::at(&self.spec.probe_cache).put(&target.files(), &result);
        self.accelerator = Accelerator::Tcg;
        self.reason = reason;
        Next::Different
    }
}
