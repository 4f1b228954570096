//! Sandboxes of gVisor on a bad day: every process of one killed, at every moment of its start; what
//! they need missing, full or forbidden; and many at once.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use pyro_tests::leftovers::processes as processes_of;
use pyro_tests::world::{Running, eventually, finish};
use pyro_tests::{World, cache, played, program};

use crate::background_command::{AT_ONCE, BackgroundCommand};
use crate::mounts::Mounts;
use crate::processes::{self, Role, assert_no_vm, descendants};
use crate::{error, records};

crate::stories![Gvisor:
    whoever_of_a_sandbox_is_killed_it_is_over_and_told,
    kills_at_any_moment_of_a_start_leave_nothing,
    a_guest_that_fills_the_hosts_disk_fails_and_leaves_nothing,
    a_guest_that_ends_itself_is_told,
    a_state_folder_on_overlayfs_works,
    a_workspace_on_a_state_folder_on_overlayfs_is_refused_and_doctor_says_what_it_is_unasked,
    a_cache_on_another_file_system_works,
    a_device_for_networks_that_is_missing_is_told,
    a_device_for_networks_that_may_not_be_opened_is_told,
    user_namespaces_that_are_forbidden_are_told,
    a_container_that_hides_parts_of_proc_is_told,
    a_container_without_the_right_to_mount_runs_sandboxes,
    a_runsc_that_is_of_no_use_is_told,
    without_a_runsc_and_a_mirror_it_is_told_who_did_not_answer,
    twenty_at_once_all_answer,
];

const FLAGS: [&str; 2] = ["--mem-mib", "256"];

fn run(world: &World, command: &str) -> Command {
    world.run(&FLAGS, [command])
}

/// The next one works, and nothing of the last is left.
fn the_next_run_works(world: &World) {
    eventually("no record is left", AT_ONCE, || {
        records::age_all(world);
        let ran = finish(&mut run(world, "echo again"));
        assert_eq!(error::none(&ran), "again\n");
        records::count(world) == 0
    });
}

fn is_there(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

fn whoever_of_a_sandbox_is_killed_it_is_over_and_told(world: &World) {
    for (role, reason) in [
        (Role::Machine, "runsc was killed by signal 9"),
        (Role::Sentry, "the guest's kernel"),
        (Role::Gofer, ""),
        (Role::Shim, ""),
    ] {
        let run = BackgroundCommand::at_work(world);
        let machine = processes::find(world, Role::Machine).as_raw();
        processes::find(world, Role::Sentry);
        let mut all = descendants(machine);
        all.extend(processes_of(&world.state_dir()));
        processes::signal(world, role, SIGKILL);
        let words = ["ended before the command did", reason, "hint: "];
        error::tells(&run.ends_at_once(), &words);
        assert_no_vm(world);
        for process in all {
            let command = &process.command;
            eventually(
                &format!("{role:?} killed: {command} is gone"),
                AT_ONCE,
                || !is_there(process.pid),
            );
        }
    }
    the_next_run_works(world);
}

fn kills_at_any_moment_of_a_start_leave_nothing(world: &World) {
    // Once, so that nothing is made for the first time.
    error::none(&finish(&mut run(world, "true")));
    for moment in 0..14 {
        let running = Running::start(&mut run(world, "sleep 1000"));
        std::thread::sleep(Duration::from_millis(moment * 25));
        let shim = processes_of(&world.state_dir())
            .into_iter()
            .find(|process| process.command.contains("pyro shim "));
        match shim {
            Some(shim) if moment % 2 == 1 => {
                // It may have ended, or not be there yet.
                let _ = kill(Pid::from_raw(shim.pid), SIGKILL);
                assert_eq!(running.wait_within(AT_ONCE).code(), 1);
            }
            _ => {
                let pid = i32::try_from(running.child.id()).unwrap();
                kill(Pid::from_raw(pid), SIGKILL).unwrap();
                running.wait_within(AT_ONCE);
            }
        }
        eventually("no process is left", AT_ONCE, || {
            processes_of(&world.state_dir()).is_empty()
        });
    }
    the_next_run_works(world);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(world.state_dir().to_str().unwrap()));
}

