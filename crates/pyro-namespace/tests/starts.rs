//! Programs started in namespaces, as whoever runs the tests and, where that is root, as an ordinary
//! user as well: then a test starts itself again as that user.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::unistd::{geteuid, getpid};
use pyro_namespace::{IdMap, NamespaceError, Namespaces, Program, remove_tree};

const LIMIT: Duration = Duration::from_secs(20);
/// Set in a test that was started again as an ordinary user.
const AGAIN: &str = "PYRO_TEST_AS_USER";

/// A shell, and what it says.
fn shell(script: &str, namespaces: Namespaces) -> (ExitStatus, String) {
    shell_by(&IdMap::of_caller().unwrap(), script, namespaces)
}

fn shell_by(map: &IdMap, script: &str, namespaces: Namespaces) -> (ExitStatus, String) {
    let (mut output, writer) = io::pipe().unwrap();
    let mut program = Program::new("/bin/sh", namespaces);
    program
        .args(["-c", script])
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .stdout(writer.try_clone().unwrap())
        .stderr(writer);
    let mut child = program.start(map).unwrap();
    drop(program);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    let status = child.wait_timeout(LIMIT).unwrap().expect("the end of it");
    (status, said)
}

/// Plays the test again as a user with subordinate ids. True in the place of root when that was done.
fn also_as_user(test: &str) {
    if !geteuid().is_root() {
        return;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let user = accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let owns = |range: &str| range.split(':').next() == Some(fields[0]);
        let ids = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        ranges.lines().any(owns).then_some(ids)
    });
    let Some((uid, gid)): Option<(u32, u32)> = user else {
        eprintln!("not played as a user: nobody here has subordinate ids");
        return;
    };
    // Where an ordinary user may read it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    // By another process: a child of a test beside this one could hold a file open that was written
    // here, and then it could not be executed.
    let mut cp = Command::new("cp");
    cp.arg(std::env::current_exe().unwrap()).arg(&copy);
    assert!(cp.status().unwrap().success());
    let mut again = Command::new(&copy);
    again
        .args(["--exact", test, "--nocapture"])
        .env(AGAIN, "1")
        .current_dir("/")
        .uid(uid)
        .gid(gid);
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn it_is_root_and_the_first_process_of_its_own_world() {
    let script = "id -u; id -g; id -G; echo $$; cat /proc/self/uid_map; \
        wc -l </proc/net/dev; cut -d' ' -f5 /proc/self/stat | sed s/^0$/session-outside/";
    let (status, said) = shell(script, Namespaces::All);
    assert!(status.success(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..4], ["0", "0", "0", "1"], "{said}");
    let map = IdMap::of_caller().unwrap();
    let numbers = |line: &str| -> Vec<u32> {
        line.split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect()
    };
    assert_eq!(numbers(lines[4]), [0, geteuid().as_raw(), 1]);
    assert_eq!(numbers(lines[5]), [1, map.users.first, 65_535]);
    // Two lines of headings, and the loopback.
    assert_eq!(lines[6], "3", "{said}");
    also_as_user("it_is_root_and_the_first_process_of_its_own_world");
}

#[test]
fn files_belong_to_subordinate_ids() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let script = format!(
        "set -e; cd {}; touch file own; chown 1000:65534 file",
        folder.path().display()
    );
    let (status, said) = shell(&script, Namespaces::Files);
    assert!(status.success(), "{said}");
    let map = IdMap::of_caller().unwrap();
    let made = fs::metadata(&file).unwrap();
    assert_eq!(made.uid(), map.users.first + 999);
    assert_eq!(made.gid(), map.groups.first + 65_533);
    assert_eq!(
        fs::metadata(folder.path().join("own")).unwrap().uid(),
        geteuid().as_raw()
    );
    also_as_user("files_belong_to_subordinate_ids");
}

