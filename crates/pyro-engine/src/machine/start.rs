//! From a created VM to one that answers.

use std::path::{Path, PathBuf};

use pyro_api::values::{VmRecord, VmState};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::{CatalogError, Installed, Kernel};
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::{AcceleratorChoice, DiskLayer, LaunchSpec, Machine, Process, Qemu};
use pyro_wire::network::Network;
use pyro_wire::{PROTOCOL, reached, step};

use super::create::Base;
use super::facts::{self, BOOT_MS, BOOTED_KERNEL, ISOLATION_REASON, has_answered, is_waiting};
use super::folder::VmFolder;
use super::isolation::KVM_WORKS;
use super::launch::{LaunchError, Launched, launch};
use super::{disk, network, sweep};
use crate::config::{QEMU, on_path};
use crate::engine::Engine;
use crate::error::{cancelled, catalog_failed, launch_failed, qemu_missing, sandbox_launch_failed};
use crate::gvisor;
use crate::store::Admission;
use crate::template::{Shape, Template, TemplateQuery};

#[cfg(test)]
mod tests;

/// The accelerator that is the processor's own.
const KVM: &str = "kvm";

/// File name of an initramfs that is not in the cache.
const OWN_INITRAMFS: &str = "initramfs.cpio";

impl Engine {
    /// Starts the VM of a record and brings the record up to date.
    pub(crate) async fn start_vm(
        &self,
        record: &mut VmRecord,
        base: &Base,
        caller: &Caller,
    ) -> Result<Launched, Error> {
        self.admit(&record.vm_id, record.mem_mib, is_waiting(record))
            .await?;
        reached!("admitted");
        let folder = self.folder(&record.vm_id);
        let disk = base.disk(&folder);
        let template = self.template_of(record, base, &disk, caller).await?;
        let spec = self
            .launch_spec(record, base, disk, template.as_ref(), caller)
            .await?;
        let launched = match launch(self.config().pyro()?, &folder, &spec, caller).await {
            Ok(launched) => launched,
            Err(error) => {
                let vm_id = &record.vm_id;
                // Whatever this host could do once.
                self.forget_abilities();
                return Err(match (base, &error) {
                    (Base::Tree(_), LaunchError::Failed { .. }) => {
                        sandbox_launch_failed(vm_id, error)
                    }
                    _ => self.not_launched(vm_id, template, error),
                });
            }
        };
        let running = &launched.running;
        let resumed = match template {
            Some(template) if running.resumed => Some(template),
            Some(useless) => {
                self.discard_template(useless);
                None
            }
            None => None,
        };
        if running.accelerator != KVM {
            self.disappointed(record);
        }
        record.state = VmState::Started;
        record.execution_mode = base.kind().execution_mode();
        record.accelerator = Some(running.accelerator.clone());
        record.metadata.extend([
            (
                "execution_mode".to_owned(),
                record.execution_mode.to_string(),
            ),
            ("backend".to_owned(), running.backend.clone()),
            (
                "accelerator_reason".to_owned(),
                match &resumed {
                    Some(template) => template.facts.accelerator_reason.clone(),
                    None => running.accelerator_reason.clone(),
                },
            ),
            ("resumed".to_owned(), resumed.is_some().to_string()),
            ("guest_kernel".to_owned(), running.kernel_release.clone()),
            (BOOT_MS.to_owned(), running.boot_ms.to_string()),
            (
                "boot_attempts".to_owned(),
                running.boot_attempts.to_string(),
            ),
        ]);
        let optional = [
            (base.vmm_fact(), running.vmm_version.clone()),
            (BOOTED_KERNEL, running.booted_kernel.clone()),
            (
                "resumed_template",
                resumed.map(|template| template.kind.name().to_owned()),
            ),
        ];
        for (fact, value) in optional.into_iter().chain(facts::of_jail(running)) {
            match value {
                Some(value) => record.metadata.insert(fact.to_owned(), value),
                // Of the start before, perhaps.
                None => record.metadata.remove(fact),
            };
        }
        self.put(record)?;
        reached!("record says started");
        Ok(launched)
    }

