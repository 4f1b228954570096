//! Hosts on which a jail is not made as usual: each wall that is missing is named, and nothing hangs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_tests::attack::Lack;
use pyro_tests::world::finish;
use pyro_tests::{World, played, program};

use super::staged::ATTACKER;
use crate::error;
use crate::mounts::Mounts;
use crate::unprivileged_user::Person;
use crate::users::shared;

crate::stories![Vm:
    without_namespaces_a_vm_runs_and_doctor_says_so,
    without_landlock_a_vm_runs_and_doctor_says_so,
    without_a_gate_a_vm_runs_and_doctor_says_so,
    without_filters_of_system_calls_it_is_told,
    a_strict_sandbox_has_no_network_with_a_wall_missing,
    a_state_folder_behind_a_link_works,
    a_qemu_of_another_prefix_works,
    processes_hidden_from_each_other_are_no_hindrance,
];

fn run(world: &World) -> Command {
    let mut run = world.run(&["--mem-mib=256"], ["echo fine"]);
    run.env("PYRO_TEMPLATES", "off");
    run
}

fn without_namespaces_a_vm_runs_and_doctor_says_so(world: &World) {
    runs_without(world, Lack::Namespaces, "namespaces");
}

fn without_landlock_a_vm_runs_and_doctor_says_so(world: &World) {
    runs_without(world, Lack::Landlock, "landlock");
}

fn without_a_gate_a_vm_runs_and_doctor_says_so(world: &World) {
    runs_without(world, Lack::Notification, "gate");
}

fn runs_without(world: &World, lack: Lack, wall: &str) {
    let lacking = |command: &Command| finish(&mut lack.around(Path::new(ATTACKER), command));
    assert_eq!(error::none(&lacking(&run(world))), "fine\n");
    let refused = lacking(run(world).env("PYRO_JAIL", "strict"));
    error::tells(&refused, &["PYRO_JAIL", wall]);
    // No template is at fault.
    for wrong in ["Try again", "could not be resumed"] {
        assert!(!refused.err().contains(wrong), "{}", refused.err());
    }
    let doctor = error::none(&lacking(&world.pyro(["doctor"])));
    let line = doctor.lines().find(|line| line.contains("[warn] jail"));
    assert!(line.is_some_and(|line| line.contains(wall)), "{doctor}");
}

/// The walls around a sandbox are gVisor's own; around its network's process they are pyro's.
fn a_strict_sandbox_has_no_network_with_a_wall_missing(world: &World) {
    let sandbox = |jail: &str| {
        let mut run = world.run(
            &["--mem-mib=256", "--isolation=gvisor", "--network"],
            ["echo fine"],
        );
        run.env("PYRO_JAIL", jail);
        finish(&mut Lack::Landlock.around(Path::new(ATTACKER), &run))
    };
    assert_eq!(error::none(&sandbox("auto")), "fine\n");
    error::tells(&sandbox("strict"), &["PYRO_JAIL", "landlock", "network"]);
}

/// QEMU does not start without its own.
fn without_filters_of_system_calls_it_is_told(world: &World) {
    let lacking =
        |command: &Command| finish(&mut Lack::Seccomp.around(Path::new(ATTACKER), command));
    error::tells(&lacking(&run(world)), &["CONFIG_SECCOMP_FILTER", "hint: "]);
    let doctor = lacking(&world.pyro(["doctor"]));
    let is_told =
        |line: &str| line.starts_with("  [FAIL] jail: ") && line.contains("CONFIG_SECCOMP_FILTER");
    assert!(doctor.out().lines().any(is_told), "{}", doctor.out());
}

fn a_state_folder_behind_a_link_works(world: &World) {
    let link = world.folder().join("link");
    fs::create_dir(world.state_dir()).unwrap();
    symlink(world.state_dir(), &link).unwrap();
    let ran = finish(run(world).env("PYRO_STATE_DIR", link));
    assert_eq!(error::none(&ran), "fine\n");
}

/// With its modules and one of its libraries, neither of which is where it is by default.
fn a_qemu_of_another_prefix_works(world: &World) {
    const MODULES: &str = "/usr/lib/x86_64-linux-gnu/qemu";
    const QEMU: &str = "/usr/bin/qemu-system-x86_64";
    let prefix = world.folder().join("prefix");
    let linked = finish(Command::new("ldd").arg(QEMU));
    let library = linked
        .out()
        .split_whitespace()
        .find(|word| word.starts_with('/') && word.contains("/libfdt.so"))
        .map(|library| PathBuf::from(library).canonicalize().unwrap());
    let why = "QEMU is not where Debian has it, or not made as there";
    let Some(library) = played(library.filter(|_| Path::new(MODULES).exists()), why) else {
        return;
    };
    let name = library.file_name().unwrap().to_str().unwrap();
    // As it is asked for: `libfdt.so.1`, of `libfdt-1.7.0.so` or `libfdt.so.1.7.0`.
    assert!(name.starts_with("libfdt"), "{name}");
    for (from, to) in [
        (Path::new(QEMU), "bin/qemu-system-x86_64"),
        (Path::new(MODULES), "modules"),
        (&library, "lib/libfdt.so.1"),
    ] {
        let to = prefix.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let mut copy = Command::new("cp");
        let ran = finish(
            copy.args(["--recursive", "--dereference"])
                .args([from, &to]),
        );
        assert_eq!(ran.code(), 0, "{}", ran.err());
    }
    let (no_folder, no_file) = (world.folder().join("nothing"), world.folder().join("none"));
    fs::create_dir(&no_folder).unwrap();
    fs::write(&no_file, "").unwrap();
    let mounts = Mounts::new()
        .cover(Path::new(MODULES), &no_folder)
        .cover(&library, &no_file);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [prefix.join("bin")]
        .into_iter()
        .chain(std::env::split_paths(&path));
    let mut run = run(world);
    run.env("PATH", std::env::join_paths(folders).unwrap())
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .env("QEMU_MODULE_DIR", prefix.join("modules"));
    assert_eq!(error::none(&finish(&mut mounts.around(&run))), "fine\n");
    // Or it was another one that ran.
    program::script(&prefix.join("bin/qemu-system-x86_64"), "exit 1");
    assert_ne!(finish(&mut mounts.around(&run)).code(), 0);
}

fn processes_hidden_from_each_other_are_no_hindrance(world: &World) {
    let person = Person::of(world);
    let (cache, mounts) = shared(world);
    let mounts = mounts.line_of("mount -t proc -o hidepid=2 proc /proc");
    let variables = [
        ("PYRO_ENVIRONMENT_CACHE_DIR", cache.as_path()),
        ("PYRO_TEMPLATES", Path::new("off")),
        // With all walls.
        ("PYRO_JAIL", Path::new("strict")),
    ];
    let run = [
        "run",
        "debian:12",
        "--isolation=vm",
        "--mem-mib=256",
        "--",
        "echo fine",
    ];
    let ran = finish(&mut mounts.around(&person.pyro_with(&variables, run)));
    assert_eq!(error::none(&ran), "fine\n");
}
