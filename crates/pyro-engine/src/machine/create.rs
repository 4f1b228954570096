//! A new VM: its identity, its record, its folder and its disk. Nothing runs yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pyro_api::values::{
    AllowNet, ExecutionMode, Isolation, MemMib, TtlSeconds, VcpuCount, VmRecord, VmState,
};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::{EnvironmentSpec, Installed};
use pyro_wire::network::GUEST_V4;
use pyro_wire::reached;

use super::facts::{ENVIRONMENT_DIGEST, INSTALL_DIR, TEMPLATE, TREE};
use super::folder::VmFolder;
use super::isolation::{Asked, Chosen, VmKind};
use super::{disk, network, now};
use crate::engine::Engine;
use crate::environments::version;
use crate::error::catalog_failed;
use crate::gvisor;
use crate::image_config;
use crate::random::random_id;
use crate::template::{Kind, Shape, Template};

/// What a new VM is to be.
pub(crate) struct VmRequest<'a> {
    pub(crate) environment: &'a str,
    pub(crate) vcpu_count: VcpuCount,
    pub(crate) mem_mib: MemMib,
    pub(crate) ttl_seconds: TtlSeconds,
    /// How long it lives at least, whatever the time to live says, in seconds.
    pub(crate) min_lifetime_seconds: u32,
    pub(crate) network: bool,
    /// What it reaches although it is near the host.
    pub(crate) allow_net: &'a [AllowNet],
    pub(crate) allow_host_compat: bool,
    pub(crate) isolation: Option<Isolation>,
    /// It may be stopped and started again with what was on its disk.
    pub(crate) may_restart: bool,
}

impl VmRequest<'_> {
    /// What was asked for, for [`Engine::choose`].
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            isolation: self.isolation,
            allow_host_compat: self.allow_host_compat,
            network: self.network,
            keeps_files: self.may_restart,
        }
    }

    /// How long the VM lives at most, in seconds.
    pub(crate) fn lifetime_seconds(&self) -> f64 {
        f64::from(self.ttl_seconds.get().max(self.min_lifetime_seconds))
    }
}

/// An image, and the folder of the template on whose layer the VM's own lies.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) installed: Installed,
    pub(crate) template: Option<PathBuf>,
}

/// What a VM runs on.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    Image(Box<Image>),
    /// A folder with an environment's files, for gVisor.
    Tree(PathBuf),
    HostProcess,
}

impl Base {
    pub(crate) fn kind(&self) -> VmKind {
        match self {
            Self::Image(_) => VmKind::Vm,
            Self::Tree(_) => VmKind::Gvisor,
            Self::HostProcess => VmKind::HostProcess,
        }
    }

    /// The fact of a record that tells the version of what runs the VM, which its shim knows.
    pub(crate) fn vmm_fact(&self) -> &'static str {
        match self {
            Self::Image(_) | Self::HostProcess => "qemu_version",
            Self::Tree(_) => "runsc_version",
        }
    }
}

/// What a new VM runs on.
pub(crate) struct NewBase {
    pub(crate) base: Base,
    /// In hand until a record says that the VM stands on it.
    pub(crate) mounted: Option<Template>,
    /// What the record says of both.
    pub(crate) facts: Vec<(String, String)>,
}