#[test]
fn it_can_mount_there_and_nobody_here_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let script = format!("set -e; mount -t tmpfs none {place}; touch {place}/inside; ls {place}");
    let (status, said) = shell(&script, Namespaces::Files);
    assert!(status.success(), "{said}");
    assert_eq!(said, "inside\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    also_as_user("it_can_mount_there_and_nobody_here_sees_it");
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let program = Program::new("/no/such/program", Namespaces::All);
    let error = program.start(&IdMap::of_caller().unwrap()).unwrap_err();
    assert!(
        matches!(&error, NamespaceError::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound),
        "{error}"
    );
    also_as_user("a_program_that_is_not_there_is_an_error");
}

#[test]
fn the_status_of_its_end_is_known() {
    assert_eq!(shell("exit 42", Namespaces::Files).0.code(), Some(42));
    // The first process is deaf to its own signals, so it is another one that dies.
    assert_eq!(
        shell("sh -c 'kill -9 $$'", Namespaces::Files).0.code(),
        Some(137)
    );
    also_as_user("the_status_of_its_end_is_known");
}

#[test]
fn it_has_the_descriptors_that_it_was_given_and_no_others() {
    let leaked = File::open("/dev/null").unwrap();
    // What a careless library leaves open.
    nix::fcntl::fcntl(
        &leaked,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let (mut output, writer) = io::pipe().unwrap();
    let (kept, _keeps) = io::pipe().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&kept);
    let mut program = Program::new("/bin/ls", Namespaces::All);
    program.arg("/proc/self/fd").stdout(writer).keep(kept);
    let mut child = program.start(&IdMap::of_caller().unwrap()).unwrap();
    drop(program);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let mut open: Vec<i32> = said.lines().map(|line| line.parse().unwrap()).collect();
    open.sort_unstable();
    // One is of the listing itself.
    assert_eq!(open.len(), 5, "{said}");
    assert!(
        open.starts_with(&[0, 1, 2]) && open.contains(&number),
        "{said}"
    );
    also_as_user("it_has_the_descriptors_that_it_was_given_and_no_others");
}

#[test]
fn killing_it_kills_what_it_started() {
    let (mut output, writer) = io::pipe().unwrap();
    let mut program = Program::new("/bin/sh", Namespaces::Files);
    program
        .args(["-c", "sleep 1000 & setsid sleep 1000 & echo started; wait"])
        .env("PATH", "/usr/bin:/bin")
        .stdout(writer);
    let child = program.start(&IdMap::of_caller().unwrap()).unwrap();
    drop(program);
    let mut word = [0; 8];
    output.read_exact(&mut word).unwrap();
    let begun = Instant::now();
    drop(child);
    // Ends only when nobody has the other end any more.
    assert_eq!(output.read(&mut word).unwrap(), 0);
    assert!(begun.elapsed() < LIMIT);
    also_as_user("killing_it_kills_what_it_started");
}

#[test]
fn nothing_is_left_of_a_caller_that_is_killed() {
    // This test, started again, is the caller.
    if std::env::var_os("PYRO_TEST_CALLER").is_some() {
        let mut program = Program::new("/bin/sh", Namespaces::Files);
        // SAFETY: descriptor 1 stays open for the life of this process.
        let output = unsafe { std::os::fd::BorrowedFd::borrow_raw(1) };
        program
            .args(["-c", "sleep 1000 & sleep 1000"])
            .env("PATH", "/usr/bin:/bin")
            .stdout(output.try_clone_to_owned().unwrap());
        let map = IdMap::of_caller().unwrap();
        let mut children = Vec::new();
        loop {
            children.push(program.start(&map).unwrap());
            if children.len() > 3 {
                children.remove(0);
            }
        }
    }
    for wait_ms in [1, 2, 5, 8, 13, 21, 34, 55, 89, 144] {
        let (mut output, writer) = io::pipe().unwrap();
        let mut caller = Command::new(std::env::current_exe().unwrap());
        caller
            .args([
                "--exact",
                "nothing_is_left_of_a_caller_that_is_killed",
                "--nocapture",
            ])
            .env("PYRO_TEST_CALLER", "1")
            .stdout(writer);
        let mut running = caller.spawn().unwrap();
        drop(caller);
        std::thread::sleep(Duration::from_millis(wait_ms));
        running.kill().unwrap();
        running.wait().unwrap();
        // The end of the pipe is the end of everybody who had its other end.
        let begun = Instant::now();
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        assert!(begun.elapsed() < LIMIT, "{said}");
    }
    also_as_user("nothing_is_left_of_a_caller_that_is_killed");
}

