//! What the agent says of a shell, as callers see it.

use pyro_api::values::{ShellRecord, ShellState, more_memory};
use pyro_wire::shells::Shell;

use crate::store::StoredWorkspace;

pub(crate) fn record(stored: &StoredWorkspace, shell: &Shell) -> ShellRecord {
    let mem_mib = stored.record.mem_mib;
    ShellRecord {
        workspace_id: stored.record.workspace_id.clone(),
        shell_id: shell.id.clone(),
        cwd: String::from_utf8_lossy(&shell.cwd).into_owned(),
        cols: shell.size.cols.into(),
        rows: shell.size.rows.into(),
        state: match shell.end {
            None => ShellState::Running,
            Some(_) => ShellState::Stopped,
        },
        started_at: seconds(shell.started_ms),
        ended_at: shell.end.map(|end| seconds(end.at_ms)),
        exit_code: shell.end.map(|end| end.exit_code),
        oom_killed: shell.oom_killed,
        mem_mib,
        advice: shell.oom_killed.then(|| more_memory(mem_mib)),
        ended_by_signal: shell.end.and_then(|end| end.signal),
        execution_mode: stored.record.execution_mode,
    }
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}