    /// KVM was said to run guests, and does not.
    fn disappointed(&self, record: &VmRecord) {
        let why = record.metadata.get(ISOLATION_REASON);
        if why.is_some_and(|why| why == KVM_WORKS) {
            self.forget_abilities();
        }
    }

    /// Why a VM did not start. When the guest could neither be resumed nor booted, the layer that the
    /// template gave it may be at fault, and the next VM is to have another.
    pub(crate) fn not_launched(
        &self,
        id: &str,
        template: Option<Template>,
        error: LaunchError,
    ) -> Error {
        let LaunchError::Failed { fault } = &error else {
            return match error {
                LaunchError::CallerGone => cancelled(),
                error => launch_failed(id, error),
            };
        };
        let guest_failed = matches!(fault.code, FaultCode::VmmFailed | FaultCode::BootFailed);
        let mut error = launch_failed(id, error);
        if let Some(template) = template
            && guest_failed
        {
            self.discard_template(template);
            error = error.hint("Try again: its template was dropped, and a new one will be built");
        }
        error
    }

    /// The initramfs in the cache; a cache that is another's may lack it, and then the VM has its own.
    fn initramfs(
        &self,
        kernel: &Kernel,
        agent: &Path,
        folder: &VmFolder,
    ) -> Result<PathBuf, Error> {
        match self.catalog().initramfs(kernel, agent) {
            Err(CatalogError::CacheNotWritable { .. }) => {
                let own = folder.join(OWN_INITRAMFS);
                pyro_catalog::write_initramfs(kernel, agent, &own).map(|()| own)
            }
            made => made,
        }
        .map_err(catalog_failed)
    }

    /// Takes the memory of a VM from what VMs may use together. One that `is_to_wait` takes it from
    /// no other that waits.
    pub(crate) async fn admit(
        &self,
        id: &str,
        mem_mib: u32,
        is_to_wait: bool,
    ) -> Result<(), Error> {
        let limit = memory_limit_mib(self.config().memory_share);
        let admit = || self.store()?.admit(id, limit).map_err(Error::from);
        if matches!(admit()?, Admission::Admitted) {
            return Ok(());
        }
        // Some of what is counted may have died without a word.
        sweep::sweep(&self.config().state_dir, self.store()?)?;
        self.sweep_workspaces().await?;
        // A VM that waits gives way to one that is wanted, and to no other that is to wait.
        let running = loop {
            match admit()? {
                Admission::Admitted => return Ok(()),
                Admission::Full(running) => {
                    if is_to_wait || !self.evict_standby().await? {
                        break running;
                    }
                }
            }
        };
        let names: Vec<String> = running
            .iter()
            .map(|(vm_id, mib)| format!("{vm_id} ({mib} MiB)"))
            .collect();
        let error = Error::new(
            ErrorCode::MemoryLimit,
            format!(
                "A VM of {} MiB does not fit into the {limit} MiB that VMs may use here",
                mem_mib
            ),
        );
        Err(if names.is_empty() {
            error.hint(
                "Give it less with `--mem-mib` (`mem_mib`), or raise PYRO_MEMORY_SHARE (a share of the host's \
                 memory between 0 and 1)",
            )
        } else {
            error
                .because(format!("running now: {}", names.join(", ")))
                .hint(
                    "Wait for them, give the VM less with `--mem-mib` (`mem_mib`), or raise PYRO_MEMORY_SHARE \
                     (a share of the host's memory between 0 and 1)",
                )
        })
    }

    /// A machine of QEMU's on a chain of layers, booted or resumed.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the machine")]
    pub(crate) fn qemu_machine(
        &self,
        installed: &Installed,
        disk: Vec<DiskLayer>,
        vcpu_count: u32,
        mem_mib: u32,
        template: Option<&Template>,
        network: Option<Network>,
        folder: &VmFolder,
    ) -> Result<Qemu, Error> {
        let agent = self.config().agent()?;
        // A frozen guest goes on where it was frozen.
        let accelerator = match template.map(|template| template.facts.accelerator.as_str()) {
            Some("kvm") => AcceleratorChoice::Kvm,
            Some(_) => AcceleratorChoice::Tcg,
            None => self.config().accelerator,
        };
        Ok(Qemu {
            binary: on_path(QEMU).ok_or_else(qemu_missing)?,
            accelerator,
            probe_cache: self.probe_cache(),
            kernel: installed.kernel.image.clone(),
            vmlinux: self.vmlinux(&installed.kernel, accelerator),
            initramfs: self.initramfs(&installed.kernel, agent, folder)?,
            vcpu_count,
            mem_mib,
            disk,
            template: template.map(Template::guest),
            network,
            jail: self.config().jail,
        })
    }

