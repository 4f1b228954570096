//! Starts the VM of a workspace on its disk.

use std::path::{Path, PathBuf};

use pyro_api::values::{ExecutionMode, VmState, WORKSPACE_PATH, WorkspaceRecord};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::Installed;
use pyro_disk::{Tree, TreeError};
use pyro_wire::launch::{Gvisor, LaunchSpec, Machine, Process, Runs};
use pyro_wire::{PROTOCOL, step};

use super::errors::unknown;
use super::layers;
use super::stop::stop_vm;
use crate::engine::Engine;
use crate::error::{catalog_failed, host_io, launch_failed, sandbox_launch_failed};
use crate::machine::create::{Base, Image};
use crate::machine::facts::{self, BOOTED_KERNEL, ENVIRONMENT_DIGEST, TREE};
use crate::machine::launch::{LaunchError, Launched, launch};
use crate::machine::{disk, network, now};
use crate::store::StoredWorkspace;
use crate::template::{Shape, TemplateQuery};

impl Engine {
    /// Starts the VM of a stopped workspace and writes that down. The lock is held exclusively.
    pub(crate) async fn start_workspace(
        &self,
        stored: &StoredWorkspace,
        caller: &Caller,
    ) -> Result<StoredWorkspace, Error> {
        let id = &stored.record.workspace_id;
        self.sweep_workspace(stored).await?;
        // Maybe not everything that belongs into the guest came to be there.
        self.end_unrecorded_vm(stored).await?;
        // Whoever noticed that the last VM had ended may have been killed before this.
        self.workspace_folder(id).take_logs(&self.vm_of(stored));
        // Before another VM has the folder of theirs.
        self.reconcile_jobs(self.reload_workspace(id)?)?;
        self.admit(id, stored.record.mem_mib, false).await?;
        let launched = self.launch_workspace(stored, false, caller).await;
        let started = match launched {
            Ok(started) => started,
            Err(error) => {
                // Its memory is free again.
                self.store()?.change_workspace(id, |_| ())?;
                return Err(error);
            }
        };
        let why = stored.record.stopped_because.clone().unwrap_or_default();
        let stored = self
            .store()?
            .change_workspace(id, |stored| started.write_into(stored))?
            .ok_or_else(|| unknown(id))?;
        self.note_event(id, "started", format!("it had stopped: {why}"))?;
        Ok(stored)
    }

    /// Starts the VM that a record describes. `fresh`: nothing was ever written to its disk.
    pub(crate) async fn launch_workspace(
        &self,
        stored: &StoredWorkspace,
        fresh: bool,
        caller: &Caller,
    ) -> Result<Started, Error> {
        let record = &stored.record;
        let id = &record.workspace_id;
        let folder = self.workspace_folder(id);
        let secrets = self.secrets_for_start(stored, caller)?;
        let vm = folder.vm(stored.generation);
        vm.create()
            .map_err(|error| host_io(format!("Workspace `{id}` could not be started"), &error))?;
        let base = self.restored_base(stored, caller).await?;
        let layers: Vec<_> = stored
            .layers
            .iter()
            .map(|name| folder.layer(name))
            .collect();
        if !fresh {
            layers::check(id, &base, layers.clone()).await?;
        }
        let chain = layers::chain(&base, layers);
        let network = record
            .network_enabled
            .then(|| network::of_record(&record.metadata));
        let (machine, template) = match &base {
            Base::Image(image) => {
                let query = TemplateQuery {
                    installed: &image.installed,
                    shape: Shape {
                        vcpu_count: record.vcpu_count,
                        mem_mib: record.mem_mib,
                        network: record.network_enabled,
                    },
                    chain: &chain,
                    pristine: fresh,
                };
                let template = self.template_for(&query, caller).await?;
                let machine = self.qemu_machine(
                    &image.installed,
                    chain,
                    record.vcpu_count,
                    record.mem_mib,
                    template.as_ref(),
                    network,
                    &vm,
                )?;
                (Machine::Qemu(machine), template)
            }
            Base::Tree(_) => {
                let (vcpu_count, mem_mib) = (record.vcpu_count, record.mem_mib);
                let machine = self
                    .gvisor_machine(chain, vcpu_count, mem_mib, network, caller)
                    .await?;
                (Machine::Gvisor(machine), None)
            }
            Base::HostProcess => (
                Machine::Process(Process {
                    agent: self.config().agent()?.to_owned(),
                    workspace: folder.tree().join(disk::HOST_WORKSPACE),
                }),
                None,
            ),
        };
        let spec = LaunchSpec {
            // Until a new workspace is finished nobody knows of it but whoever makes it.
            bound_until_released: fresh,
            ..self.workspace_spec(record, machine, fresh)
        };
        let launched = match launch(self.config().pyro()?, &vm, &spec, caller).await {
            Ok(launched) => launched,
            Err(error) => {
                // Whatever this host could do once.
                self.forget_abilities();
                return Err(match (&base, &error) {
                    // It keeps its kind for life.
                    (Base::Tree(_), LaunchError::Failed { .. }) if !fresh => {
                        launch_failed(id, error)
                    }
                    (Base::Tree(_), LaunchError::Failed { .. }) => sandbox_launch_failed(id, error),
                    _ => self.not_launched(id, template, error),
                });
            }
        };
        if let Some(secrets) = secrets
            && let Err(error) = self.install_secrets(id, &vm, secrets).await
        {
            // Without them nothing may run in it.
            let _ = stop_vm(id, &vm).await;
            return Err(error);
        }
        let running = launched.running.clone();
        let of_jail = facts::of_jail(&running);
        let accelerator_reason = match &template {
            Some(template) if running.resumed => template.facts.accelerator_reason.clone(),
            _ => running.accelerator_reason,
        };
        if let Some(template) = template
            && !running.resumed
        {
            self.discard_template(template);
        }
        Ok(Started {
            launched,
            execution_mode: base.kind().execution_mode(),
            facts: [
                ("accelerator", running.accelerator),
                ("accelerator_reason", accelerator_reason),
                ("backend", running.backend),
                ("resumed", running.resumed.to_string()),
                ("boot_ms", running.boot_ms.to_string()),
                ("boot_attempts", running.boot_attempts.to_string()),
                ("guest_kernel", running.kernel_release),
                (BOOTED_KERNEL, running.booted_kernel.unwrap_or_default()),
                (base.vmm_fact(), running.vmm_version.unwrap_or_default()),
            ]
            .into_iter()
            .chain(of_jail.map(|(fact, told)| (fact, told.unwrap_or_default())))
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        })
    }