fn a_guest_that_fills_the_hosts_disk_fails_and_leaves_nothing(world: &World) {
    let mounts = Mounts::new().tmpfs(&world.state_dir(), "size=24m");
    let write = "dd if=/dev/urandom of=/root/big bs=1M count=64 conv=fsync; echo ended with $?";
    let look = "for moment in $(seq 100); do
        ls \"$PYRO_STATE_DIR\"/vms/* >/dev/null 2>&1 && sleep 0.1 || break
    done
    ls \"$PYRO_STATE_DIR\"/vms \"$PYRO_STATE_DIR\"/owners >&2";
    let ran = finish(&mut mounts.then(&run(world, write), look));
    assert_eq!(error::none(&ran), "ended with 1\n");
    assert!(
        ran.err().contains("No space left on device"),
        "{}",
        ran.err()
    );
    let said = ran.err();
    let (_, left) = said.split_once("/vms:\n").unwrap();
    assert!(
        !left.contains(|c: char| c.is_ascii_digit()),
        "{}",
        ran.err()
    );
}

fn a_guest_that_ends_itself_is_told(world: &World) {
    let ran = finish(&mut run(world, "kill -9 1; sleep 100"));
    error::tells(&ran, &["ended before the command did", "killed", "hint: "]);
}

/// As in a container. What a single command changes needs no layer, which could not lie there.
fn a_state_folder_on_overlayfs_works(world: &World) {
    let mounts = Mounts::new().overlay(world, &world.state_dir());
    let command = "rm -rf /usr/share/doc; mv /etc/hostname /etc/other; ls /etc/other";
    let ran = finish(&mut mounts.around(&run(world, command)));
    assert_eq!(error::none(&ran), "/etc/other\n");
}

/// What a workspace changes can lie nowhere there.
fn a_workspace_on_a_state_folder_on_overlayfs_is_refused_and_doctor_says_what_it_is_unasked(
    world: &World,
) {
    let mounts = Mounts::new().overlay(world, &world.state_dir());
    let create = world.pyro(["workspace", "create", "debian:12", "--isolation", "gvisor"]);
    error::tells(
        &finish(&mut mounts.around(&create)),
        &["on overlayfs itself", "PYRO_STATE_DIR", "`--isolation vm`"],
    );
    let doctor = finish(&mut mounts.around(&world.pyro(["doctor"])));
    let told = "[warn] isolation: runs are in gVisor unless they ask for a VM, but new workspaces are \
                in emulated VMs: the state folder is on overlayfs itself";
    assert!(doctor.out().contains(told), "{}", doctor.out());
}

/// Of the state folder's: they are never linked, renamed or reflinked into each other.
fn a_cache_on_another_file_system_works(world: &World) {
    let mounts = Mounts::new().tmpfs(&world.state_dir(), "size=64m");
    let command = "rm -rf /usr/share/doc; mv /etc/hostname /etc/other; ls /etc/other";
    let ran = finish(&mut mounts.around(&run(world, command)));
    assert_eq!(error::none(&ran), "/etc/other\n");
}

fn networked(world: &World) -> Command {
    world.run(&["--mem-mib", "256", "--network"], ["true"])
}

fn a_device_for_networks_that_is_missing_is_told(world: &World) {
    let mounts = Mounts::new().tmpfs(Path::new("/dev/net"), "size=4k");
    let ran = finish(&mut mounts.around(&networked(world)));
    error::tells(&ran, &["/dev/net/tun", "modprobe tun", "`--isolation vm`"]);
    // Without a network it is not needed.
    let ran = finish(&mut mounts.around(&run(world, "echo fine")));
    assert_eq!(error::none(&ran), "fine\n");
}

fn a_device_for_networks_that_may_not_be_opened_is_told(world: &World) {
    let closed = world.folder().join("tun");
    std::fs::write(&closed, "").unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let root = geteuid().is_root().then_some(());
    if played(root, "only root can cover a device without hiding it").is_none() {
        return;
    }
    // A file that is not the caller's root's: in the sandbox's namespace it is nobody's.
    let mounts = Mounts::new()
        .cover(Path::new("/dev/net/tun"), &closed)
        .line_of("chown 12345:12345 /dev/net/tun");
    let ran = finish(&mut mounts.around(&networked(world)));
    error::tells(&ran, &["/dev/net/tun", "chmod 666", "`--isolation vm`"]);
}

