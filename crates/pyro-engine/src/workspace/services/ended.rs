//! What the records of services say once their VM, or they themselves, have ended.

use std::fs::File;
use std::io::Read;

use pyro_api::values::{ServiceState, StopReason, more_memory};
use pyro_wire::service::{ServiceEnd, ServicePhase, ServiceState as AgentState};
use pyro_wire::shim::{KeptService, SERVICES_FOLDER, SERVICES_INDEX};

use crate::machine::folder::VmFolder;
use crate::machine::now;
use crate::store::{LogState, StoredService, StoredWorkspace};

/// An index is some hundred bytes for each of some dozen services.
const INDEX_BYTES: u64 = 1024 * 1024;

/// Characters of what was seen of a service that was not ready.
const NOT_READY: usize = 600;

/// What a VM that has ended left of its services. Empty when it had none, or went without a word.
pub(crate) fn services_left_by(vm: &VmFolder) -> Vec<KeptService> {
    let path = vm.join(SERVICES_FOLDER).join(SERVICES_INDEX);
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(INDEX_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Writes into the records that the VM of these services has ended, at that time.
pub(crate) fn mark_all_ended(stored: &mut StoredWorkspace, left: &[KeptService], at: f64) {
    for kept in left {
        if let Some(service) = stored.instance(kept.state.instance)
            && (service.record.runs() || service.log == LogState::InGuest)
        {
            apply_state(service, &kept.state, kept.at_ms as f64 / 1000.0);
            service.log = match kept.truncated {
                true => LogState::Cut,
                false => LogState::Whole,
            };
        }
    }
    stored.change_services(|services| {
        for service in services.values_mut() {
            if service.record.runs() {
                let reason = Some(StopReason::WorkspaceStopped);
                service.end(ServiceState::Stopped, reason, at);
            }
            if service.log == LogState::InGuest {
                // It is gone with the VM.
                service.log = LogState::Cut;
            }
        }
    });
}

/// Writes into a record what the agent said of its service at that time.
pub(crate) fn apply_state(service: &mut StoredService, seen: &AgentState, at: f64) {
    if seen.pid > 0 {
        service.record.pid = Some(seen.pid);
    }
    if seen.ready && service.record.ready_at.is_none() {
        service.record.ready_at = Some(at);
    }
    if seen.oom_killed {
        service.record.oom_killed = true;
        service.record.advice = Some(more_memory(service.record.mem_mib));
    }
    service.record.not_ready = match seen.ready {
        true => None,
        false => seen.not_ready.as_deref().map(without_end),
    };
    let state = match seen.phase {
        ServicePhase::Running => return,
        ServicePhase::Exited => ServiceState::Exited,
        ServicePhase::Stopped => ServiceState::Stopped,
        ServicePhase::Failed => ServiceState::Failed,
    };
    if !service.record.runs() {
        return;
    }
    let reason = seen.reason.and_then(|reason| match reason {
        ServiceEnd::ProcessExitedBeforeReady => Some(StopReason::ProcessExitedBeforeReady),
        ServiceEnd::ReadinessTimeout => Some(StopReason::ReadinessTimeout),
        ServiceEnd::Sigterm => Some(StopReason::Sigterm),
        ServiceEnd::Sigkill => Some(StopReason::Sigkill),
        ServiceEnd::WorkspaceStopped => Some(StopReason::WorkspaceStopped),
        ServiceEnd::Unknown => None,
    });
    let ago = seen.ended_ms_ago.unwrap_or_default() as f64 / 1000.0;
    service.end(state, reason, (at - ago).min(now()));
    service.record.exit_code = seen.exit_code;
}

/// As much of a guest's words as a record keeps.
fn without_end(words: &str) -> String {
    words.chars().take(NOT_READY).collect()
}
