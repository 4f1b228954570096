//! An ordinary user, without root, groups or anything prepared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use pyro_tests::world::finish;
use pyro_tests::{World, cache, leftovers, played};

use crate::error;
use crate::missing::assert_nothing_half_made;
use crate::mounts::Mounts;
use crate::unprivileged_user::Person;

crate::stories![Vm:
    doctor_tells_an_ordinary_user_what_works,
    a_cache_of_somebody_else_that_is_readable_works,
    a_cache_that_may_not_even_be_looked_into_is_told,
    a_state_folder_of_somebody_else_is_told,
    without_subordinate_ids_the_command_that_adds_them_is_named,
    without_subordinate_ids_there_are_no_sandboxes,
    without_newuidmap_there_are_no_sandboxes,
    a_sandbox_of_an_ordinary_user_leaves_nothing,
    a_workspace_in_a_sandbox_of_an_ordinary_user_leaves_nothing,
];

fn doctor_tells_an_ordinary_user_what_works(world: &World) {
    let person = Person::of(world);
    let diagnosis = finish(&mut person.pyro(["doctor", "--json"])).json();
    for check in diagnosis["checks"].as_array().unwrap() {
        assert_ne!(check["outcome"], "failed", "{check}");
    }
    assert_eq!(diagnosis["runtime_ok"], true);
    let state = diagnosis["runtime"]["state_dir"].as_str().unwrap();
    assert_eq!(PathBuf::from(state), person.state_dir());
}

/// The tests' own cache, shown to the person where it can be reached and not written.
pub(crate) fn shared(world: &World) -> (PathBuf, Mounts) {
    let shown = world.folder().join("shared cache");
    fs::create_dir(&shown).unwrap();
    let mounts = Mounts::new()
        .cover(&shown, &cache::shared())
        .read_only(&shown);
    (shown, mounts)
}

fn a_cache_of_somebody_else_that_is_readable_works(world: &World) {
    let person = Person::of(world);
    let (cache, mounts) = shared(world);
    let words = ["run", "debian:12", "--mem-mib", "256", "--", "echo fine"];
    let run = person.pyro_with(&[("PYRO_ENVIRONMENT_CACHE_DIR", &cache)], words);
    let ran = finish(&mut mounts.around(&run));
    assert_eq!(error::none(&ran), "fine\n");
    // Its network, too. A guest without one would say 101, ENETUNREACH.
    let refused =
        "python3 -c 'import socket; print(socket.socket().connect_ex((\"192.0.0.1\", 1)))'";
    let run = [
        "run",
        "debian:12",
        "--mem-mib",
        "256",
        "--network",
        "--",
        refused,
    ];
    let run = person.pyro_with(&[("PYRO_ENVIRONMENT_CACHE_DIR", &cache)], run);
    let said = error::none(&finish(&mut mounts.around(&run)));
    assert!(["113\n", "13\n"].contains(&said.as_str()), "{said}");
    // Without a core file: what guards secrets in memory also changes what a process of an ordinary
    // user may see of itself.
    let pyro = |words: &[&str]| {
        let command = person.pyro_with(&[("PYRO_ENVIRONMENT_CACHE_DIR", &cache)], words);
        error::none(&finish(&mut mounts.around(&command)))
    };
    // Works, though worse than it could.
    let doctor = pyro(&["doctor"]);
    assert!(doctor.contains("Runtime: PASS\n"), "{doctor}");
    assert!(doctor.contains("[warn] environment cache: "), "{doctor}");
    let create = [
        "workspace",
        "create",
        "debian:12",
        "--mem-mib",
        "256",
        "--id-only",
    ];
    let id = pyro(&[&create[..], &["--secret", "TOKEN=hunter-2"]].concat());
    let id = id.trim();
    let exec = ["workspace", "exec", id, "--secret-env", "TOKEN", "--"];
    let said = pyro(&[&exec[..], &["echo $TOKEN; rev /run/pyro-secrets/TOKEN"]].concat());
    assert_eq!(said, "[REDACTED]\n2-retnuh");
    pyro(&["workspace", "stop", id]);
    assert_eq!(
        pyro(&[&exec[..], &["echo $TOKEN"]].concat()),
        "[REDACTED]\n"
    );
    pyro(&["workspace", "delete", id]);
    leftovers::assert_none(&person.state_dir());
    let mode = fs::metadata(person.state_dir())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// A folder that the person has no right to: root's, or one without any mode.
struct Forbidden(PathBuf);

impl Forbidden {
    fn below(world: &World) -> Self {
        let folder = world.folder().join("forbidden");
        fs::create_dir(&folder).unwrap();
        let mode = if geteuid().is_root() { 0o700 } else { 0 };
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        Self(folder)
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        // Or it could not be removed with its world.
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700));
    }
}

