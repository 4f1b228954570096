//! Makes a workspace: its disk, its VM, its first files, its baseline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::values::{
    ExecutionMode, LeftOut, SeedMode, VmState, WORKSPACE_PATH, WorkspaceName, WorkspaceRecord,
    WorkspaceSeed,
};
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_catalog::{EnvironmentSpec, Installed};
use pyro_disk::TreeError;
use pyro_transfer::import::folder_in_repository;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::files::Change;
use pyro_wire::network::GUEST_V4;
use tokio::time::timeout;

use super::errors::{shim_unreachable, unknown};
use super::files::{self, FilesError};
use super::folder::WorkspaceFolder;
use super::incoming::Incoming;
use super::layers::new_layer;
use super::lock::LockMode;
use super::repository_prefix::SEED_IN_REPOSITORY;
use super::secrets::SecretsInput;
use super::selection::Selection;
use super::stop::stop_vm;
use crate::engine::Engine;
use crate::environments::version;
use crate::error::{broke, cancelled, host_io};
use crate::image_config;
use crate::machine::create::{Base, Image, NewBase};
use crate::machine::isolation::{Asked, VmKind};
use crate::machine::{disk, network, now, shim_client};
use crate::random::random_id;
use crate::store::StoredWorkspace;
use crate::template::Shape;

/// After this the guest writes again by itself, should this process be killed in between.
const FREEZE: Duration = Duration::from_secs(10);

/// How long the host may take to write a new disk down.
const FLUSH_LIMIT: Duration = Duration::from_secs(600);

/// How often a guest is frozen for its baseline.
const TRIES: u32 = 3;

/// What a workspace is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whoever asked for it.
    Use,
    /// A build, which is done with it before it answers.
    Build,
}

