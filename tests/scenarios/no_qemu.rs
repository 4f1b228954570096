//! `pyro` as on a host without QEMU.

use std::process::{Command, Stdio};

use pyro_tests::World;
use pyro_tests::world::pyro;

/// `pyro` looks beyond `PATH` too, so QEMU is covered up, for this one process.
const COVER: &str = r#"for folder in /usr/local/bin /usr/bin /bin; do
        qemu=$folder/qemu-system-x86_64
        if [ -e $qemu ]; then mount --bind /dev/null $qemu; fi
    done; exec "$0" "$@""#;

pub(crate) fn without_qemu(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", COVER])
        .arg(pyro())
        .args(arguments)
        .envs(world.variables())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}
