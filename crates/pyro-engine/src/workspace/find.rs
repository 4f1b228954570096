//! From what a caller calls a workspace to its record, made true first.

use pyro_api::operations::workspace_logs::LogEvent;
use pyro_api::values::{VmState, WorkspaceListItem, WorkspaceRecord};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_wire::launch::{END_FILE, EndReason, Ended};

use super::errors::{ambiguous, unknown};
use super::folder::WorkspaceFolder;
use super::services::ended::{mark_all_ended, services_left_by};
use crate::answers;
use crate::engine::Engine;
use crate::error::is_full;
use crate::machine::folder::VmFolder;
use crate::machine::{now, shim_client};
use crate::store::StoredWorkspace;

impl Engine {
    pub(crate) fn workspace_folder(&self, id: &str) -> WorkspaceFolder {
        WorkspaceFolder::of(&self.config().state_dir, id)
    }

    /// The workspace that an id, the beginning of an id, or a name means.
    pub(crate) fn find_workspace(&self, reference: &str) -> Result<StoredWorkspace, Error> {
        let reference = reference.trim();
        let ids = self.store()?.matching_workspaces(reference)?;
        match ids.as_slice() {
            [id] => self.reload_workspace(id),
            [] => Err(unknown(reference)),
            several => Err(ambiguous(reference, several)),
        }
    }

    /// What to say about a workspace that has just got its name, when that is not its own.
    pub(crate) fn namesakes(&self, record: &WorkspaceRecord) -> Result<Option<String>, Error> {
        let Some(name) = &record.name else {
            return Ok(None);
        };
        let mut others = self.store()?.matching_workspaces(name)?;
        others.retain(|id| *id != record.workspace_id);
        Ok((!others.is_empty()).then(|| {
            format!(
                "`{name}` is also the name of {}, so the name is ambiguous now: use the id, or \
                 rename one of them (`pyro workspace update`, `workspace_update`)",
                others.join(", ")
            )
        }))
    }

    /// The record as it is now, repaired when its VM has ended without saying so here.
    pub(crate) fn reload_workspace(&self, id: &str) -> Result<StoredWorkspace, Error> {
        let stored = self.store()?.workspace(id)?.ok_or_else(|| unknown(id))?;
        self.reconcile_state(stored)?.ok_or_else(|| unknown(id))
    }

    /// The same for a record that was just read. `None`: the workspace was deleted meanwhile.
    pub(crate) fn reconcile_state(
        &self,
        stored: StoredWorkspace,
    ) -> Result<Option<StoredWorkspace>, Error> {
        if stored.record.state != VmState::Started || self.vm_of(&stored).is_alive() {
            return self.reconcile_jobs(stored).map(Some);
        }
        let id = &stored.record.workspace_id;
        let mut event = None;
        let mut over = None;
        let repaired = self.store()?.change_workspace(id, |stored| {
            // Another process may have started, reset or repaired it meanwhile.
            let folder = self.vm_of(stored);
            if stored.record.state != VmState::Started || folder.is_alive() {
                return;
            }
            let (at, why) = last_end(&folder);
            stored.record.state = VmState::Stopped;
            stored.record.stopped_because = Some(why.clone());
            mark_all_ended(stored, &services_left_by(&folder), at);
            over = Some(folder);
            event = Some(LogEvent {
                at,
                event: "stopped".to_owned(),
                detail: why,
            });
        });
        let repaired = match repaired.map_err(Error::from) {
            // A full disk may be what ended it. It can be told, if not written down.
            Err(error) if error.code == ErrorCode::NoSpace => {
                let (_, why) = last_end(&self.vm_of(&stored));
                let mut stored = stored;
                stored.record.state = VmState::Stopped;
                stored.record.stopped_because = Some(why);
                return Ok(Some(stored));
            }
            repaired => repaired?,
        };
        if let Some(folder) = over {
            self.workspace_folder(id).take_logs(&folder);
        }
        if let Some(event) = event {
            self.store()?.add_event(id, &event)?;
        }
        repaired
            .map(|repaired| self.reconcile_jobs(repaired))
            .transpose()
    }

    pub(crate) fn vm_of(&self, stored: &StoredWorkspace) -> VmFolder {
        self.workspace_folder(&stored.record.workspace_id)
            .vm(stored.generation)
    }

