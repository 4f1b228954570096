//! What `pyro doctor` says of gVisor. Nothing here keeps VMs from running, so nothing is worse than a
//! warning.

use pyro_api::operations::doctor::{Check, Gvisor, Outcome};
use pyro_namespace::IdMap;

use crate::engine::Engine;
use crate::error::catalog_failed;

/// Name of the check.
const NAME: &str = "gvisor";

impl Engine {
    /// Whether sandboxes run here, tried with the `runsc` that is here: nothing is fetched.
    pub(crate) async fn check_gvisor(&self, checks: &mut Vec<Check>) -> Gvisor {
        let (gvisor, fix) = self.diagnose().await;
        checks.push(Check {
            name: NAME.to_owned(),
            outcome: match gvisor.runs_sandboxes {
                Some(false) => Outcome::Warning,
                Some(true) | None => Outcome::Ok,
            },
            detail: in_words(&gvisor),
            fix,
        });
        gvisor
    }

    async fn diagnose(&self) -> (Gvisor, Option<String>) {
        let runsc = match self.installed_runsc() {
            Ok(Some(runsc)) => runsc,
            Ok(None) => {
                return (
                    not_tried("no `runsc` is here yet: the first sandbox fetches Debian's"),
                    None,
                );
            }
            Err(error) => {
                let error = catalog_failed(error);
                let reason = error.causes.join(": ");
                return (lacks(reason), error.hint);
            }
        };
        let named = |gvisor: Gvisor| Gvisor {
            runsc: Some(runsc.path.display().to_string()),
            version: Some(runsc.version.clone()),
            released: Some(runsc.released.clone()),
            origin: Some(runsc.origin.as_str().to_owned()),
            ..gvisor
        };
        if let Err(error) = IdMap::of_caller() {
            return (
                named(lacks(error.to_string())),
                error.fix().map(str::to_owned),
            );
        }
        match self.probe_sandbox(&runsc.path).await {
            Ok(probe) => {
                let gvisor = Gvisor {
                    runs_sandboxes: Some(probe.runs),
                    reason: probe.reason,
                    ..Gvisor::default()
                };
                (named(gvisor), probe.fix)
            }
            Err(reason) => (named(not_tried(&reason)), None),
        }
    }
}

/// `/usr/bin/runsc 0.0~20240729.0 (path): gVisor ran a probe sandbox`.
fn in_words(gvisor: &Gvisor) -> String {
    let reason = &gvisor.reason;
    match (&gvisor.runsc, &gvisor.version, &gvisor.origin) {
        (Some(runsc), Some(version), Some(origin)) => {
            format!("{runsc} {version} ({origin}): {reason}")
        }
        _ => reason.clone(),
    }
}

fn lacks(reason: String) -> Gvisor {
    Gvisor {
        runs_sandboxes: Some(false),
        reason,
        ..Gvisor::default()
    }
}

fn not_tried(reason: &str) -> Gvisor {
    Gvisor {
        reason: reason.to_owned(),
        ..Gvisor::default()
    }
}