fn a_cache_that_may_not_even_be_looked_into_is_told(world: &World) {
    let person = Person::of(world);
    let forbidden = Forbidden::below(world);
    let cache = forbidden.0.join("cache");
    let variables = [("PYRO_ENVIRONMENT_CACHE_DIR", cache.as_path())];
    let ran = finish(&mut person.pyro_with(&variables, ["run", "debian:12", "--", "true"]));
    let words = [
        cache.to_str().unwrap(),
        "hint: ",
        "PYRO_ENVIRONMENT_CACHE_DIR",
    ];
    error::tells(&ran, &words);
}

fn a_state_folder_of_somebody_else_is_told(world: &World) {
    let person = Person::of(world);
    let forbidden = Forbidden::below(world);
    let state = &forbidden.0;
    let variables = [
        ("PYRO_BACKEND", Path::new("process")),
        ("PYRO_STATE_DIR", state),
    ];
    let words = ["run", "debian:12", "--allow-host-compat", "--", "true"];
    error::tells(
        &finish(&mut person.pyro_with(&variables, words)),
        &[state.to_str().unwrap(), "hint: ", "PYRO_STATE_DIR"],
    );
}

/// Hides the ranges of ids, beside what is mounted already.
fn without_subordinate_ids(world: &World, mounts: Mounts) -> Mounts {
    let nobody = world.folder().join("subids");
    fs::write(&nobody, "somebody-else:100000:65536\n").unwrap();
    ["/etc/subuid", "/etc/subgid"]
        .iter()
        .fold(mounts, |mounts, file| mounts.cover(file.as_ref(), &nobody))
}

fn without_subordinate_ids_the_command_that_adds_them_is_named(world: &World) {
    let root = geteuid().is_root().then_some(());
    let why = "only root can hide /etc/subuid from a user who is not root inside";
    if played(root, why).is_none() {
        return;
    }
    let person = Person::of(world);
    let mounts = without_subordinate_ids(world, Mounts::new());
    let ran = finish(&mut mounts.around(&person.pyro(["env", "pull", "debian:12-base", "--json"])));
    error::has_code(&ran, "pull_failed");
    assert!(ran.out().contains("--add-subuids"), "{}", ran.out());
    assert!(ran.out().contains("no subordinate ids"), "{}", ran.out());
    assert_nothing_half_made(&person.home().join(".cache/pyro/environments"));
}

/// `pyro run --isolation gvisor`, in a cache of somebody else's.
fn sandbox(person: &Person, cache: &Path, flags: &[&str], command: &str) -> std::process::Command {
    let mut variables = vec![("PYRO_ENVIRONMENT_CACHE_DIR", cache)];
    let runsc = std::env::var_os("PYRO_RUNSC").map(PathBuf::from);
    variables.extend(runsc.as_deref().map(|runsc| ("PYRO_RUNSC", runsc)));
    let run = ["run", "debian:12", "--isolation", "gvisor", "--mem-mib=256"];
    person.pyro_with(&variables, [&run[..], flags, &["--", command]].concat())
}

fn without_subordinate_ids_there_are_no_sandboxes(world: &World) {
    let root = geteuid().is_root().then_some(());
    let why = "only root can hide /etc/subuid from a user who is not root inside";
    if played(root, why).is_none() {
        return;
    }
    let person = Person::of(world);
    let (cache, mounts) = shared(world);
    let mounts = without_subordinate_ids(world, mounts);
    let ran = finish(&mut mounts.around(&sandbox(&person, &cache, &["--json"], "true")));
    error::has_code(&ran, "vm_unavailable");
    for words in [
        "gVisor sandboxes cannot run here",
        "--add-subuids",
        "`--isolation vm`",
    ] {
        assert!(ran.out().contains(words), "no `{words}` in {}", ran.out());
    }
}

fn without_newuidmap_there_are_no_sandboxes(world: &World) {
    let root = geteuid().is_root().then_some(());
    if played(root, "only root can hide a program from somebody else").is_none() {
        return;
    }
    let person = Person::of(world);
    let (cache, mounts) = shared(world);
    let mounts = mounts.without(world, "newuidmap");
    let ran = finish(&mut mounts.around(&sandbox(&person, &cache, &[], "true")));
    error::tells(&ran, &["newuidmap", "apt-get install uidmap"]);
}

