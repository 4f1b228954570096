//! What the engine itself reads or writes again in the metadata of a record.

use pyro_api::values::VmRecord;
use pyro_wire::jail::Walls;
use pyro_wire::launch::Running;

use super::isolation::VmKind;

/// What the disk of the VM's environment hashed to when the VM was made of it.
pub(crate) const ENVIRONMENT_DIGEST: &str = "environment_digest";

/// Where that environment lies.
pub(crate) const INSTALL_DIR: &str = "environment_install_dir";

/// Names the build of the template below the VM's disk.
pub(crate) const TEMPLATE: &str = "template";

/// The folder of the tree that the VM's disk lies on.
pub(crate) const TREE: &str = "environment_tree";

/// What keeps the commands of the VM apart from this host: `vm`, `gvisor` or `none`.
pub(crate) const ISOLATION: &str = "isolation";

/// Why it is that.
pub(crate) const ISOLATION_REASON: &str = "isolation_reason";

/// What kernel the VM booted: `uncompressed`, or `compressed` and perhaps why. A resumed one booted none.
pub(crate) const BOOTED_KERNEL: &str = "booted_kernel";

/// How long the guest took to answer. On the record of each VM that ever did.
pub(crate) const BOOT_MS: &str = "boot_ms";

/// The walls that stand around the VM's QEMU.
const JAIL: &str = "jail";

/// The walls that do not, and why.
const JAIL_GAPS: &str = "jail_gaps";

/// What is told of the walls around QEMU, each where there is something to tell.
pub(crate) fn of_jail(running: &Running) -> [(&'static str, Option<String>); 2] {
    let told = |tell: fn(&Walls) -> String| {
        let told = running.walls.as_ref().map(tell);
        told.filter(|words| !words.is_empty())
    };
    [(JAIL, told(Walls::names)), (JAIL_GAPS, told(Walls::gaps))]
}

/// Whether a start of this VM ever came to its end. What an agent has noted on its disk is then its own; after
/// one that failed half-way it may still be another guest's, as a kept environment has it.
pub(crate) fn has_answered(record: &VmRecord) -> bool {
    record.metadata.contains_key(BOOT_MS)
}

/// On the record of a VM that waits, or waited.
pub(crate) const STANDBY: &str = "standby";

/// The value of [`STANDBY`] while the VM waits.
pub(crate) const WAITING: &str = "waiting";

/// The value of [`STANDBY`] once somebody has the VM.
pub(crate) const TAKEN: &str = "true";

/// Whether the record is of a VM of this kind.
pub(crate) fn is_of_kind(record: &VmRecord, kind: VmKind) -> bool {
    let fact = record.metadata.get(ISOLATION);
    fact.is_some_and(|fact| fact == kind.name())
}

/// Whether the record is of a VM that waits: nobody's, and no operation knows it.
pub(crate) fn is_waiting(record: &VmRecord) -> bool {
    record
        .metadata
        .get(STANDBY)
        .is_some_and(|fact| fact == WAITING)
}
