//! What a sandbox may take of the host, beside the processors that it is kept to.
//!
//! gVisor limits nothing itself. Two things see to it, both where no guest reaches:
//!
//! ```text
//! control group   the kernel's (`backend::control_group`): memory, processes and processors, where the user was given one
//! guard           looks, always: memory and the last space of the host's disk
//! ```
//!
//! | module | subject |
//! |---|---|
//! | `allowance` | how much is too much |
//! | `sentry` | what a sandbox takes, as the host's kernel counts it |
//! | `guard` | looks, asks the guest's agent to free memory, and ends the sandbox |
//! | `tasks` | how many processes of the host's a sandbox may be |

use crate::backend::control_group;

pub(super) mod allowance;
pub(super) mod guard;
mod sentry;
pub(super) mod tasks;

/// What holds a sandbox whose control group the kernel limits.
pub(super) const LIMITED: &str = "a control group limits its memory and processes";

/// And one without.
pub(super) const WATCHED: &str =
    "its memory and disk are watched, not limited by the host's kernel";

/// Which of the two sandboxes get here.
pub(super) fn how() -> &'static str {
    let limits = control_group::Limits {
        memory: 1 << 30,
        tasks: 1 << 10,
        processors: 1,
    };
    match control_group::ControlGroup::make(&limits) {
        Ok(_) => LIMITED,
        Err(_) => WATCHED,
    }
}