impl Engine {
    /// Makes a workspace. On failure, and when the future is dropped, nothing of it is left.
    pub(crate) async fn create_workspace(
        &self,
        asked: &WorkspaceCreate,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, Error> {
        self.create_workspace_for(Purpose::Use, asked, caller).await
    }

    pub(crate) async fn create_workspace_for(
        &self,
        purpose: Purpose,
        asked: &WorkspaceCreate,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, Error> {
        let spec = self.named(&asked.environment, caller).await?;
        // Where no record can be kept, nothing is pulled.
        self.owner()?;
        // By the name that it has from every folder.
        let asked = &WorkspaceCreate {
            environment: spec.name.to_owned(),
            ..asked.clone()
        };
        // A seed that cannot be taken is refused before anything is made.
        let selection = Selection::default().and(&asked.exclude, Some(asked.gitignore))?;
        let seed = match asked.seed_path.clone() {
            None => None,
            Some(path) => Some(Incoming::open(path, selection.clone(), caller).await?),
        };
        let secrets = SecretsInput::read(&asked.secrets, caller).await?;
        let name = asked.name.as_ref().map(WorkspaceName::as_str);
        secrets.redactor().check_names(name, &asked.labels)?;
        let too_short = secrets.too_short();
        let has_network = asked.network_policy.has_network();
        let wanted = Asked {
            isolation: asked.isolation,
            allow_host_compat: asked.allow_host_compat,
            network: has_network,
            keeps_files: true,
        };
        let chosen = self.choose(wanted, spec, caller).await?;
        let kind = chosen.kind;
        network::check(kind, has_network, caller)?;
        self.sweep_workspaces().await?;
        if kind == VmKind::HostProcess && !secrets.is_empty() {
            return Err(no_secrets_on_the_host());
        }
        let shape = Shape {
            vcpu_count: asked.vcpu_count.get(),
            mem_mib: asked.mem_mib.get(),
            network: has_network,
        };
        let NewBase {
            base,
            mounted,
            facts,
        } = self.new_base(kind, spec, shape, caller).await?;

        let id = random_id()?;
        let stored = StoredWorkspace {
            record: WorkspaceRecord {
                secrets: secrets.public().to_vec(),
                ..new_record(
                    id.clone(),
                    asked,
                    spec,
                    chosen.facts().into_iter().chain(facts),
                )
            },
            maker: Some(self.owner()?.id().to_owned()),
            generation: 0,
            layers: Vec::new(),
            baseline_layers: 0,
            services: BTreeMap::new(),
            jobs: Vec::new(),
            template: mounted.as_ref().map(|template| template.name()),
            snapshots: Vec::new(),
            selection,
        };
        // The record comes first, and says that it is not finished.
        self.store()?.put_workspace(&stored)?;
        drop(mounted);
        let guard = CreateGuard {
            engine: self,
            id: Some(id.clone()),
            caller,
        };
        match self
            .make_workspace(purpose, stored, &base, seed, secrets, caller)
            .await
        {
            Ok(stored) => {
                // Nobody could know of one whose maker went away before this.
                let mut record = self.shown(stored, false, caller).await;
                guard.finish();
                record.notes.extend(too_short);
                record.notes.extend(self.namesakes(&record)?);
                Ok(record)
            }
            Err(error) => {
                guard.finish();
                // The first error is the one to tell; a sweep gets what this leaves.
                let _ = self.delete_workspace(&id).await;
                Err(error)
            }
        }
    }

    async fn make_workspace(
        &self,
        purpose: Purpose,
        mut stored: StoredWorkspace,
        base: &Base,
        seed: Option<Incoming>,
        secrets: SecretsInput,
        caller: &Caller,
    ) -> Result<StoredWorkspace, Error> {
        let id = stored.record.workspace_id.clone();
        let folder = self.workspace_folder(&id);
        let failed = |error: std::io::Error| {
            host_io("The folder of a new workspace could not be created", &error)
        };
        folder.create().map_err(failed)?;
        folder.mark_as_debris().map_err(failed)?;
        if purpose == Purpose::Build {
            folder.mark_as_build(self.owner()?.id()).map_err(failed)?;
        }
        let _held = folder.lock(&id, LockMode::Exclusive).await?;
        self.keep_secrets(&id, &secrets)?;
        let clean = |text: String| secrets.redactor().redact(text);
        let seed_folder = (seed.as_ref())
            .filter(|seed| seed.mode() == SeedMode::Directory)
            .and_then(|seed| folder_in_repository(seed.path()));
        if let Some(folder) = seed_folder {
            let metadata = &mut stored.record.metadata;
            metadata.insert(SEED_IN_REPOSITORY.to_owned(), clean(folder));
        }
        if let Some(seed) = &seed {
            stored.record.workspace_seed = record_of(seed, clean);
        }
        // Whoever starts a VM gets them where every later start does.
        drop(secrets);
        stored
            .layers
            .extend(new_layer(&folder, base).map_err(failed)?);
        if let Base::HostProcess = base {
            std::fs::create_dir_all(folder.tree().join(disk::HOST_WORKSPACE)).map_err(failed)?;
        }
        self.store()?.put_workspace(&stored)?;
        self.admit(&id, stored.record.mem_mib, false).await?;
        let started = match base {
            Base::Tree(_) => {
                let seeded = self.seed_at_rest(&mut stored, base, seed, caller).await?;
                phase(&id, "start", caller)?;
                let flushed = async {
                    let what = format!("Workspace `{id}` could not be seeded");
                    flush(seeded).await.map_err(|error| host_io(what, &error))
                };
                let start = self.launch_workspace(&stored, true, caller);
                // Both to their ends: no half-started VM is to be deleted.
                let (started, flushed) = tokio::join!(start, flushed);
                flushed?;
                started?
            }
            Base::Image(_) | Base::HostProcess => {
                phase(&id, "start", caller)?;
                let started = self.launch_workspace(&stored, true, caller).await?;
                self.seed(&stored, seed, caller).await?;
                self.freeze_baseline(&mut stored, base, &folder).await?;
                started
            }
        };
        let change_to = stored.clone();
        let stored = self
            .store()?
            .change_workspace(&id, |stored| {
                *stored = change_to;
                started.write_into(stored);
                stored.maker = None;
            })?
            .ok_or_else(|| unknown(&id))?;
        self.store()?.sync()?;
        folder.no_debris().map_err(failed)?;
        started.release().await;
        self.note_event(
            &id,
            "created",
            format!("from {}", stored.record.environment),
        )?;
        Ok(stored)
    }

    /// Has whoever serves the files of a new workspace take its first ones.
    async fn seed(
        &self,
        stored: &StoredWorkspace,
        seed: Option<Incoming>,
        caller: &Caller,
    ) -> Result<(), Error> {
        let id = &stored.record.workspace_id;
        let what = format!("Workspace `{id}` could not be seeded");
        let doing = "take its first files";
        let line = self.reconnect_files(stored, doing).await?;
        let change = Change {
            baseline: true,
            user: image_config::user_to_wire(None, &stored.record.metadata),
            ..Change::default()
        };
        if let Some(seed) = seed {
            phase(id, "seed", caller)?;
            let caller = caller.clone();
            files::change(line, change, move |to| {
                seed.send(None, to, &caller).map(drop)
            })
            .await
        } else {
            files::change(line, change, |to| files::archive_of(&[], 0, to)).await
        }
        .map_err(|error| {
            let no_folder = matches!(&error, FilesError::Refused { fault } if is_about_workspace(fault));
            let error = self.files_failed(stored, &what, doing, error);
            match no_folder {
                true => error.hint(
                    "Use an image in which `/workspace` is a folder, or is missing: a link or a file \
                     there cannot hold the workspace's files",
                ),
                false => error,
            }
        })
    }

    /// Lays the first files on a disk of folders before anything runs on it: what every reset returns
    /// to is the layer that they are in, and a guest gets one above it. Says where that layer is; it is
    /// in the host's memory, as yet.
    async fn seed_at_rest(
        &self,
        stored: &mut StoredWorkspace,
        base: &Base,
        seed: Option<Incoming>,
        caller: &Caller,
    ) -> Result<PathBuf, Error> {
        let id = stored.record.workspace_id.clone();
        let serving = self.launch_files(stored, base, caller).await?;
        self.seed(stored, seed, caller).await?;
        stop_vm(&id, &self.vm_of(stored)).await?;
        drop(serving);
        stored.baseline_layers = stored.layers.len();
        let folder = self.workspace_folder(&id);
        let layer = new_layer(&folder, base)
            .map_err(|error| host_io(format!("Workspace `{id}` could not be seeded"), &error))?;
        stored.layers.extend(layer);
        self.store()?.put_workspace(stored)?;
        Ok(folder.disks())
    }

    /// What is on the disk now is what every reset returns to.
    async fn freeze_baseline(
        &self,
        stored: &mut StoredWorkspace,
        base: &Base,
        folder: &WorkspaceFolder,
    ) -> Result<(), Error> {
        if let Base::Image(image) = base {
            link_base_images(folder, image);
        }
        let what = format!(
            "The first state of workspace `{}` could not be saved",
            stored.record.workspace_id
        );
        for _ in 0..TRIES {
            self.freeze_once(stored, base, folder, &what).await?;
            let open = self.baseline_of(stored)?;
            let opened = tokio::task::spawn_blocking(move || open().map(drop))
                .await
                .map_err(|error| broke(&error))?;
            match opened {
                Ok(()) => return Ok(()),
                // The guest went on before it had another layer to write to. What it wrote since
                // is in that one, and both together are as good.
                Err(TreeError::NotClean) => {}
                Err(error) => {
                    return Err(Error::new(ErrorCode::Damaged, what)
                        .caused_by(&error)
                        .hint("Nothing was created. Try again"));
                }
            }
        }
        Err(Error::new(ErrorCode::HostIo, what)
            .because(format!(
                "its guest can be frozen for {} s at most, and this host took longer {TRIES} times",
                FREEZE.as_secs()
            ))
            .hint("Nothing was created. Try again when this host is less busy"))
    }

    async fn freeze_once(
        &self,
        stored: &mut StoredWorkspace,
        base: &Base,
        folder: &WorkspaceFolder,
        what: &str,
    ) -> Result<(), Error> {
        let id = stored.record.workspace_id.clone();
        let doing = "save its first state";
        stored.baseline_layers = stored.layers.len();
        let layer = new_layer(folder, base).map_err(|error| host_io(what, &error))?;
        let line = self.reconnect(stored, doing).await?;
        files::freeze(line, FREEZE)
            .await
            .map_err(|error| self.files_failed(stored, what, doing, error))?;
        let Some(layer) = layer else {
            return copy_tree(&folder.tree(), &folder.baseline_tree()).await;
        };
        let added =
            shim_client::add_layer(&self.vm_of(stored), disk::layer(&folder.layer(&layer))).await;
        let line = self.reconnect(stored, doing).await?;
        files::thaw(line)
            .await
            .map_err(|error| self.files_failed(stored, what, doing, error))?;
        added.map_err(|error| shim_unreachable(&id, doing, &error))?;
        stored.layers.push(layer);
        Ok(())
    }
}

/// Writes what is in the host's memory of a disk's layers to the host's disk.
async fn flush(layers: PathBuf) -> std::io::Result<()> {
    let write = move || Ok(nix::unistd::syncfs(std::fs::File::open(layers)?)?);
    let written = tokio::task::spawn_blocking(write);
    timeout(FLUSH_LIMIT, written).await??
}

fn phase(id: &str, phase: &'static str, caller: &Caller) -> Result<(), Error> {
    caller
        .emit(Event::Phase {
            scope: "workspace",
            phase,
            fields: vec![("workspace_id", id.to_owned())],
        })
        .map_err(|_| cancelled())
}

/// What a record says of a seed, with every word made clean.
fn record_of(seed: &Incoming, clean: impl Fn(String) -> String) -> WorkspaceSeed {
    let (mut left_out, notes) = seed.told();
    for names in [&mut left_out.paths, &mut left_out.exclude] {
        *names = std::mem::take(names).into_iter().map(&clean).collect();
    }
    WorkspaceSeed {
        mode: seed.mode(),
        seed_path: Some(clean(seed.path().display().to_string())),
        destination: WORKSPACE_PATH.to_owned(),
        entry_count: seed.totals().entries,
        bytes_written: seed.totals().bytes,
        left_out,
        notes: notes.into_iter().map(clean).collect(),
    }
}

fn no_secrets_on_the_host() -> Error {
    Error::new(
        ErrorCode::Unsupported,
        "Commands that run on the host cannot have secrets",
    )
    .because("on the host there is no guest memory to keep them in")
    .hint("Leave out the secrets, or use a host that runs VMs or sandboxes (`pyro doctor`)")
}

/// Gives what the disk stands on a second name in the workspace's folder. Where that cannot be done
/// (a cache on another file system) the workspace depends on the cache.
fn link_base_images(folder: &WorkspaceFolder, image: &Image) {
    let _ = link_environment(folder, &image.installed);
    if let Some(template) = &image.template
        && std::fs::create_dir(folder.template()).is_ok()
    {
        let _ = std::fs::hard_link(
            disk::own_layer(template),
            disk::own_layer(&folder.template()),
        );
    }
}

/// The same of what an environment is made of, all of it or nothing that counts: the image comes last.
fn link_environment(folder: &WorkspaceFolder, installed: &Installed) -> std::io::Result<()> {
    if !installed.layers.is_empty() {
        std::fs::create_dir(folder.base())?;
    }
    for (number, layer) in installed.layers.iter().enumerate() {
        std::fs::hard_link(layer, folder.base_layer(number))?;
    }
    std::fs::hard_link(&installed.rootfs, folder.image())
}

/// Copies a folder with everything about its files. Done by the host's `cp`, which knows what its
/// file systems share.
pub(crate) async fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> Result<(), Error> {
    let copied = tokio::process::Command::new("cp")
        .args(["--archive", "--reflink=auto", "--no-target-directory"])
        .arg(from)
        .arg(to)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let what = format!("{} could not be copied", from.display());
    match copied {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Error::new(ErrorCode::HostIo, what)
            .because(String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(host_io(what, &error)),
    }
}

/// A workspace that is not finished, until somebody says so. Dropping it (the caller went away)
/// leaves it to a sweep, which finds its VM without an owner.
struct CreateGuard<'a> {
    engine: &'a Engine,
    id: Option<String>,
    /// Who is told if it is still there.
    caller: &'a Caller,
}

impl CreateGuard<'_> {
    fn finish(mut self) {
        self.id = None;
    }
}

impl Drop for CreateGuard<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        // Nothing can be waited for here: another maker's mark makes it everybody's debris.
        if let Ok(store) = self.engine.store() {
            let _ = store.change_workspace(&id, |stored| stored.maker = Some(String::new()));
        }
        let folder = self.engine.workspace_folder(&id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for (_, vm) in folder.vms() {
                    let _ = super::sweep::remove_vm(&vm).await;
                }
            });
        }
        let note = "interrupted: no workspace was created";
        let _ = self.caller.emit(Event::Note(note.to_owned()));
    }
}

