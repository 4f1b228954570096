//! The secrets of a workspace on the host: read once at create, kept sealed in its folder, put into
//! the guest whenever its VM has started and before anything runs there. See `docs/secrets.md`.
//!
//! ```text
//! input ──create──▶ sealed file ──every start──▶ InstallSecrets ▶ guest
//!                        └──────every command──▶ redactor of what is shown
//! ```

mod input;
mod key;
mod plain;
mod redactor;
mod sealed;

use std::time::Duration;

use pyro_api::values::SecretEnv;
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::frame;
use pyro_wire::secrets::InstallSecrets;
use tokio::time::timeout;

use super::errors::{refused, shim_unreachable};
use super::find::tombstone;
use crate::engine::Engine;
use crate::error::cancelled;
use crate::machine::folder::VmFolder;
use crate::machine::shim_client;
use crate::store::StoredWorkspace;

pub(crate) use input::SecretsInput;
pub(crate) use plain::PlainSecrets;
pub(crate) use redactor::Redactor;

/// How long a guest may take to write some files into its memory.
const ANSWER: Duration = Duration::from_secs(60);

impl Engine {
    /// Seals the secrets of a new workspace, whose folder is there.
    pub(crate) fn keep_secrets(&self, id: &str, given: &SecretsInput) -> Result<(), Error> {
        if given.is_empty() {
            return Ok(());
        }
        let key = key::get_or_make(&self.config().state_dir)?;
        sealed::write(
            &self.workspace_folder(id).secrets(),
            id,
            &key,
            given.opened(),
        )
    }

    /// Opens the sealed file. `None`: there are none, or nobody can read them any more.
    pub(crate) fn unseal_secrets(
        &self,
        stored: &StoredWorkspace,
    ) -> Result<Option<PlainSecrets>, Error> {
        if stored.record.secrets.is_empty() {
            return Ok(None);
        }
        let id = &stored.record.workspace_id;
        let Some(key) = key::get(&self.config().state_dir)? else {
            return Ok(None);
        };
        sealed::read(&self.workspace_folder(id).secrets(), id, &key)
    }

    /// What a VM that is about to start must be given. Nobody is kept from the files of a workspace
    /// whose secrets are lost: it starts without them, and says so.
    pub(crate) fn secrets_for_start(
        &self,
        stored: &StoredWorkspace,
        caller: &Caller,
    ) -> Result<Option<PlainSecrets>, Error> {
        let opened = self.unseal_secrets(stored)?;
        if opened.is_none() && !stored.record.secrets.is_empty() {
            let id = &stored.record.workspace_id;
            let words = "its secrets can no longer be read, so it runs without them: their file or \
                         `secrets.key` in the state folder was changed or removed";
            caller
                .emit(Event::Note(format!("Workspace `{id}`: {words}")))
                .map_err(|_| cancelled())?;
            self.note_event(id, "secrets_lost", words.to_owned())?;
        }
        Ok(opened)
    }

    /// Refuses to show a command a secret that the workspace does not have. Asked before a VM is
    /// started for nothing.
    pub(crate) fn check_secret_env(
        &self,
        stored: &StoredWorkspace,
        wanted: &SecretEnv,
    ) -> Result<(), Error> {
        let known = &stored.record.secrets;
        let unknown = |(name, _): &&(String, String)| known.iter().all(|one| one.name != *name);
        let Some((name, _)) = wanted.pairs().iter().find(unknown) else {
            return Ok(());
        };
        let names: Vec<&str> = known.iter().map(|secret| secret.name.as_str()).collect();
        let error = Error::invalid(format!(
            "Workspace `{}` has no secret `{name}`",
            stored.record.workspace_id
        ))
        .because(match names.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", names.join(", ")),
        })
        .hint("Secrets are set when a workspace is created");
        Err(self.redacted_error(stored, error))
    }

    /// Puts secrets into a guest that has just started.
    pub(crate) async fn install_secrets(
        &self,
        id: &str,
        vm: &VmFolder,
        opened: PlainSecrets,
    ) -> Result<(), Error> {
        let doing = "take its secrets";
        let mut line = shim_client::agent(vm)
            .await
            .map_err(|error| shim_unreachable(id, doing, &error))?;
        let PlainSecrets { secrets, _no_cores } = opened;
        let request = AgentRequest::InstallSecrets(InstallSecrets { secrets });
        let exchange = async {
            frame::write_wiped(&mut line, &request).await?;
            frame::read_message(&mut line).await
        };
        match timeout(ANSWER, exchange).await {
            Ok(Ok(AgentReply::Done)) => Ok(()),
            Ok(Ok(AgentReply::Failed(fault))) => Err(refused(
                format!("The secrets of workspace `{id}` could not be passed to its guest"),
                fault,
            )),
            Ok(Ok(AgentReply::Ready(_) | AgentReply::Used { .. }) | Err(_)) => {
                Err(self.went_away(id, doing, tombstone(vm)))
            }
            Err(_) => Err(Error::new(
                ErrorCode::VmDied,
                format!("The guest of workspace `{id}` did not {doing}"),
            )
            .because(format!("it did not answer within {} s", ANSWER.as_secs()))
            .hint("Try again when this host is less busy")),
        }
    }
}
