//! What runsc is told of the sandbox: `config.json` of the OCI runtime specification, as much of it as
//! is said here.

use std::path::Path;

use serde::Serialize;

/// Among memory hogs the kernel should rather take a VM than a user's own programs.
pub(super) const OOM_SCORE: i32 = 500;

/// Where the agent is, on a file system that is no part of the disk.
pub(super) const AGENT: &str = "/run/.pyro-agent";

/// The places of the mounts that the guest's files are asked for. Where one is missing, runsc makes
/// it, on the guest's disk.
pub(super) const MOUNT_FOLDERS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// The network namespace of the sandbox's first process, which becomes runsc.
const OWN_NETWORK: &str = "/proc/1/ns/net";

/// What root in the guest may do there. All of it is asked of the guest's kernel, which is
/// gVisor's, and none of the host's.
const CAPABILITIES: [&str; 38] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config<'a> {
    oci_version: &'static str,
    hostname: &'a str,
    root: Root<'a>,
    process: Process,
    mounts: Vec<Mount<'a>>,
    linux: Linux,
}

#[derive(Serialize)]
struct Root<'a> {
    path: &'a Path,
    readonly: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: [&'static str; 2],
    env: [&'static str; 2],
    cwd: &'static str,
    capabilities: Capabilities,
    rlimits: [Limit; 1],
    oom_score_adj: i32,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Serialize)]
struct Capabilities {
    bounding: &'static [&'static str],
    effective: &'static [&'static str],
    permitted: &'static [&'static str],
}

#[derive(Serialize)]
struct Limit {
    #[serde(rename = "type")]
    kind: &'static str,
    soft: u64,
    hard: u64,
}

#[derive(Serialize)]
struct Mount<'a> {
    destination: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'a Path,
    options: Vec<String>,
}

#[derive(Serialize)]
struct Linux {
    namespaces: [Namespace; 5],
}

#[derive(Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'static str>,
}

impl<'a> Config<'a> {
    /// A sandbox whose disk is mounted at `root`, with `agent` as its first process. With a network
    /// it takes over the interfaces of the namespace that runsc is started in.
    pub(super) fn new(
        hostname: &'a str,
        root: &'a Path,
        agent: &'a Path,
        has_network: bool,
        mem_mib: u32,
    ) -> Self {
        Self {
            oci_version: "1.0.2",
            hostname,
            root: Root {
                path: root,
                readonly: false,
            },
            process: Process {
                terminal: false,
                user: User { uid: 0, gid: 0 },
                args: [AGENT, "--sandbox"],
                env: [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME=/root",
                ],
                cwd: "/",
                capabilities: Capabilities {
                    bounding: &CAPABILITIES,
                    effective: &CAPABILITIES,
                    permitted: &CAPABILITIES,
                },
                // As Linux has them for its first process.
                rlimits: [Limit {
                    kind: "RLIMIT_NOFILE",
                    soft: 1024,
                    hard: 524_288,
                }],
                oom_score_adj: OOM_SCORE,
            },
            mounts: mounts(agent, mem_mib),
            linux: Linux {
                namespaces: ["pid", "network", "ipc", "uts", "mount"].map(|kind| Namespace {
                    kind,
                    path: (has_network && kind == "network").then_some(OWN_NETWORK),
                }),
            },
        }
    }
}

/// As the agent of a VM mounts them. `/tmp` is on the disk, for what is there may be large; what is in
/// memory may take half of it each, as Linux has it.
fn mounts(agent: &Path, mem_mib: u32) -> Vec<Mount<'_>> {
    let mount = |destination, kind: &'static str, options: &[&str]| Mount {
        destination,
        kind,
        source: Path::new(kind),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    };
    let half = format!("size={}k", u64::from(mem_mib) * 1024 / 2);
    vec![
        mount("/proc", "proc", &["nosuid", "nodev", "noexec"]),
        mount("/sys", "sysfs", &["nosuid", "nodev", "noexec"]),
        mount("/dev", "tmpfs", &["nosuid", "mode=755", &half]),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "gid=5",
                "mode=620",
                "ptmxmode=666",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "nodev", "mode=1777", &half],
        ),
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755", &half]),
        Mount {
            destination: AGENT,
            kind: "bind",
            source: agent,
            options: ["bind", "ro"].map(str::to_owned).into(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn it_is_what_the_specification_calls_it() {
        let config = Config::new("box", Path::new("/disk"), Path::new("/agent"), false, 512);
        let config: Value = serde_json::to_value(config).unwrap();
        assert_eq!(config["ociVersion"], "1.0.2");
        assert_eq!(
            config["root"],
            json!({ "path": "/disk", "readonly": false })
        );
        assert_eq!(
            config["process"]["args"],
            json!(["/run/.pyro-agent", "--sandbox"])
        );
        assert_eq!(config["process"]["oomScoreAdj"], 500);
        let mounts = config["mounts"].as_array().unwrap();
        let agent = mounts.last().unwrap();
        assert_eq!(
            (&agent["type"], &agent["source"]),
            (&json!("bind"), &json!("/agent"))
        );
        let in_memory: Vec<_> = mounts
            .iter()
            .filter(|mount| mount["type"] == "tmpfs")
            .collect();
        assert_eq!(in_memory.len(), 3);
        for mount in in_memory {
            let options = mount["options"].as_array().unwrap();
            assert!(options.contains(&json!("size=262144k")), "{mount}");
        }
        assert!(mounts.iter().all(|mount| mount["destination"] != "/tmp"));
    }
}
