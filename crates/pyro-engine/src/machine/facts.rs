//! What the engine itself reads again in the metadata of a VM's record.

use pyro_api::values::VmRecord;

/// Names the build of the template below the VM's disk.
pub(crate) const TEMPLATE: &str = "template";

/// The folder of the tree that the VM's disk lies on.
pub(crate) const TREE: &str = "environment_tree";

/// On the record of a VM that waits, or waited.
pub(crate) const STANDBY: &str = "standby";

/// The value of [`STANDBY`] while the VM waits.
pub(crate) const WAITING: &str = "waiting";

/// The value of [`STANDBY`] once somebody has the VM.
pub(crate) const TAKEN: &str = "true";

/// Whether the record is of a VM that waits: nobody's, and no operation knows it.
pub(crate) fn is_waiting(record: &VmRecord) -> bool {
    record
        .metadata
        .get(STANDBY)
        .is_some_and(|fact| fact == WAITING)
}
