//! Commands in VMs that waited: resumed beforehand, kept by a long-lived owner (an engine in
//! process), taken and replaced.

use super::contender::{Contender, Errand, Goal, League};

pub(crate) fn contenders() -> Vec<Contender> {
    Errand::ALL
        .into_iter()
        .map(|errand| {
            Contender::missing(
                format!("engine in process: run `{errand}` in a VM from standby"),
                "this engine keeps no VMs waiting",
            )
            .league(League::Fresh(errand))
            .goal((errand == Errand::True).then_some(Goal::Ratio(0.2)))
        })
        .collect()
}