    /// The kernel without its compression, which is for guests that are emulated, or why not.
    pub(crate) fn vmlinux(
        &self,
        kernel: &Kernel,
        accelerator: AcceleratorChoice,
    ) -> Result<PathBuf, String> {
        match accelerator {
            AcceleratorChoice::Kvm => Err("KVM was requested".to_owned()),
            AcceleratorChoice::Auto if self.known_abilities().is_some_and(|known| known.kvm) => {
                Err(KVM_WORKS.to_owned())
            }
            AcceleratorChoice::Auto | AcceleratorChoice::Tcg => {
                kernel.vmlinux().map_err(|error| error.to_string())
            }
        }
    }

    async fn template_of(
        &self,
        record: &VmRecord,
        base: &Base,
        disk: &[DiskLayer],
        caller: &Caller,
    ) -> Result<Option<Template>, Error> {
        let Base::Image(image) = base else {
            return Ok(None);
        };
        let query = TemplateQuery {
            installed: &image.installed,
            shape: Shape {
                vcpu_count: record.vcpu_count,
                mem_mib: record.mem_mib,
                network: record.network_enabled,
            },
            chain: disk,
            // The record of a VM whose start failed half-way says nothing of the guest that had
            // its disk.
            pristine: !self.folder(&record.vm_id).was_launched(),
        };
        self.template_for(&query, caller).await
    }

    async fn launch_spec(
        &self,
        record: &VmRecord,
        base: &Base,
        disk: Vec<DiskLayer>,
        template: Option<&Template>,
        caller: &Caller,
    ) -> Result<LaunchSpec, Error> {
        let folder = self.folder(&record.vm_id);
        let network = record
            .network_enabled
            .then(|| network::of_record(&record.metadata));
        let machine = match base {
            Base::Image(image) => self
                .qemu_machine(
                    &image.installed,
                    disk,
                    record.vcpu_count,
                    record.mem_mib,
                    template,
                    network,
                    &folder,
                )
                .map(Machine::Qemu)?,
            Base::Tree(_) => self
                .gvisor_machine(disk, record.vcpu_count, record.mem_mib, network, caller)
                .await
                .map(Machine::Gvisor)?,
            Base::HostProcess => Machine::Process(Process {
                agent: self.config().agent()?.to_owned(),
                workspace: folder.join(disk::HOST_WORKSPACE),
            }),
        };
        Ok(LaunchSpec {
            protocol: PROTOCOL,
            vm_id: record.vm_id.clone(),
            hostname: format!("pyro-{}", record.vm_id),
            machine,
            folders: Vec::new(),
            boot_deadline_ms: self.config().boot_deadline_ms,
            // The life of one that waits is counted from its lease.
            expires_at_ms: (!is_waiting(record)).then_some((record.expires_at * 1000.0) as u64),
            idle_ms: None,
            bound_to_owner: true,
            bound_until_released: false,
            remove_when_over: true,
            timings: step::is_enabled(),
            env: crate::image_config::env(&record.metadata),
            user: crate::image_config::user(&record.metadata),
            new_disk: !has_answered(record),
        })
    }
}

impl Base {
    fn disk(&self, folder: &VmFolder) -> Vec<DiskLayer> {
        match self {
            Self::Image(image) => disk::chain(
                &image.installed,
                image.template.as_deref(),
                [disk::own_layer(folder.path())],
            ),
            Self::Tree(tree) => {
                let own = gvisor::own_layer(folder.path());
                gvisor::chain(tree, own.exists().then_some(own))
            }
            Self::HostProcess => Vec::new(),
        }
    }
}

fn memory_limit_mib(share: f64) -> u64 {
    let total_kib = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
    // Without an answer no limit is better than a wrong one.
    total_kib.map_or(u64::MAX, |kib| (kib as f64 * share / 1024.0) as u64)
}
