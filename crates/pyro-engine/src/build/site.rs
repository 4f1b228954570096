//! The hidden workspace in which the steps of a stage are done. It is in no list, and gone with the build, however
//! that ends: a mark in its folder names the engine that builds, and whoever sweeps removes those of the dead.

use pyro_api::operations::env_build::EnvBuild;
use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::values::{IdleSeconds, Labels, Secrets};
use pyro_api::{Caller, Error};

use crate::engine::Engine;
use crate::error::host_io;
use crate::store::StoredWorkspace;
use crate::workspace::create::Purpose;
use crate::workspace::lock::LockMode;
use crate::workspace::sweep::remove_vm;

/// A disk of more layers than this is left for the next step's: whoever keeps one copies all of them each time.
const DEEP: usize = 20;

pub(super) struct Site<'a> {
    engine: &'a Engine,
    id: Option<String>,
}

impl<'a> Site<'a> {
    pub(super) async fn new(
        engine: &'a Engine,
        environment: &str,
        asked: &EnvBuild,
        secrets: Secrets,
        caller: &Caller,
    ) -> Result<(Self, Vec<String>), Error> {
        let create = WorkspaceCreate {
            environment: environment.to_owned(),
            vcpu_count: asked.vcpu_count,
            mem_mib: asked.mem_mib,
            // Nobody is idle here; what is left of a killed build ends after that.
            ttl_seconds: IdleSeconds::default(),
            network_policy: asked.network_policy,
            allow_host_compat: false,
            seed_path: None,
            exclude: Vec::new(),
            gitignore: false,
            secrets,
            name: None,
            labels: Labels::default(),
            allow_net: asked.allow_net.clone(),
            isolation: asked.isolation,
        };
        let record = engine
            .create_workspace_for(Purpose::Build, &create, caller)
            .await?;
        let site = Self {
            engine,
            id: Some(record.workspace_id),
        };
        Ok((site, record.notes))
    }

    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(super) fn stored(&self) -> Result<StoredWorkspace, Error> {
        self.engine.reload_workspace(self.id())
    }

    /// Whether its disk has so many layers by now that the next step had better begin on a new one.
    pub(super) fn is_deep(&self) -> Result<bool, Error> {
        Ok(self.stored()?.layers.len() > DEEP)
    }

    /// All is done.
    pub(super) async fn remove(mut self) -> Result<(), Error> {
        let id = self.id.take().unwrap_or_default();
        self.engine.delete_workspace(&id).await
    }

    /// Becomes a workspace like others, without the secrets of the build. Says its id.
    pub(super) async fn leave(mut self) -> Result<String, Error> {
        let id = self.id().to_owned();
        let folder = self.engine.workspace_folder(&id);
        {
            let _held = folder.lock(&id, LockMode::Exclusive).await?;
            let stored = self.engine.reload_workspace(&id)?;
            let why = "a step of a build failed in it";
            self.engine.stop_workspace(stored, why).await?;
            let store = self.engine.store()?;
            store.change_workspace(&id, |stored| stored.record.secrets.clear())?;
            let left = std::fs::remove_file(folder.secrets());
            left.or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .and_then(|()| folder.no_build())
            .map_err(|error| host_io(format!("Workspace `{id}` could not be kept"), &error))?;
        }
        self.id = None;
        Ok(id)
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let folder = self.engine.workspace_folder(&id);
        // Nobody's from here on: the next sweep removes it.
        let _ = folder.mark_as_build("");
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for (_, vm) in folder.vms() {
                    let _ = remove_vm(&vm).await;
                }
            });
        }
    }
}