fn new_record(
    id: String,
    asked: &WorkspaceCreate,
    spec: &EnvironmentSpec,
    facts: impl IntoIterator<Item = (String, String)>,
) -> WorkspaceRecord {
    let mut metadata = BTreeMap::from([
        (
            "allow_host_compat".to_owned(),
            asked.allow_host_compat.to_string(),
        ),
        (
            "network_policy".to_owned(),
            asked.network_policy.to_string(),
        ),
    ]);
    metadata.extend(network::facts(&asked.allow_net));
    let has_network = asked.network_policy.has_network();
    metadata.extend(facts);
    let created_at = now();
    WorkspaceRecord {
        workspace_id: id,
        name: asked.name.clone().map(String::from),
        labels: asked.labels.clone(),
        environment: asked.environment.clone(),
        environment_version: version(spec),
        vcpu_count: asked.vcpu_count.get(),
        mem_mib: asked.mem_mib.get(),
        ttl_seconds: asked.ttl_seconds.get(),
        created_at,
        last_activity_at: created_at,
        expires_at: 0.0,
        state: VmState::Created,
        network_policy: asked.network_policy,
        network_enabled: has_network,
        allow_host_compat: asked.allow_host_compat,
        guest_ip: has_network.then(|| GUEST_V4.to_string()),
        tap_name: None,
        execution_mode: ExecutionMode::Pending,
        workspace_path: WORKSPACE_PATH.to_owned(),
        workspace_seed: WorkspaceSeed {
            mode: SeedMode::Empty,
            seed_path: None,
            destination: WORKSPACE_PATH.to_owned(),
            entry_count: 0,
            bytes_written: 0,
            left_out: LeftOut::default(),
            notes: Vec::new(),
        },
        secrets: Vec::new(),
        command_count: 0,
        last_command: None,
        running_commands: Vec::new(),
        reset_count: 0,
        last_reset_at: None,
        service_count: 0,
        running_service_count: 0,
        metadata,
        time_left_seconds: None,
        stopped_because: None,
        workspace_started: false,
        notes: Vec::new(),
    }
}

/// Whether it is the folder itself that cannot be used, and no path below.
fn is_about_workspace(fault: &Fault) -> bool {
    let whole = format!("{WORKSPACE_PATH} ");
    fault.code == FaultCode::BadPath && fault.message.starts_with(&whole)
}
