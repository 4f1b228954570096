//! Keeps the disk of a workspace as an environment, from which others start.
//!
//! The disk of a VM is a chain of layers. It is frozen where it is, as for a snapshot, and what lies below from
//! then on gets other names in the catalog: nothing is copied, and no guest is started for it. What the agent
//! has noted on the disk is left there, and removed by whatever begins with the disk: see
//! [`pyro_disk::AGENT_STATE`]. A sandbox has folders, which become one image.

mod chain;
mod folders;
mod users;

use pyro_api::values::{BASELINE, VmState};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::{Installed, KeptName, Parts, Taken};
use pyro_oci::Config;

use crate::engine::Engine;
use crate::error::{broke, catalog_failed};
use crate::image_config;
use crate::machine::create::Base;
use crate::machine::now;
use crate::store::StoredWorkspace;
use crate::workspace::errors::unknown;
use crate::workspace::lock::WorkspaceLock;
use crate::workspace::snapshots::Target;

/// What is to become an environment.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// Id or name of the workspace.
    pub(crate) workspace: String,
    /// The state of then, and not the one of now.
    pub(crate) snapshot: Option<String>,
    pub(crate) name: KeptName,
    /// Take the place of an environment that was kept under this name.
    pub(crate) replace: bool,
    /// What its guests' commands get; that of the workspace's environment when absent.
    pub(crate) config: Option<Config>,
    /// Where it came from, for people; the workspace when absent.
    pub(crate) source: Option<String>,
}

/// A workspace that nobody else changes.
struct Held {
    stored: StoredWorkspace,
    what: String,
    _lock: WorkspaceLock,
}

impl Engine {
    pub(crate) async fn keep(&self, keep: Keep, caller: &Caller) -> Result<Installed, Error> {
        let found = self.find_workspace(&keep.workspace)?;
        let id = found.record.workspace_id.clone();
        let what = format!(
            "Workspace `{id}` could not be kept as `{}`",
            keep.name.as_str()
        );
        if let Base::HostProcess = self.workspace_base(&found)? {
            return Err(Error::new(ErrorCode::Unsupported, what)
                .because("its commands run on the host itself (`host_compat`), so it has no disk")
                .hint("Make one with `--isolation vm` or `--isolation gvisor` (`isolation`)"));
        }
        // Before anything is held or frozen for nothing.
        let target = keep.snapshot.as_deref();
        let _ = target.map(|name| Target::find(&found, name)).transpose()?;
        let redactor = self.redactor(&found)?;
        redactor.check_name("environment's name", keep.name.as_str())?;
        let (name, replace) = (keep.name.clone(), keep.replace);
        let keeping = self
            .watched(caller, move |catalog, monitor| {
                catalog.keeping(&name, replace, monitor)
            })
            .await?;
        self.refuse_while_used(keeping.spec()).await?;
        let (lock, stored) = self.lock_settled(&id).await?;
        let target = target.map(|name| Target::find(&stored, name)).transpose()?;
        let source = keep
            .source
            .clone()
            .unwrap_or_else(|| source(&stored, target.as_ref()));
        let held = Held {
            stored,
            what,
            _lock: lock,
        };
        let base = self.workspace_base(&held.stored)?;
        let target = target.as_ref();
        let parts = match &base {
            Base::Image(image) => {
                self.chain_parts(&held, image, target, &keeping, caller)
                    .await?
            }
            Base::Tree(_) | Base::HostProcess => {
                self.folder_parts(&held, &base, target, &keeping, caller)
                    .await?
            }
        };
        let parts = Parts {
            config: self.config_of(&held.stored, keep.config),
            source,
            ..parts
        };
        let taken: Taken = tokio::task::spawn_blocking(move || keeping.take(parts))
            .await
            .map_err(|error| broke(&error))?
            .map_err(catalog_failed)?;
        // Others may go on: nothing that was taken depends on the workspace any more.
        drop(held);
        // A guest may have been made of the other one meanwhile.
        self.refuse_while_used(taken.spec()).await?;
        let installed = self
            .watched(caller, move |_, monitor| taken.publish(monitor))
            .await?;
        self.touch_workspace(&id)?;
        self.note_event(
            &id,
            "kept",
            format!("as environment `{}`", installed.spec.name),
        )?;
        Ok(installed)
    }

    fn config_of(
        &self,
        stored: &StoredWorkspace,
        given: Option<Config>,
    ) -> Option<(Config, Option<String>)> {
        let own = image_config::of_record(&stored.record.metadata);
        match (given, own) {
            (Some(config), own) => Some((config, own.and_then(|(_, digest)| digest))),
            (None, own) => own,
        }
    }

    /// Names a layer that the disk of a stopped workspace goes on in. The lock is held exclusively.
    fn go_on_in(&self, stored: &StoredWorkspace, layer: Option<String>) -> Result<(), Error> {
        let id = &stored.record.workspace_id;
        self.store()?
            .change_workspace(id, |stored| {
                stored.layers.extend(layer);
                stored.record.last_activity_at = now();
            })?
            .ok_or_else(|| unknown(id))?;
        self.store()?.sync()?;
        Ok(())
    }
}

fn is_running(stored: &StoredWorkspace) -> bool {
    stored.record.state == VmState::Started
}

/// Where an environment came from, for people.
fn source(stored: &StoredWorkspace, target: Option<&Target>) -> String {
    let record = &stored.record;
    let snapshot = match target {
        None => String::new(),
        Some(Target::Baseline) => format!(", snapshot {BASELINE}"),
        Some(Target::Named(snapshot)) => format!(", snapshot {}", snapshot.name),
    };
    format!(
        "workspace {}{snapshot}, made from {}",
        record.workspace_id, record.environment
    )
}
