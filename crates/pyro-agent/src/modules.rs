//! Loads the kernel modules that the initramfs brings, in the order that it says.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::console;

const FOLDER: &str = "/modules";
const ORDER: &str = "/modules/order";

/// What only a guest with a NIC needs.
const NIC_MODULES: [&str; 3] = ["failover.ko", "net_failover.ko", "virtio_net.ko"];

/// Loads every module, those for a NIC where there is one. One that fails is reported and
/// skipped: it may be built into this kernel, and if it was needed, the wait for what it brings says
/// so.
pub(crate) fn load_all(with_nic: bool) {
    let order = match fs::read_to_string(ORDER) {
        Ok(order) => order,
        Err(error) => return console::report(format_args!("cannot read {ORDER}: {error}")),
    };
    for name in names(&order) {
        if !with_nic && NIC_MODULES.contains(&name) {
            continue;
        }
        if let Err(error) = load(&Path::new(FOLDER).join(name)) {
            console::report(format_args!("cannot load the module {name}: {error}"));
        }
    }
}

fn names(order: &str) -> impl Iterator<Item = &str> {
    order.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn load(path: &Path) -> io::Result<()> {
    match finit_module(File::open(path)?, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_is_one_name_a_line() {
        let names: Vec<_> = super::names("virtio.ko\n\n virtio_pci.ko \n").collect();
        assert_eq!(names, ["virtio.ko", "virtio_pci.ko"]);
    }
}
