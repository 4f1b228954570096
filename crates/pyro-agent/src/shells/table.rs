//! The shells of this guest, running or ended, until they are closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pyro_wire::fault::{Fault, FaultCode};

use super::scrollback::Scrollback;
use super::shell::Shell;
use crate::lock::lock;

const MAX_SHELLS: usize = 256;

#[derive(Default)]
pub(crate) struct Shells {
    by_id: Mutex<BTreeMap<String, Arc<Shell>>>,
    pub(super) scrollback: Arc<Scrollback>,
}

impl Shells {
    /// How long ago a shell last wrote something.
    pub(crate) fn last_use_ms(&self) -> Option<u64> {
        self.scrollback.last_output_ms()
    }

    /// The shell that an id, or the beginning of one, means.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Shell>, Fault> {
        let by_id = lock(&self.by_id);
        let mut called = by_id.range(id.to_owned()..).map(|(_, shell)| shell);
        match (called.next(), called.next()) {
            (Some(shell), _) if shell.id == id => Ok(Arc::clone(shell)),
            (Some(shell), next) if !id.is_empty() && shell.id.starts_with(id) => match next {
                Some(next) if next.id.starts_with(id) => Err(Fault::new(
                    FaultCode::Conflict,
                    format!("`{id}` matches both {} and {}", shell.id, next.id),
                )),
                _ => Ok(Arc::clone(shell)),
            },
            _ => Err(unknown(id)),
        }
    }

    pub(super) fn add(&self, shell: Arc<Shell>) -> Result<(), Fault> {
        let mut by_id = lock(&self.by_id);
        if by_id.len() >= MAX_SHELLS {
            return Err(Fault::new(
                FaultCode::Refused,
                format!("{MAX_SHELLS} shells are open already; close one"),
            ));
        }
        if by_id.contains_key(&shell.id) {
            return Err(Fault::new(
                FaultCode::Refused,
                "there is already such a shell",
            ));
        }
        by_id.insert(shell.id.clone(), shell);
        self.scrollback.set_shells(by_id.len());
        Ok(())
    }

    pub(super) fn remove(&self, id: &str) {
        let mut by_id = lock(&self.by_id);
        by_id.remove(id);
        self.scrollback.set_shells(by_id.len());
    }
}

fn unknown(id: &str) -> Fault {
    Fault::new(FaultCode::NotFound, format!("there is no shell `{id}`"))
}