    /// The record as callers see it, with what only its running VM knows.
    pub(crate) async fn shown(
        &self,
        stored: StoredWorkspace,
        started: bool,
        caller: &Caller,
    ) -> WorkspaceRecord {
        let stored = match self.reconcile_services(stored.clone()).await {
            Ok(stored) => stored,
            // They can be told, if not written down.
            Err(_) => stored,
        };
        let mut record = stored.record.clone();
        record.workspace_started = started;
        if let Some(last) = &mut record.last_command {
            last.command = answers::excerpt(caller, std::mem::take(&mut last.command));
        }
        record.time_left_seconds = None;
        record.expires_at = 0.0;
        if record.state != VmState::Started {
            return record;
        }
        let status = shim_client::status(&self.vm_of(&stored)).await;
        let seen = status.map(|status| status.last_activity_ms as f64 / 1000.0);
        let now = now();
        record.last_activity_at = match stored.has_running_services() {
            // Each of them is use.
            true => now,
            false => last_activity(record.last_activity_at, seen.ok(), now),
        };
        if record.ttl_seconds > 0 {
            record.expires_at = record.last_activity_at + f64::from(record.ttl_seconds);
            record.time_left_seconds = Some((record.expires_at - now).max(0.0).round() as u64);
        }
        record
    }

    /// Somebody used the workspace just now.
    pub(crate) fn touch_workspace(&self, id: &str) -> Result<(), Error> {
        self.store()?
            .change_workspace(id, |stored| stored.record.last_activity_at = now())?;
        Ok(())
    }

    /// Notes what happened to a workspace, for its log.
    pub(crate) fn note_event(&self, id: &str, event: &str, detail: String) -> Result<(), Error> {
        self.store()?.add_event(
            id,
            &LogEvent {
                at: now(),
                event: event.to_owned(),
                detail,
            },
        )?;
        Ok(())
    }
}

/// When somebody last used a workspace: what its record says, or its VM, which counts by a clock that
/// nobody sets. A record that is ahead of the time was written before the host's clock was set back.
fn last_activity(recorded: f64, seen: Option<f64>, now: f64) -> f64 {
    match seen {
        Some(seen) if recorded > now => seen.min(now),
        Some(seen) => recorded.max(seen).min(now),
        None => recorded.min(now),
    }
}

/// When and why a VM ended.
pub(crate) fn last_end(folder: &VmFolder) -> (f64, String) {
    match tombstone(folder) {
        Some(ended) => (ended.at_ms as f64 / 1000.0, ended.message),
        None => (
            now(),
            "it ended without a report: this host was restarted, or the supervisor was killed"
                .to_owned(),
        ),
    }
}

/// How a VM ended, as its shim left it.
pub(crate) fn tombstone(folder: &VmFolder) -> Option<Ended> {
    let text = std::fs::read(folder.join(END_FILE)).unwrap_or_default();
    match serde_json::from_slice(&text) {
        Ok(ended) => Some(ended),
        // There was no room for the words either.
        Err(_) if is_full(folder.path()) => Some(Ended {
            reason: EndReason::NoSpace,
            message: "the host's disk is full".to_owned(),
            console_tail: Vec::new(),
            at_ms: (now() * 1000.0) as u64,
        }),
        Err(_) => None,
    }
}

/// A record as it appears in a list.
pub(crate) fn list_item(record: WorkspaceRecord) -> WorkspaceListItem {
    WorkspaceListItem {
        workspace_id: record.workspace_id,
        name: record.name,
        labels: record.labels,
        environment: record.environment,
        state: record.state,
        execution_mode: record.execution_mode,
        created_at: record.created_at,
        last_activity_at: record.last_activity_at,
        expires_at: record.expires_at,
        time_left_seconds: record.time_left_seconds,
        stopped_because: record.stopped_because,
        command_count: record.command_count,
        service_count: record.service_count,
        running_service_count: record.running_service_count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    #[test]
    fn a_clock_that_was_set_promises_no_time_that_there_is_not() {
        let now = 1_000_000.0;
        // The later of both, while no clock was set.
        assert_eq!(last_activity(now - 50.0, Some(now - 20.0), now), now - 20.0);
        assert_eq!(last_activity(now - 5.0, Some(now - 20.0), now), now - 5.0);
        // Set back by a day since the record was written, and on by a day.
        assert_eq!(last_activity(now + DAY, Some(now - 20.0), now), now - 20.0);
        assert_eq!(last_activity(now - DAY, Some(now - 20.0), now), now - 20.0);
        // Of a VM that does not answer, no more than can be known.
        assert_eq!(last_activity(now + DAY, None, now), now);
        assert_eq!(last_activity(now - DAY, None, now), now - DAY);
        // The clock was set between the VM's answer and the look at it.
        assert_eq!(last_activity(now - 50.0, Some(now + DAY), now), now);
    }
}