impl Engine {
    /// Makes record, folder and disk. On failure nothing of them is left.
    pub(crate) async fn create_vm(
        &self,
        request: &VmRequest<'_>,
        caller: &Caller,
    ) -> Result<(VmRecord, Base), Error> {
        let spec = self.named(request.environment, caller).await?;
        // Where no record can be kept, nothing is pulled.
        self.owner()?;
        let chosen = self.choose(request.asked(), spec, caller).await?;
        network::check(chosen.kind, request.network, caller)?;
        let shape = Shape {
            vcpu_count: request.vcpu_count.get(),
            mem_mib: request.mem_mib.get(),
            network: request.network,
        };
        let NewBase {
            base,
            mounted,
            facts,
        } = self.new_base(chosen.kind, spec, shape, caller).await?;

        let vm_id = random_id()?;
        let created_at = now();
        let record = VmRecord {
            environment: spec.name.to_owned(),
            environment_version: version(spec),
            vcpu_count: request.vcpu_count.get(),
            mem_mib: request.mem_mib.get(),
            ttl_seconds: request.ttl_seconds.get(),
            created_at,
            expires_at: created_at + request.lifetime_seconds(),
            state: VmState::Created,
            network_enabled: request.network,
            allow_host_compat: request.allow_host_compat,
            guest_ip: request.network.then(|| GUEST_V4.to_string()),
            tap_name: None,
            execution_mode: ExecutionMode::Pending,
            accelerator: None,
            metadata: metadata(request, spec, &chosen, facts),
            vm_id,
        };
        // The record comes first: a folder without one is debris that any sweep may remove.
        self.put(&record)?;
        drop(mounted);
        reached!("record written");
        if let Err(error) = self.make_folder(&record, &base, request.may_restart) {
            self.forget(&record.vm_id);
            return Err(error);
        }
        reached!("disk layer made");
        Ok((record, base))
    }

    /// What a new VM runs on. No record names it yet.
    pub(crate) async fn new_base(
        &self,
        kind: VmKind,
        spec: &'static EnvironmentSpec,
        shape: Shape,
        caller: &Caller,
    ) -> Result<NewBase, Error> {
        if kind == VmKind::HostProcess {
            return Ok(NewBase {
                base: Base::HostProcess,
                mounted: None,
                facts: Vec::new(),
            });
        }
        let installed = self.ensure(spec, caller).await?;
        reached!("environment found");
        if kind == VmKind::Gvisor {
            let tree = self.gvisor_base(&installed, caller).await?;
            return Ok(NewBase {
                facts: tree_facts(&installed, &tree),
                base: Base::Tree(tree),
                mounted: None,
            });
        }
        // A step of a build is begun with once; its guest resumes the template that is of no disk.
        let mounted = match spec.is_hidden() {
            true => None,
            false => {
                self.template(&installed, shape, Kind::Mounted, caller)
                    .await?
            }
        };
        reached!("template found");
        let image = Image {
            installed,
            template: mounted.as_ref().map(|template| template.folder.clone()),
        };
        Ok(NewBase {
            facts: image_facts(&image, mounted.as_ref()),
            base: Base::Image(Box::new(image)),
            mounted,
        })
    }

    /// What the VM of a record runs on, now that it was created.
    pub(crate) async fn base_of(&self, record: &VmRecord, caller: &Caller) -> Result<Base, Error> {
        let Some(digest) = record.metadata.get(ENVIRONMENT_DIGEST) else {
            return Ok(Base::HostProcess);
        };
        let found = self.catalog().find_recorded(&record.environment);
        let spec = found.map_err(catalog_failed)?;
        match self.catalog().installed(spec).map_err(catalog_failed)? {
            Some(installed) if installed.rootfs_digest == *digest => {
                if record.metadata.contains_key(TREE) {
                    return self.gvisor_base(&installed, caller).await.map(Base::Tree);
                }
                let template = match record.metadata.get(TEMPLATE) {
                    None => None,
                    Some(name) => {
                        let intact = self.template_cache().intact(name);
                        Some(intact.ok_or_else(|| self.layer_gone(record, name))?)
                    }
                };
                Ok(Base::Image(Box::new(Image {
                    installed,
                    template,
                })))
            }
            _ => Err(image_gone(record)),
        }
    }

    /// The layer below a VM's own holds what was mounted when the template was made; no other one
    /// can take its place.
    fn layer_gone(&self, record: &VmRecord, name: &str) -> Error {
        Error::new(
            ErrorCode::Damaged,
            format!("A disk layer of VM `{}` is missing", record.vm_id),
        )
        .because(format!(
            "the template that it was created from has been removed or changed: {}",
            self.template_cache().folder(name).display()
        ))
        .hint("Delete the VM and create a new one; `pyro env prune` never removes what a VM needs")
    }