    /// Starts what serves the files of a disk of folders on which nothing runs yet. It ends with what
    /// is returned.
    pub(crate) async fn launch_files(
        &self,
        stored: &StoredWorkspace,
        base: &Base,
        caller: &Caller,
    ) -> Result<Launched, Error> {
        let record = &stored.record;
        let id = &record.workspace_id;
        let folder = self.workspace_folder(id);
        let vm = folder.vm(stored.generation);
        vm.create()
            .map_err(|error| host_io(format!("Workspace `{id}` could not be started"), &error))?;
        let layers = stored.layers.iter().map(|name| folder.layer(name));
        let chain = layers::chain(base, layers);
        let machine = self
            .gvisor_machine(chain, record.vcpu_count, record.mem_mib, None, caller)
            .await?;
        let machine = Machine::Gvisor(Gvisor {
            runs: Runs::Files,
            ..machine
        });
        let spec = LaunchSpec {
            idle_ms: None,
            bound_to_owner: true,
            ..self.workspace_spec(record, machine, true)
        };
        launch(self.config().pyro()?, &vm, &spec, caller)
            .await
            .map_err(|error| match error {
                LaunchError::Failed { .. } => sandbox_launch_failed(id, error),
                error => self.not_launched(id, None, error),
            })
    }

    fn workspace_spec(
        &self,
        record: &WorkspaceRecord,
        machine: Machine,
        fresh: bool,
    ) -> LaunchSpec {
        let id = &record.workspace_id;
        let folder = self.workspace_folder(id);
        LaunchSpec {
            protocol: PROTOCOL,
            vm_id: id.clone(),
            hostname: format!("pyro-{id}"),
            machine,
            folders: vec![folder.disks(), folder.outputs()],
            boot_deadline_ms: self.config().boot_deadline_ms,
            expires_at_ms: None,
            idle_ms: (record.ttl_seconds > 0).then(|| u64::from(record.ttl_seconds) * 1000),
            bound_to_owner: false,
            bound_until_released: false,
            remove_when_over: false,
            timings: step::is_enabled(),
            env: crate::image_config::env(&record.metadata),
            user: crate::image_config::user(&record.metadata),
            new_disk: fresh,
        }
    }