fn a_sandbox_of_an_ordinary_user_leaves_nothing(world: &World) {
    let person = Person::of(world);
    let (cache, mounts) = shared(world);
    let run = |command| finish(&mut mounts.around(&sandbox(&person, &cache, &[], command)));
    let first = run("id -u; stat -c %u /etc/passwd");
    let runs = (first.code() == 0).then_some(());
    if played(
        runs,
        &format!("no sandbox of gVisor's runs here: {}", first.err()),
    )
    .is_none()
    {
        return;
    }
    assert_eq!(first.out(), "0\n0\n");
    // Files of ids that the person has only in a namespace, in folders that are closed.
    let ran = run("mkdir -p /srv/a/b && touch /srv/a/b/c && chown -R 33:33 /srv && chmod 0 /srv/a");
    assert_eq!(error::none(&ran), "");
    leftovers::assert_none(&person.state_dir());
    remove_trees(&person);
}

fn remove_trees(person: &Person<'_>) {
    // As the cache is not the person's, the environment was unpacked here.
    let trees = person.state_dir().join("trees");
    assert!(trees.is_dir());
    let mut remove = std::process::Command::new("unshare");
    remove.args(["--user", "--map-root-user", "--map-auto", "rm", "-rf"]);
    if !geteuid().is_root() {
        assert_eq!(finish(remove.arg(trees)).code(), 0);
    }
}

/// Files of ids that the person has only in a namespace, in layers, copies and what is removed of them.
fn a_workspace_in_a_sandbox_of_an_ordinary_user_leaves_nothing(world: &World) {
    let person = Person::of(world);
    let (cache, mounts) = shared(world);
    let runs = (finish(&mut mounts.around(&sandbox(&person, &cache, &[], "true"))).code() == 0)
        .then_some(());
    if played(runs, "no sandbox of gVisor's runs here").is_none() {
        return;
    }
    let runsc = std::env::var_os("PYRO_RUNSC").map(PathBuf::from);
    let mut variables = vec![("PYRO_ENVIRONMENT_CACHE_DIR", cache.as_path())];
    variables.extend(runsc.as_deref().map(|runsc| ("PYRO_RUNSC", runsc)));
    let pyro = |words: &[&str]| {
        let command = person.pyro_with(&variables, words);
        error::none(&finish(&mut mounts.around(&command)))
    };
    let seed = pyro_tests::tree::plant(&world.folder().join("seed"), &[("file", "of the seed\n")]);
    let create = [
        "workspace",
        "create",
        "debian:12",
        "--isolation=gvisor",
        "--mem-mib=256",
        "--id-only",
    ];
    let id = pyro(&[&create[..], &["--seed-path", seed.to_str().unwrap()]].concat());
    let id = id.trim();
    let exec = |command: &str| pyro(&["workspace", "exec", id, "--", command]);
    let closed = "mkdir -p /srv/a/b closed; echo x > closed/x; touch /srv/a/b/c; chown -R 33:33 /srv closed; \
        chmod 0 /srv/a closed; stat -c '%u %a' file closed";
    assert_eq!(exec(closed), "0 644\n33 0\n");
    let diff = pyro(&["workspace", "diff", id]);
    assert!(diff.contains("closed/x"), "{diff}");
    pyro(&["workspace", "snapshot", "create", id, "one"]);
    pyro(&[
        "workspace",
        "file",
        "write",
        id,
        "file",
        "--text",
        "changed",
    ]);
    assert_eq!(exec("cat file; stat -c %u file"), "changed0\n");
    pyro(&["workspace", "reset", id, "--snapshot", "one"]);
    assert_eq!(
        exec("cat file closed/x; stat -c '%u %a' closed"),
        "of the seed\nx\n33 0\n"
    );
    pyro(&["workspace", "stop", id]);
    let read = [
        "workspace",
        "disk",
        "read",
        id,
        "closed/x",
        "--content-only",
    ];
    assert_eq!(pyro(&read), "x\n");
    pyro(&["workspace", "reset", id]);
    assert_eq!(exec("ls; cat file"), "file\nof the seed\n");
    pyro(&["workspace", "snapshot", "delete", id, "one"]);
    pyro(&["workspace", "delete", id]);
    leftovers::assert_none(&person.state_dir());
    remove_trees(&person);
}
