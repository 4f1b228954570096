//! A world with all in it that somebody who has broken out of a VM would look for.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pyro_tests::attack::{Plan, Stranger};
use pyro_tests::leftovers::processes;
use pyro_tests::world::finish;
use pyro_tests::{World, cache, program};

use super::caller::Caller;
use crate::error;
use crate::processes::descendants;

/// The program in QEMU's place, before it knows anything.
pub(super) const ATTACKER: &str = env!("CARGO_BIN_EXE_attacker");

/// A pyro whose process of the network is the attacker.
pub(super) const IN_PYRO: &str = env!("CARGO_BIN_EXE_attacker-in-pyro");

pub(super) struct Staged<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) plan: Plan,
    folder: PathBuf,
    stranger: Child,
    /// Somebody's workspace.
    workspace: String,
    _listeners: (TcpListener, UdpSocket, UnixListener, UnixListener),
}

impl<'a> Staged<'a> {
    pub(super) fn new(world: &World, caller: Caller<'a>) -> Self {
        let folder = world.folder().to_owned();
        let home = caller.home();
        let key = home.join(".ssh/id_ed25519");
        fs::create_dir(home.join(".ssh")).unwrap();
        for (file, text) in [(&key, "a key"), (&home.join("notes"), "some notes")] {
            fs::write(file, text).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let cache = cache::copy(world);
        let image = found(&cache, &|name| name == "rootfs.ext4");
        fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();
        let bus = folder.join("bus");
        let abstract_name = format!("pyro-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let listeners = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UnixListener::bind(&bus).unwrap(),
            UnixListener::bind_addr(&address).unwrap(),
        );
        for theirs in [&home, &cache, &bus] {
            caller.give(theirs);
        }
        let program = folder.join("attacker");
        program::copy(Path::new(ATTACKER), &program);

        let variables = [
            ("PYRO_ENVIRONMENT_CACHE_DIR", cache.as_path()),
            ("PYRO_TEMPLATES", Path::new("off")),
        ];
        let create = [
            "workspace",
            "create",
            "debian:12",
            "--mem-mib=256",
            "--id-only",
        ];
        let create = [
            &create[..],
            &["--isolation=vm", "--secret", "TOKEN=hunter-2"],
        ]
        .concat();
        let workspace = error::none(&finish(&mut caller.pyro(&variables, &create)));
        let state = caller.state_dir();
        let shim = processes(&state)
            .into_iter()
            .find(|process| process.command.contains("pyro shim "));
        let shim = shim.expect("a shim").pid;
        let below = descendants(shim);
        let vmm = below
            .iter()
            .find(|process| process.command.contains("qemu-system"));
        let mut stranger = caller
            .program(&program, &[("TOKEN", Path::new("hunter-2"))], &["stranger"])
            .stdin(File::open(&key).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(stranger.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        let known: Stranger = serde_json::from_str(&told).expect(&told);

        let plan = Plan {
            from: 0,
            noise: false,
            notes: home.join("notes"),
            key,
            bus,
            abstract_name,
            tcp_port: listeners.0.local_addr().unwrap().port(),
            udp_port: listeners.1.local_addr().unwrap().port(),
            database: state.join("pyro.db"),
            secrets_key: state.join("secrets.key"),
            other_disk: found(&state, &|name| name.ends_with(".qcow2")),
            other_launch_file: found(&state, &|name| name == "launch.json"),
            other_control: found(&state, &|name| name == "control.sock"),
            other_shim: shim,
            other_vmm: vmm.expect("a VMM").pid,
            image,
            stranger: known.pid,
            stranger_memory: known.memory,
            terminal: format!("/dev/pts/{}", known.terminal).into(),
            shared_memory: known.shared_memory,
            device: device(),
            program,
            set_user_id: found(Path::new("/usr/bin"), &|name| name == "su"),
            cache,
            home,
        };
        Self {
            caller,
            plan,
            folder,
            stranger,
            workspace: workspace.trim().to_owned(),
            _listeners: listeners,
        }
    }

    /// A program of the attacker's with its plan, by this name in a folder of its own.
    pub(super) fn attacker(&self, program: &str, name: &str, from: usize) -> PathBuf {
        let plan = Plan {
            from,
            ..self.plan.clone()
        };
        with_plan(&self.folder, program, name, &plan)
    }

    /// One whose stranger is this process.
    pub(super) fn attacker_at(&self, program: &str, name: &str, stranger: i32) -> PathBuf {
        let plan = Plan {
            stranger,
            ..self.plan.clone()
        };
        with_plan(&self.folder, program, name, &plan)
    }

    /// Which signals have come to the stranger, a bit each. They stay, so that one which came without a jail
    /// counts against it.
    pub(super) fn signals(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.plan.stranger)).unwrap();
        let pending = status.lines().filter_map(|line| {
            let (name, value) = line.split_once(":\t")?;
            ["SigPnd", "ShdPnd"]
                .contains(&name)
                .then(|| u64::from_str_radix(value, 16).unwrap())
        });
        pending.fold(0, |all, some| all | some)
    }

    /// All is as it was, and goes.
    pub(super) fn over(mut self) {
        assert_eq!(fs::read_to_string(&self.plan.key).unwrap(), "a key");
        assert!(
            self.stranger.try_wait().unwrap().is_none(),
            "the stranger is gone"
        );
        let variables = [("PYRO_ENVIRONMENT_CACHE_DIR", self.plan.cache.as_path())];
        let exec = ["workspace", "exec", &self.workspace, "--", "echo alive"];
        let ran = finish(&mut self.caller.pyro(&variables, &exec));
        assert_eq!(error::none(&ran), "alive\n");
        let delete = ["workspace", "delete", &self.workspace];
        error::none(&finish(&mut self.caller.pyro(&variables, &delete)));
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        let _ = self.stranger.kill();
        let _ = self.stranger.wait();
        // After a failure the workspace is still there, and a person's is not in the world's own state.
        pyro_tests::leftovers::kill_all(&self.caller.state_dir());
    }
}

/// A program with this plan, by this name in a folder of its own.
pub(super) fn with_plan(world: &Path, program: &str, name: &str, plan: &Plan) -> PathBuf {
    let whole = plan.put_into(fs::read(program).unwrap());
    let written = world.join("with its plan");
    fs::write(&written, whole).unwrap();
    let folder = world.join("of the attacker");
    fs::create_dir_all(&folder).unwrap();
    let place = folder.join(name);
    let _ = fs::remove_file(&place);
    program::copy(&written, &place);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    place
}

/// The first file below a folder that has such a name.
fn found(below: &Path, is_it: &dyn Fn(&str) -> bool) -> PathBuf {
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            if is_it(&entry.file_name().to_string_lossy()) {
                return entry.path();
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    panic!("nothing of the kind below {}", below.display());
}

/// A device that is root's alone: the one of the root file system, where the host lets root at it.
fn device() -> PathBuf {
    let mut find = Command::new("findmnt");
    let found = finish(find.args(["--noheadings", "--output=SOURCE", "/"]));
    let disk = PathBuf::from(found.out().trim());
    let opens = |device: &PathBuf| device.starts_with("/dev") && File::open(device).is_ok();
    let others = ["/dev/mem", "/dev/kmsg"].map(PathBuf::from);
    [disk]
        .into_iter()
        .chain(others)
        .find(opens)
        .unwrap_or_else(|| "/dev/mem".into())
}