#[test]
fn a_process_that_hides_its_memory_can_start_one() {
    nix::sys::prctl::set_dumpable(false).unwrap();
    let (status, said) = shell("id -u", Namespaces::All);
    nix::sys::prctl::set_dumpable(true).unwrap();
    assert!(status.success(), "{said}");
    assert_eq!(said, "0\n");
    also_as_user("a_process_that_hides_its_memory_can_start_one");
}

#[test]
fn signals_of_the_caller_are_its_own() {
    // What Rust programs ignore.
    let (status, said) = shell(
        "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status",
        Namespaces::Files,
    );
    assert!(status.success(), "{said}");
    assert!(
        said.lines()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{said}"
    );
    also_as_user("signals_of_the_caller_are_its_own");
}

#[test]
fn this_process_is_still_where_it_was() {
    let before = fs::read_link("/proc/self/ns/user").unwrap();
    shell("true", Namespaces::All);
    assert_eq!(fs::read_link("/proc/self/ns/user").unwrap(), before);
    assert!(Path::new(&format!("/proc/{}", getpid())).exists());
}

#[test]
fn a_tree_of_many_owners_any_modes_and_any_depth_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let script = format!(
        "set -e; mkdir {tree}; cd {tree}; mkdir -p private/in; touch private/in/file; \
         ln -s {outside} link; chown -R 33:44 private; chmod 0 private/in private; \
         i=0; while [ $i -lt 1200 ]; do mkdir d; chown 7:7 d; cd -P d; i=$((i+1)); done",
        tree = tree.display(),
        outside = folder.path().join("outside").display(),
    );
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::write(folder.path().join("outside/file"), "stays").unwrap();
    let (status, said) = shell(&script, Namespaces::Files);
    assert!(status.success(), "{said}");
    if !geteuid().is_root() {
        assert!(fs::remove_dir_all(tree.join("private")).is_err());
    }
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
    assert!(folder.path().join("outside/file").exists());
    remove_tree(&tree).unwrap();
    also_as_user("a_tree_of_many_owners_any_modes_and_any_depth_is_removed");
}

#[test]
fn what_cannot_be_removed_is_told() {
    let error = remove_tree(Path::new("/proc/self/status")).unwrap_err();
    assert!(matches!(error, NamespaceError::Io { .. }), "{error}");
    assert!(error.to_string().contains("/proc/self/status"), "{error}");
    also_as_user("what_cannot_be_removed_is_told");
}

#[test]
fn who_maps_only_himself_needs_no_subordinate_ids() {
    also_as_user("who_maps_only_himself_needs_no_subordinate_ids");
    let alone = IdMap::of_caller_alone();
    let script = "id -u; cat /proc/self/setgroups; wc -l </proc/self/uid_map; \
                  wc -l </proc/self/gid_map; mount -t tmpfs tmpfs /tmp && touch /tmp/made && echo $$";
    let (status, said) = shell_by(&alone, script, Namespaces::All);
    assert!(status.success(), "{said}");
    assert_eq!(said, "0\ndeny\n1\n1\n1\n");
}

#[test]
fn without_namespaces_a_program_is_still_bound_and_given_nothing_more() {
    also_as_user("without_namespaces_a_program_is_still_bound_and_given_nothing_more");
    let alone = IdMap::of_caller_alone();
    let here = fs::read_link("/proc/self/ns/user").unwrap();
    let script = "id -u; readlink /proc/self/ns/user; ls /proc/self/fd | wc -l";
    let (status, said) = shell_by(&alone, script, Namespaces::Callers);
    assert!(status.success(), "{said}");
    // Input, output, errors, and the folder that is listed.
    let expected = format!("{}\n{}\n4\n", geteuid(), here.display());
    assert_eq!(said, expected);
}