    /// How to read the files of the baseline, without any VM. What is returned blocks.
    pub(crate) fn baseline_of(
        &self,
        stored: &StoredWorkspace,
    ) -> Result<impl FnOnce() -> Result<Tree, TreeError> + Send + use<>, Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let layers = stored.baseline().iter().map(|name| folder.layer(name));
        let disk = self.disk_at_rest(&self.workspace_base(stored)?, layers)?;
        let tree = folder.baseline_tree().join(disk::HOST_WORKSPACE);
        Ok(move || match disk {
            Some(disk) => Ok(disk.open(WORKSPACE_PATH)?),
            None => Tree::folder(&tree),
        })
    }

    /// The same, where that can be made again.
    pub(crate) async fn restored_base(
        &self,
        stored: &StoredWorkspace,
        caller: &Caller,
    ) -> Result<Base, Error> {
        let record = &stored.record;
        if let Some(tree) = record.metadata.get(TREE)
            && !Path::new(tree).is_dir()
            && let Some(installed) = self.image_of(record)?
        {
            // Comes to lie where it was, unless cache or ids are others now.
            self.environment_tree(&installed, caller).await?;
        }
        self.workspace_base(stored)
    }

    /// The image that a workspace was created from, if it is still in the cache.
    fn image_of(&self, record: &WorkspaceRecord) -> Result<Option<Installed>, Error> {
        let found = self.catalog().find_recorded(&record.environment);
        let spec = found.map_err(catalog_failed)?;
        let installed = self.catalog().installed(spec).map_err(catalog_failed)?;
        let digest = record.metadata.get(ENVIRONMENT_DIGEST);
        Ok(installed.filter(|installed| Some(&installed.rootfs_digest) == digest))
    }

    /// What the workspace's disk stands on.
    pub(crate) fn workspace_base(&self, stored: &StoredWorkspace) -> Result<Base, Error> {
        let record = &stored.record;
        let Some(digest) = record.metadata.get(ENVIRONMENT_DIGEST) else {
            return Ok(Base::HostProcess);
        };
        let folder = self.workspace_folder(&record.workspace_id);
        let gone = |what: &str, hint: &str| {
            Error::new(
                ErrorCode::Damaged,
                format!("Workspace `{}` cannot be started", record.workspace_id),
            )
            .because(format!(
                "{what} of `{}` that it was created from is missing from the cache",
                record.environment
            ))
            .hint(hint)
        };
        const RESTORE: &str = "Restore the cache folder, or delete the workspace";
        if let Some(tree) = record.metadata.get(TREE).map(PathBuf::from) {
            if tree.is_dir() {
                return Ok(Base::Tree(tree));
            }
            let start = format!(
                "`pyro workspace start {}` (`workspace_start`) unpacks it again",
                record.workspace_id
            );
            return Err(match self.image_of(record)? {
                Some(_) => gone("the unpacked image", &start),
                None => gone("the unpacked image", RESTORE),
            });
        }
        let found = self.catalog().find_recorded(&record.environment);
        let spec = found.map_err(catalog_failed)?;
        let installed = self.catalog().installed(spec).map_err(catalog_failed)?;
        let installed = match folder.image().exists() {
            true => {
                // The kernel of today, or the one of then where the environment is gone.
                let kernel = match (installed, record.metadata.get("kernel_image")) {
                    (Some(installed), _) => Some(installed.kernel),
                    (None, Some(image)) => self.catalog().kernel_at(Path::new(image)),
                    (None, None) => None,
                };
                let Some(kernel) = kernel else {
                    let hint = match spec.is_kept() {
                        true => RESTORE.to_owned(),
                        false => format!("`pyro env pull {}` restores it", record.environment),
                    };
                    return Err(gone("the kernel", &hint));
                };
                let own = Installed::of_own_files(
                    spec,
                    self.catalog(),
                    folder.image(),
                    digest.clone(),
                    kernel,
                );
                let layers = folder.base_layers();
                own.and_then(|own| {
                    Ok(Installed {
                        layers: layers?,
                        ..own
                    })
                })
                .map_err(|error| {
                    let what = format!("Workspace `{}` cannot be started", record.workspace_id);
                    host_io(what, &error)
                })?
            }
            false => match installed {
                Some(installed) if installed.rootfs_digest == *digest => installed,
                _ => return Err(gone("the image", RESTORE)),
            },
        };
        let template = match &stored.template {
            None => None,
            Some(_) if disk::own_layer(&folder.template()).exists() => Some(folder.template()),
            Some(name) => Some(
                self.template_cache()
                    .intact(name)
                    .ok_or_else(|| gone("the template's layer", RESTORE))?,
            ),
        };
        Ok(Base::Image(Box::new(Image {
            installed,
            template,
        })))
    }
}

/// A VM that runs, as far as the record cares.
pub(crate) struct Started {
    execution_mode: ExecutionMode,
    facts: Vec<(String, String)>,
    /// Dropped, it takes a fresh VM with it that was not released.
    launched: Launched,
}

impl Started {
    /// Lets a fresh VM go its own way: its workspace is finished.
    pub(crate) async fn release(self) {
        self.launched.release().await;
    }

    pub(crate) fn write_into(&self, stored: &mut StoredWorkspace) {
        let record = &mut stored.record;
        record.state = VmState::Started;
        record.stopped_because = None;
        record.execution_mode = self.execution_mode;
        record.last_activity_at = now();
        // Of the start before, perhaps.
        record.metadata.remove(BOOTED_KERNEL);
        record.metadata.extend(self.facts.iter().cloned());
    }
}
