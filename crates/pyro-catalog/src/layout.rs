//! Names of the files below an environment's, a kernel's and a `runsc`'s directory in the cache.

pub(crate) const ENVIRONMENT_FILE: &str = "environment.json";
pub(crate) const ROOTFS_FILE: &str = "rootfs.ext4";

pub(crate) const KERNEL_FILE: &str = "kernel.json";
pub(crate) const KERNEL_IMAGE_FILE: &str = "vmlinuz";
/// What the kernel image unpacks into; no kernel has it from the start.
pub(crate) const VMLINUX_FILE: &str = "vmlinux";
pub(crate) const MODULES_DIR: &str = "modules";
/// Lists the modules' file names, one a line, in load order.
pub(crate) const MODULE_ORDER_FILE: &str = "order";

pub(crate) const RUNSC_FILE: &str = "runsc.json";
pub(crate) const RUNSC_PROGRAM_FILE: &str = "runsc";
