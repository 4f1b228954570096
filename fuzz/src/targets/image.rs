//! A disk image that a guest wrote, read without its VM.

use pyro_disk::layers::Format;

use super::walk::walk;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "image",
    play: |bytes| walk(bytes, Format::Raw),
    seeds: || seeds::made_by_tools("image"),
    mend: |_| {},
    inputs: 5_000,
};