fn user_namespaces_that_are_forbidden_are_told(world: &World) {
    // In a namespace of its own, whose limit is its own.
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "sh", "-c"]);
    inside.arg("echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"");
    inside.arg("sh");
    let ran = finish(&mut program::around(inside, &run(world, "true")));
    error::tells(
        &ran,
        &["gVisor sandboxes cannot run here", "`--isolation vm`"],
    );
}

/// As Docker does unless it is told otherwise.
fn a_container_that_hides_parts_of_proc_is_told(world: &World) {
    let mounts = Mounts::new().tmpfs(Path::new("/proc/irq"), "size=4k");
    let ran = finish(&mut mounts.around(&run(world, "true")));
    error::tells(
        &ran,
        &["/proc", "systempaths=unconfined", "`--isolation vm`"],
    );
}

/// Root of a container without CAP_SYS_ADMIN still may have user namespaces.
fn a_container_without_the_right_to_mount_runs_sandboxes(world: &World) {
    let root = geteuid().is_root().then_some(());
    if played(root, "only root has rights to give up").is_none() {
        return;
    }
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set=-sys_admin,-net_admin,-sys_ptrace,-sys_module"]);
    without.args(["--inh-caps=-all", "--"]);
    let mut without = program::around(without, &run(world, "echo fine"));
    assert_eq!(error::none(&finish(&mut without)), "fine\n");
}

fn a_runsc_that_is_of_no_use_is_told(world: &World) {
    let folder = world.folder().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let with = |runsc: &Path| {
        let ran = finish(run(world, "true").env("PYRO_RUNSC", runsc));
        assert_eq!(ran.code(), 1, "{}", ran.err());
        ran
    };
    let old = folder.join("old");
    program::script(&old, "echo runsc version 0.0~20221219.0");
    error::tells(&with(&old), &["2022-12-19", "PYRO_RUNSC", "systrap"]);

    // The program of an ARM machine begins like this.
    let foreign = folder.join("foreign");
    let mut header = std::fs::read(pyro_tests::world::pyro()).unwrap();
    header.truncate(4096);
    header[18..20].copy_from_slice(&183_u16.to_le_bytes());
    std::fs::write(&foreign, header).unwrap();
    std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o755)).unwrap();
    error::tells(&with(&foreign), &["another architecture", "PYRO_RUNSC"]);

    // Says what it should, and cannot run where nothing else is.
    let script = folder.join("script");
    program::script(&script, "echo runsc version release-20251219.0");
    error::tells(&with(&script), &["static", "hint: "]);
}

fn without_a_runsc_and_a_mirror_it_is_told_who_did_not_answer(world: &World) {
    // Free, so that nobody answers there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let nothing = world.folder().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    let cached = std::fs::read_dir(cache::shared().join("linux-x86_64")).unwrap();
    let cached = cached.filter_map(Result::ok).map(|entry| entry.path());
    let mounts = cached
        .filter(|path| path.is_dir() && path.to_string_lossy().contains("/runsc-"))
        .fold(Mounts::new().without(world, "runsc"), |mounts, path| {
            mounts.cover(&path, &nothing)
        });
    let mut run = run(world, "true");
    run.env("PYRO_DEBIAN_MIRROR", format!("http://{nobody}/debian"))
        .env_remove("PYRO_RUNSC");
    let ran = finish(&mut mounts.around(&run));
    error::tells(&ran, &[&nobody.to_string(), "PYRO_RUNSC", "hint: "]);
}

fn twenty_at_once_all_answer(world: &World) {
    let running: Vec<Running> = (0..20)
        .map(|number| Running::start(&mut run(world, &format!("echo {number}"))))
        .collect();
    for (number, running) in running.into_iter().enumerate() {
        assert_eq!(error::none(&running.wait()), format!("{number}\n"));
    }
}
