//! What crashes, strangers and other versions left in the state folder, and odd places for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use pyro_tests::surfaces::{Surface, engine::Library};
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Backend, World, leftovers};
use serde_json::json;

use crate::mounts::Mounts;
use crate::{error, records};

crate::stories![[process, vm]:
        debris_by_the_hundred_goes_with_the_next_run,
    an_odd_path_for_state_works,
    a_damaged_record_does_not_stop_a_run,
];

mod places {
    crate::stories![Process:
        stale_marks_of_engines_go_and_live_ones_stay,
        a_young_folder_without_a_record_may_be_anothers,
        a_newer_state_folder_is_refused_and_left_alone,
        garbage_for_a_database_is_told,
        an_empty_database_is_a_new_one,
        without_home_the_passwd_file_is_asked,
        without_any_home_pyro_says_so,
        relative_folders_of_xdg_are_ignored,
        the_state_folder_is_private_whatever_the_umask,
        a_file_where_the_state_folder_should_be_is_told,
    ];
    use super::*;
}

fn quick<'a>(world: &World, flags: &[&'a str]) -> Command {
    let flags: Vec<&'a str> = flags.iter().copied().chain(["--mem-mib", "256"]).collect();
    world.run(&flags, ["echo fine"])
}

#[track_caller]
fn works(world: &World) {
    assert_eq!(error::none(&finish(&mut quick(world, &[]))), "fine\n");
}

fn folders(world: &World) -> usize {
    fs::read_dir(world.state_dir().join("vms"))
        .into_iter()
        .flatten()
        .count()
}

/// VMs that were created and never started, by an engine that is gone without a word.
fn abandoned(world: &World, count: usize) {
    let library = Library::new(world);
    for _ in 0..count {
        let arguments = json!({
            "environment": "debian:12",
            "mem_mib": 256,
            "allow_host_compat": world.backend == Backend::Process,
        });
        library.call("vm_create", arguments).unwrap();
    }
}

fn debris_by_the_hundred_goes_with_the_next_run(world: &World) {
    abandoned(world, 100);
    let vms = world.state_dir().join("vms");
    for number in 0..100 {
        let folder = vms.join(format!("{number:012x}"));
        fs::create_dir(&folder).unwrap();
        for file in ["launch.json", "disk.qcow2", "alive.lock", "shim.log"] {
            fs::write(folder.join(file), "of a crash").unwrap();
        }
    }
    records::age_all(world);
    assert_eq!((folders(world), records::count(world)), (200, 100));

    works(world);
    // The folder of the run itself goes after its answer.
    eventually("no folder is left", Duration::from_secs(10), || {
        folders(world) == 0
    });
    assert_eq!(records::count(world), 0);
}

fn a_damaged_record_does_not_stop_a_run(world: &World) {
    abandoned(world, 3);
    let damaged = "UPDATE vms SET record = '{\"vm_id\": 7' WHERE rowid = 2";
    assert_eq!(records::database(world).execute(damaged, []).unwrap(), 1);
    records::age_all(world);
    works(world);
    assert_eq!(records::count(world), 0);
    // Its folder had lost its record only during that run.
    works(world);
}

fn an_odd_path_for_state_works(world: &World) {
    let odd = world
        .folder()
        .join("with spaces, a comma, \"quotes\", 'single ones', ünïcödé ☂ and a $HOME")
        .join("and so long that the address of a socket, which is 108 bytes, cannot hold it");
    assert!(odd.as_os_str().len() > 108);
    let ran = finish(quick(world, &[]).env("PYRO_STATE_DIR", &odd));
    assert_eq!(error::none(&ran), "fine\n");
    assert!(odd.join("pyro.db").is_file());
    leftovers::assert_none(&odd);
}

fn stale_marks_of_engines_go_and_live_ones_stay(world: &World) {
    works(world);
    let owners = world.state_dir().join("owners");
    let mark = |name: &str| {
        let path = owners.join(name);
        fs::write(&path, "").unwrap();
        records::age(&path);
        path
    };
    let stale: Vec<PathBuf> = (0..50)
        .map(|number| mark(&format!("{number:032x}")))
        .collect();
    let live = mark("ffffffffffffffffffffffffffffffff");
    let lock = Flock::lock(
        fs::File::open(&live).unwrap(),
        FlockArg::LockExclusiveNonblock,
    );

    works(world);
    assert!(stale.iter().all(|mark| !mark.exists()));
    assert!(live.exists());
    drop(lock);
    // Whoever another test started at this moment has the lock until it is its own program.
    eventually("the other mark is gone", Duration::from_secs(10), || {
        works(world);
        !live.exists()
    });
}

