//! The interfaces: loopback always, and the NIC where the guest has one.
//!
//! Every guest has a network of its own with the same addresses in it, so the NIC is set up before
//! a guest is frozen, and costs one that is resumed nothing. What the guest may reach is decided
//! outside of it.

use std::fs;
use std::io;
use std::time::Duration;

const LOOPBACK: &str = "lo";
const NIC: &str = "eth0";

const DEVICES: &str = "/sys/bus/pci/devices";

/// A network card, to PCI.
const CLASS: &str = "0x020000";

/// How long the NIC may take to appear after its module is loaded.
const APPEAR: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);

/// Brings `lo` up, which also gives it its addresses.
pub(crate) fn bring_up_loopback() -> io::Result<()> {
    pyro_interface::bring_up(LOOPBACK)
}

/// Whether the guest was given a NIC.
pub(crate) fn has_nic() -> bool {
    let devices = fs::read_dir(DEVICES).into_iter().flatten().flatten();
    let mut classes = devices.map(|device| fs::read_to_string(device.path().join("class")));
    classes.any(|class| class.is_ok_and(|class| class.trim() == CLASS))
}

/// Whether there is a way out: a NIC of the guest's, or an interface that a sandbox was given.
pub(crate) fn is_attached() -> bool {
    has_nic() || pyro_interface::exists(NIC)
}

/// Sets the NIC up where there is one.
pub(crate) async fn set_up_nic() -> io::Result<()> {
    if !has_nic() {
        return Ok(());
    }
    let until = tokio::time::Instant::now() + APPEAR;
    while !pyro_interface::exists(NIC) {
        if tokio::time::Instant::now() >= until {
            return Err(io::Error::other("its driver has not created an interface"));
        }
        tokio::time::sleep(LOOK).await;
    }
    pyro_interface::set_up(NIC)
}