    /// Removes record and folder of a VM that does not run, as well as that goes.
    pub(crate) fn forget(&self, vm_id: &str) {
        // Whatever stays behind is debris for the next sweep.
        let _ = self.folder(vm_id).remove();
        if let Ok(store) = self.store() {
            let _ = store.remove_vm(vm_id);
        }
    }

    pub(crate) fn folder(&self, vm_id: &str) -> VmFolder {
        VmFolder::of(&self.config().state_dir, vm_id)
    }

    fn make_folder(&self, record: &VmRecord, base: &Base, may_restart: bool) -> Result<(), Error> {
        let folder = self.folder(&record.vm_id);
        let made = match folder.create() {
            Ok(()) => match base {
                Base::Image(image) => {
                    disk::create_layer(&disk::own_layer(folder.path()), &image.installed)
                }
                // A sandbox works faster without one.
                Base::Tree(_) if !may_restart => Ok(()),
                Base::Tree(_) => gvisor::create_layer(&gvisor::own_layer(folder.path())),
                Base::HostProcess => std::fs::create_dir(folder.join(disk::HOST_WORKSPACE)),
            },
            Err(error) => Err(error),
        };
        made.map_err(|error| {
            crate::error::host_io(
                format!(
                    "The folder of a new VM could not be created: {}",
                    folder.path().display()
                ),
                &error,
            )
        })
    }
}

fn image_gone(record: &VmRecord) -> Error {
    Error::new(
        ErrorCode::Damaged,
        format!(
            "The image that VM `{}` was created from is missing",
            record.vm_id
        ),
    )
    .because(format!(
        "`{}` has been pulled again or removed",
        record.environment
    ))
    .hint("Delete the VM and create a new one")
}

fn metadata(
    request: &VmRequest<'_>,
    spec: &EnvironmentSpec,
    chosen: &Chosen,
    of_base: Vec<(String, String)>,
) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        (
            "allow_host_compat".to_owned(),
            request.allow_host_compat.to_string(),
        ),
        ("network_enabled".to_owned(), request.network.to_string()),
    ]);
    metadata.extend(chosen.facts());
    let version = version(spec);
    metadata.extend(version.map(|version| ("environment_version".to_owned(), version)));
    metadata.extend(network::facts(request.allow_net));
    metadata.extend(of_base);
    metadata
}

/// What a record says of the image that a disk stands on.
fn image_facts(image: &Image, mounted: Option<&Template>) -> Vec<(String, String)> {
    let installed = &image.installed;
    let facts = [
        ("kernel_image", installed.kernel.image.display().to_string()),
        ("rootfs_image", installed.rootfs.display().to_string()),
        ("rootfs_clone_mode", "qcow2_overlay".to_owned()),
    ];
    environment_facts(installed)
        .into_iter()
        .chain(facts)
        .chain(mounted.map(|template| (TEMPLATE, template.name())))
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// What a record says of the tree that a disk stands on.
fn tree_facts(installed: &Installed, tree: &Path) -> Vec<(String, String)> {
    let facts = [
        (TREE, tree.display().to_string()),
        ("rootfs_clone_mode", "overlay".to_owned()),
    ];
    environment_facts(installed)
        .into_iter()
        .chain(facts)
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn environment_facts(installed: &Installed) -> Vec<(&'static str, String)> {
    let of_image = image_config::facts(installed);
    let facts = [
        ("environment_source", installed.source.clone()),
        (ENVIRONMENT_DIGEST, installed.rootfs_digest.clone()),
        (INSTALL_DIR, installed.install_dir.display().to_string()),
    ];
    facts.into_iter().chain(of_image).collect()
}