fn a_young_folder_without_a_record_may_be_anothers(world: &World) {
    let young = world.state_dir().join("vms/0123456789ab");
    fs::create_dir_all(&young).unwrap();
    works(world);
    assert!(young.exists());
    records::age(&young);
    works(world);
    assert!(!young.exists());
}

fn a_newer_state_folder_is_refused_and_left_alone(world: &World) {
    abandoned(world, 2);
    records::age_all(world);
    let database = records::database(world);
    let known: u32 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let before = everything_below(&world.state_dir());

    let ran = finish(&mut quick(world, &["--json"]));
    error::has_code(&ran, "newer_state");
    assert!(
        error::document(&ran)["hint"]
            .as_str()
            .unwrap()
            .contains("PYRO_STATE_DIR")
    );
    assert_eq!(everything_below(&world.state_dir()), before);

    // Tidy up as the newer pyro would.
    records::database(world)
        .pragma_update(None, "user_version", known)
        .unwrap();
    works(world);
}

/// Names and contents of all files.
fn everything_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            all.push((path.clone(), Vec::new()));
            all.extend(everything_below(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

fn garbage_for_a_database_is_told(world: &World) {
    let state = world.state_dir();
    fs::create_dir_all(&state).unwrap();
    let database = state.join("pyro.db");
    let garbage = "this is not a database. ".repeat(400);
    fs::write(&database, &garbage).unwrap();

    let ran = finish(&mut quick(world, &[]));
    error::tells(
        &ran,
        &[database.to_str().unwrap(), "hint: ", "move it away"],
    );
    assert_eq!(fs::read_to_string(&database).unwrap(), garbage);
    fs::remove_file(&database).unwrap();
    works(world);
}

fn an_empty_database_is_a_new_one(world: &World) {
    fs::create_dir_all(world.state_dir()).unwrap();
    fs::write(world.state_dir().join("pyro.db"), "").unwrap();
    works(world);
}

/// `run` with nothing that says where state or cache are.
fn homeless(world: &World) -> Command {
    let mut run = quick(world, &[]);
    for name in [
        "HOME",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
        "PYRO_STATE_DIR",
        "PYRO_ENVIRONMENT_CACHE_DIR",
    ] {
        run.env_remove(name);
    }
    run
}

fn with_passwd(world: &World, text: &str) -> Mounts {
    let passwd = world.folder().join("passwd");
    fs::write(&passwd, text).unwrap();
    Mounts::new().cover(Path::new("/etc/passwd"), &passwd)
}

fn without_home_the_passwd_file_is_asked(world: &World) {
    let home = world.folder().join("home");
    let passwd = with_passwd(
        world,
        &format!("root:x:0:0:root:{}:/bin/sh\n", home.display()),
    );
    let ran = finish(&mut passwd.around(&homeless(world)));
    assert_eq!(error::none(&ran), "fine\n");
    let state = home.join(".local/state/pyro");
    assert!(state.join("pyro.db").is_file());
    leftovers::assert_none(&state);
}

fn without_any_home_pyro_says_so(world: &World) {
    let passwd = with_passwd(world, "somebody:x:4242:4242::/home/somebody:/bin/sh\n");
    let ran = finish(&mut passwd.around(&homeless(world)));
    error::tells(
        &ran,
        &[
            "home folder",
            "HOME",
            "/etc/passwd",
            "hint: ",
            "PYRO_STATE_DIR",
        ],
    );
}

fn relative_folders_of_xdg_are_ignored(world: &World) {
    let (home, here) = (world.folder().join("home"), world.folder().join("here"));
    fs::create_dir(&here).unwrap();
    let mut run = homeless(world);
    run.env("HOME", &home)
        .env("XDG_STATE_HOME", "state")
        .env("XDG_CACHE_HOME", "./cache")
        .current_dir(&here);
    assert_eq!(error::none(&finish(&mut run)), "fine\n");
    assert!(home.join(".local/state/pyro/pyro.db").is_file());
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0);
    leftovers::assert_none(&home.join(".local/state/pyro"));
}

fn the_state_folder_is_private_whatever_the_umask(world: &World) {
    let run = quick(world, &[]);
    let mut loose = Command::new("sh");
    loose
        .args(["-c", "umask 000; exec \"$@\"", "loose"])
        .arg(run.get_program())
        .args(run.get_args())
        .envs(world.variables());
    assert_eq!(error::none(&finish(&mut loose)), "fine\n");
    for folder in [world.state_dir(), world.state_dir().join("owners")] {
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
    }
}

fn a_file_where_the_state_folder_should_be_is_told(world: &World) {
    fs::write(world.state_dir(), "").unwrap();
    let ran = finish(&mut quick(world, &[]));
    error::tells(
        &ran,
        &["state", world.state_dir().to_str().unwrap(), "hint: "],
    );
    fs::remove_file(world.state_dir()).unwrap();
}
