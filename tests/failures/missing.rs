//! Programs that are not there, are broken, or are not what they seem.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_tests::world::finish;
use pyro_tests::{World, program};

use crate::error;
use crate::mounts::Mounts;

crate::stories![Vm:
    without_qemu_the_way_out_is_named,
    without_qemu_the_host_is_used_only_when_asked,
    without_qemu_doctor_says_what_to_install,
    without_mmdebstrap_a_pull_names_its_package,
    without_a_mirror_a_pull_says_what_it_could_not_reach,
    without_an_agent_pyro_says_where_it_looked,
    an_agent_that_needs_a_loader_is_refused,
    an_agent_that_is_no_program_is_refused,
    what_a_broken_qemu_says_is_shown,
    a_silent_qemu_is_given_a_second_try_and_up,
    a_pyro_binary_that_is_not_there_is_told,
];

mod on_the_host {
    use super::*;
    crate::stories![Process: a_missing_agent_is_told, a_silent_agent_is_given_up];
}

/// A program of a few lines, below the world's folder.
pub(crate) fn script(world: &World, name: &str, lines: &str) -> PathBuf {
    let folder = world.folder().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    program::script(&path, lines);
    path
}

fn run(world: &World, flags: &[&str]) -> Command {
    let flags: Vec<&str> = flags.iter().copied().chain(["--mem-mib", "256"]).collect();
    world.run(&flags, ["echo fine"])
}

/// A run whose QEMU is a script.
fn with_qemu(world: &World, flags: &[&str], lines: &str) -> Command {
    let mut run = run(world, flags);
    broken_qemu(world, lines, &mut run);
    run
}

/// Gives a command a script for QEMU.
pub(crate) fn broken_qemu<'a>(
    world: &World,
    lines: &str,
    command: &'a mut Command,
) -> &'a mut Command {
    let folder = script(world, "qemu-system-x86_64", lines);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folder.parent().map(Path::to_owned).into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap();
    // Nothing about this QEMU is to be remembered in the cache.
    command.env("PATH", path).env("PYRO_ACCELERATOR", "tcg")
}

fn without_qemu(world: &World) -> Mounts {
    Mounts::new().without(world, "qemu-system-x86_64")
}

fn without_qemu_the_way_out_is_named(world: &World) {
    let mounts = without_qemu(world);
    let ran = finish(&mut mounts.around(&run(world, &["--json"])));
    error::has_code(&ran, "vm_unavailable");
    error::tells(
        &finish(&mut mounts.around(&run(world, &[]))),
        &[
            "qemu-system-x86_64",
            "apt-get install qemu-system-x86",
            "`--allow-host-compat`",
            "`allow_host_compat=True`",
        ],
    );
}

fn without_qemu_the_host_is_used_only_when_asked(world: &World) {
    let ran = finish(&mut without_qemu(world).around(&run(world, &["--allow-host-compat"])));
    assert_eq!(error::none(&ran), "fine\n");
    assert!(
        ran.err().contains("execution_mode=host_compat"),
        "{}",
        ran.err()
    );
    assert!(ran.err().contains("accelerator=none"), "{}", ran.err());
}

fn without_qemu_doctor_says_what_to_install(world: &World) {
    let ran = finish(&mut without_qemu(world).around(&world.pyro(["doctor", "--json"])));
    assert_eq!(ran.code(), 1);
    let diagnosis = ran.json();
    assert_eq!(diagnosis["runtime_ok"], false);
    let issues = diagnosis["issues"].to_string();
    assert!(
        issues.contains("apt-get install qemu-system-x86"),
        "{issues}"
    );
}

fn without_mmdebstrap_a_pull_names_its_package(world: &World) {
    let cache = world.folder().join("cache");
    let mounts = Mounts::new().without(world, "mmdebstrap");
    for words in [
        &["env", "pull", "debian:12", "--json"][..],
        &["run", "debian:12", "--json", "--", "true"],
    ] {
        let mut command = world.pyro(words);
        command.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache);
        let ran = finish(&mut mounts.around(&command));
        error::has_code(&ran, "tool_missing");
        let said = ran.out();
        assert!(said.contains("apt-get install mmdebstrap"), "{said}");
    }
    assert_nothing_half_made(&cache);
}

