//! A disk layer that a guest may have had damaged, over nothing.

use pyro_disk::layers::Format;

use super::walk::walk;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "layer",
    play: |bytes| walk(bytes, Format::Qcow2),
    seeds: || seeds::made_by_tools("layer"),
    mend: |_| {},
    inputs: 5_000,
};
