//! A machine's state without its memory, into a file and out of it.
//!
//! QEMU calls that migration. The memory stays where it is: in a file of its own, which the
//! capability `x-ignore-shared` leaves out of the state. The state's file is handed over as a
//! descriptor, because the sandbox forbids QEMU to start programs and older ones know no `file:`.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::qmp::{Qmp, QmpError};

/// The name under which QEMU keeps the descriptor.
const STATE: &str = "state";

/// How often it is asked whether it has finished; the whole takes some ten milliseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Writes the state of a guest that was stopped.
pub(super) async fn save(qmp: &mut Qmp, devices: BorrowedFd<'_>) -> Result<(), QmpError> {
    pass_descriptor(qmp, devices).await?;
    let uri = json!({ "uri": format!("fd:{STATE}") });
    qmp.ask("migrate", uri).await?;
    finished(qmp, "migrate").await
}

/// Reads a state into a machine that waits for one. The guest stands still afterwards.
pub(super) async fn load(qmp: &mut Qmp, devices: BorrowedFd<'_>) -> Result<(), QmpError> {
    pass_descriptor(qmp, devices).await?;
    let uri = json!({ "uri": format!("fd:{STATE}") });
    qmp.ask("migrate-incoming", uri).await?;
    finished(qmp, "migrate-incoming").await
}

async fn pass_descriptor(qmp: &mut Qmp, devices: BorrowedFd<'_>) -> Result<(), QmpError> {
    let leave_memory = json!({ "capability": "x-ignore-shared", "state": true });
    let capabilities = json!({ "capabilities": [leave_memory] });
    qmp.ask("migrate-set-capabilities", capabilities).await?;
    let name = json!({ "fdname": STATE });
    qmp.ask_with("getfd", name, Some(devices)).await?;
    Ok(())
}

async fn finished(qmp: &mut Qmp, command: &str) -> Result<(), QmpError> {
    loop {
        let state = qmp.ask("query-migrate", json!({})).await?;
        match state["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                return Err(QmpError::Refused {
                    command: command.into(),
                    reason: reason(&state["error-desc"]),
                });
            }
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}

fn reason(error: &Value) -> String {
    error.as_str().unwrap_or("it failed").to_owned()
}