fn without_a_mirror_a_pull_says_what_it_could_not_reach(world: &World) {
    let cache = world.folder().join("cache");
    // Free, so that nobody answers there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let mut pull = world.pyro(["env", "pull", "debian:12-base", "--json"]);
    pull.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache)
        .env("PYRO_DEBIAN_MIRROR", format!("http://{nobody}/debian"));
    let ran = finish(&mut pull);
    error::has_code(&ran, "pull_failed");
    assert!(ran.out().contains(&nobody.to_string()), "{}", ran.out());
    assert_nothing_half_made(&cache);
}

/// The cache holds at most its lock files.
pub(crate) fn assert_nothing_half_made(cache: &Path) {
    let entries = fs::read_dir(cache.join("linux-x86_64"))
        .into_iter()
        .flatten();
    let left: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().starts_with(".lock-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn without_an_agent_pyro_says_where_it_looked(world: &World) {
    let ran = finish(run(world, &["--json"]).env("PYRO_AGENT", "/nonexistent/agent"));
    error::has_code(&ran, "tool_missing");
    assert!(ran.out().contains("/nonexistent/agent"), "{}", ran.out());
}

fn an_agent_that_needs_a_loader_is_refused(world: &World) {
    // Any program of the distribution will do.
    let ran = finish(run(world, &["--json"]).env("PYRO_AGENT", "/bin/sh"));
    error::has_code(&ran, "tool_missing");
    assert!(ran.out().contains("linked dynamically"), "{}", ran.out());
}

fn an_agent_that_is_no_program_is_refused(world: &World) {
    let agent = script(world, "agent", "exit 0");
    let ran = finish(run(world, &["--json"]).env("PYRO_AGENT", agent));
    error::has_code(&ran, "tool_missing");
    assert!(ran.out().contains("not a 64-bit ELF"), "{}", ran.out());
}

fn what_a_broken_qemu_says_is_shown(world: &World) {
    let words = "qemu-system-x86_64: could not frobnicate the accelerator";
    let ran = finish(&mut with_qemu(
        world,
        &[],
        &format!("echo '{words}' >&2; exit 1"),
    ));
    error::tells(
        &ran,
        &[
            "could not frobnicate the accelerator",
            "exited with status 1",
            "hint: ",
        ],
    );
}

fn a_silent_qemu_is_given_a_second_try_and_up(world: &World) {
    // Not `exec`: what a program has started must end with it.
    let silent = |flags: &[&str]| {
        let mut run = with_qemu(world, flags, "sleep 1000; exit 1");
        finish(run.env("PYRO_BOOT_TIMEOUT_SECONDS", "2"))
    };
    let ran = silent(&[]);
    error::tells(
        &ran,
        &["did not answer within 2 s", "PYRO_BOOT_TIMEOUT_SECONDS"],
    );
    let again = ran.err().matches("[note] boot attempt").count();
    assert_eq!(again, 1, "{}", ran.err());
    error::has_code(&silent(&["--json"]), "boot_timeout");
}

fn a_pyro_binary_that_is_not_there_is_told(world: &World) {
    let ran = finish(run(world, &[]).env("PYRO_BIN", "/nonexistent/pyro"));
    error::tells(&ran, &["/nonexistent/pyro", "PYRO_BIN", "hint: "]);
}

fn a_missing_agent_is_told(world: &World) {
    let ran = finish(run(world, &[]).env("PYRO_AGENT", "/nonexistent/agent"));
    error::tells(&ran, &["/nonexistent/agent", "did not start"]);
}

fn a_silent_agent_is_given_up(world: &World) {
    let mut silent = run(world, &["--json"]);
    silent
        .env("PYRO_AGENT", script(world, "agent", "sleep 1000; exit 1"))
        .env("PYRO_BOOT_TIMEOUT_SECONDS", "1");
    error::has_code(&finish(&mut silent), "boot_timeout");
}
