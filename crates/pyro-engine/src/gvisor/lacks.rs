//! What gVisor's kernel lacks, told by how a command fails that needs it.
//!
//! A guess, and only a hint: the words of the command are all there is. So only what hardly anything
//! else says is here.

/// What a command says, in lower case, and what is missing when it does.
const SIGNS: &[(&str, &str)] = &[
    ("can't initialize iptables", PACKET_FILTER),
    ("failed to initialize nft", PACKET_FILTER),
    ("unable to initialize netlink socket", PACKET_FILTER),
    ("netlink error: operation not supported", PACKET_FILTER),
    ("unknown filesystem type", FILE_SYSTEMS),
    ("mount failed: operation not permitted", FILE_SYSTEMS),
    ("/dev/fuse", FILE_SYSTEMS),
    ("fuse: device not found", FILE_SYSTEMS),
    ("failed to setup loop device", BLOCK_DEVICES),
    ("cannot find an unused loop device", BLOCK_DEVICES),
    ("oci runtime", CONTAINERS),
    ("failed to create shim task", CONTAINERS),
    ("failed to start daemon", CONTAINERS),
    ("newuidmap: write to uid_map failed", CONTAINERS),
    ("unshare failed", NAMESPACES),
    ("reassociate to namespace", NAMESPACES),
    ("modprobe: fatal", MODULES),
    ("insmod: error", MODULES),
    ("could not insert module", MODULES),
    ("could not access kvm", "it has no `/dev/kvm`"),
    ("/dev/kvm", "it has no `/dev/kvm`"),
    ("perf_event_open", "it has no performance counters"),
    ("io_uring_setup", "it has no `io_uring`"),
    ("io_uring_queue_init", "it has no `io_uring`"),
    ("failed to load bpf", "it has no eBPF"),
    (
        "function not implemented",
        "it lacks a system call that was made",
    ),
];

const PACKET_FILTER: &str = "it has no packet filter such as `nft` needs";
const FILE_SYSTEMS: &str = "it mounts few kinds of file systems";
const BLOCK_DEVICES: &str = "it has no block devices";
const CONTAINERS: &str = "it does not run all that containers need";
const NAMESPACES: &str = "it has not all kinds of namespaces";
const MODULES: &str = "it has no modules";

/// What `git clone` of a local repository says whose files a layer below holds: a copy on write leaves
/// the other name of a file its old inode number.
const OTHER_INODE: &str = "hardlink different from source";

/// Whose command failed, which decides how it gets a VM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guest {
    OneShot,
    Workspace,
}

impl Guest {
    fn way_out(self) -> &'static str {
        match self {
            Self::OneShot => {
                "`--isolation vm` (`isolation`; of an MCP server, `PYRO_ISOLATION=vm`)"
            }
            Self::Workspace => {
                "create another workspace with `--isolation vm` (`isolation`; of an MCP server, \
                 `PYRO_ISOLATION=vm`), as this one stays a sandbox"
            }
        }
    }
}

/// What to do about a command that failed in a sandbox, if it seems to want a Linux kernel.
pub(crate) fn advice(guest: Guest, exit_code: i32, last_words: &str) -> Option<String> {
    if exit_code == 0 {
        return None;
    }
    let words = last_words.to_lowercase();
    let why = if words.contains(OTHER_INODE) {
        "in a sandbox a hard link to a file of the seed or environment has another inode number. \
         `git clone --no-hardlinks` needs none"
            .to_owned()
    } else {
        let (_, what) = SIGNS.iter().find(|(sign, _)| words.contains(sign))?;
        format!("gVisor's kernel is not all of Linux: {what}")
    };
    Some(format!(
        "It may have failed because {why}. A VM has a Linux kernel: {}",
        guest.way_out()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_say_that_want_a_linux_kernel_is_recognised() {
        for stderr in [
            "iptables v1.8.9 (legacy): can't initialize iptables table `filter': Table does not exist",
            "iptables/1.8.9 Failed to initialize nft: Protocol not supported",
            "mount: /mnt: mount failed: Operation not permitted.\n",
            "modprobe: FATAL: Module fuse not found in directory /lib/modules/4.4.0",
            "mount: /mnt: unknown filesystem type 'ext4'.\n",
            "unshare: unshare failed: Operation not permitted\n",
            "docker: Error response from daemon: failed to create shim task: OCI runtime create failed",
            "OSError: [Errno 38] Function not implemented",
            "mount: /mnt: failed to setup loop device for /disk.img.",
        ] {
            let advice = advice(Guest::OneShot, 1, stderr).unwrap_or_else(|| panic!("{stderr}"));
            assert!(
                advice.contains("Linux kernel: `--isolation vm` (`isolation`; "),
                "{advice}"
            );
        }
    }

    #[test]
    fn a_workspace_is_told_to_be_made_anew() {
        let words = "mount: /mnt: mount failed: Operation not permitted.\n";
        let advice = advice(Guest::Workspace, 32, words).unwrap();
        assert!(
            advice.contains("another workspace with `--isolation vm`"),
            "{advice}"
        );
    }

    #[test]
    fn a_clone_that_finds_another_inode_is_told_to_copy() {
        let words = "fatal: hardlink different from source at '/workspace/b/.git/objects/ab/cd'";
        let advice = advice(Guest::Workspace, 128, words).unwrap();
        assert!(advice.contains("`git clone --no-hardlinks`"), "{advice}");
        assert!(advice.contains("`--isolation vm`"), "{advice}");
    }

    #[test]
    fn other_failures_and_successes_get_no_advice() {
        for stderr in [
            "",
            "/bin/sh: 1: iptables: not found\n/bin/sh: 1: modprobe: not found\n",
            "bash: line 1: nope: command not found\n",
            "cat: /none: No such file or directory\n",
            "Traceback (most recent call last):\nNotImplementedError: later\n",
            "make: *** [Makefile:3: all] Error 1\n",
        ] {
            assert_eq!(advice(Guest::OneShot, 1, stderr), None, "{stderr}");
        }
        assert_eq!(
            advice(Guest::OneShot, 0, "iptables: Function not implemented"),
            None
        );
    }
}
