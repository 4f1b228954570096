//! `workspace_create`: the first files.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{Running, eventually};
use pyro_tests::{Backend, Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [command_line]:
    a_folder_comes_in_and_goes_out_as_it_is,
}
crate::stories! { [process] [command_line, library]:
    a_workspace_without_a_seed_is_empty,
    a_seed_that_cannot_be_taken_is_refused_by_name,
    links_that_leave_are_kept_and_told,
    what_is_left_out_is_told_and_remembered,
}
crate::stories! { [vm, gvisor] [command_line, mcp]: a_worktree_is_a_repository_in_the_guest }
crate::stories! { [vm, gvisor]: an_interrupted_create_says_that_there_is_none }
crate::stories! { [process]: an_id_alone_is_printed_for_scripts }

/// What a seed path was refused for; nothing may be there afterwards.
fn refused(world: &World, surface: &dyn Surface, seed: &Path) -> String {
    let told = Workspace::try_with(world, surface, json!({ "seed_path": seed })).unwrap_err();
    assert_eq!(told["code"], "bad_seed", "{told:#}");
    let listed = surface.call("workspace_list", json!({})).unwrap();
    assert_eq!(listed["count"], 0, "{listed:#}");
    told.to_string()
}

fn a_folder_comes_in_and_goes_out_as_it_is(world: &World, surface: &dyn Surface) {
    let seed = tree::plant_all_kinds(&world.folder().join("seed"));
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let planted = tree::look(&seed);
    let told = &workspace.created["workspace_seed"];
    assert_eq!(told["mode"], "directory");
    assert_eq!(told["seed_path"], json!(seed));
    assert_eq!(told["entry_count"], planted.len());
    assert_eq!(
        workspace.output("./bin/run; stat -c %U bin/run"),
        "it runs\nroot\n"
    );
    assert_eq!(workspace.changes(), [""; 0]);
    let out = world.folder().join("out");
    workspace.done(
        "export",
        json!({ "path": "/workspace", "output_path": out }),
    );
    assert_eq!(tree::look(&out), planted);
}

fn an_interrupted_create_says_that_there_is_none(world: &World) {
    // So many that the signal comes first.
    let many: Vec<String> = (0..5_000).map(|number| format!("file-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    let seed = tree::plant(&world.folder().join("seed"), &many);
    let mut pyro = world.pyro(["workspace", "create", "debian:12", "--seed-path"]);
    let running = Running::start(pyro.arg(&seed));
    let begun = world.state_dir().join("workspaces");
    eventually("it is being made", Duration::from_secs(60), || {
        fs::read_dir(&begun).is_ok_and(|mut entries| entries.next().is_some())
    });
    let pid = i32::try_from(running.child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let ran = running.wait();
    assert_eq!(ran.code(), 130, "{}", ran.err());
    let said = "[note] interrupted: no workspace was created\n";
    assert!(ran.err().contains(said), "{}", ran.err());
    let listed = CommandLine(world)
        .call("workspace_list", json!({}))
        .unwrap();
    assert_eq!(listed["count"], 0, "{listed:#}");
}

fn a_workspace_without_a_seed_is_empty(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    assert_eq!(workspace.created["state"], "started");
    assert_eq!(workspace.created["workspace_seed"]["mode"], "empty");
    assert_eq!(
        workspace.created["workspace_seed"]["seed_path"],
        Value::Null
    );
    let listed = workspace.done("file_list", json!({ "recursive": true }));
    assert_eq!(listed["total_entries"], 0, "{listed:#}");
    assert_eq!(workspace.changes(), [""; 0]);
}

fn a_seed_that_cannot_be_taken_is_refused_by_name(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(
        &world.folder().join("seed"),
        &[("fine", ""), ("deep/fine", "")],
    );
    nix::unistd::mkfifo(&seed.join("deep/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused(world, surface, &seed).contains("deep/pipe"));
    assert!(refused(world, surface, &seed.join("fine")).contains("fine"));
    assert!(refused(world, surface, &seed.join("missing")).contains("missing"));
}

fn links_that_leave_are_kept_and_told(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[("deep/er/file", "")]);
    symlink("../../deep/er/file", seed.join("deep/er/stays")).unwrap();
    symlink("../../../etc/passwd", seed.join("deep/er/leaves")).unwrap();
    symlink(seed.join("deep"), seed.join("own")).unwrap();
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let notes = &workspace.created["workspace_seed"]["notes"];
    assert_eq!(notes.as_array().map(Vec::len), Some(1), "{notes:#}");
    let note = notes[0].as_str().unwrap();
    assert!(note.starts_with("2 links lead out of the source"), "{note}");
    assert!(
        note.contains("`deep/er/leaves` -> `../../../etc/passwd`"),
        "{note}"
    );
    assert_eq!(
        workspace.output("readlink deep/er/leaves"),
        "../../../etc/passwd\n"
    );
    assert_eq!(workspace.changes(), [""; 0]);
    let pushed = workspace.done("sync_push", json!({ "source_path": seed }));
    assert_eq!(&pushed["workspace_sync"]["notes"], notes);
    assert_eq!(pushed["workspace_sync"]["changed_count"], 0, "{pushed:#}");
}

fn what_is_left_out_is_told_and_remembered(world: &World, surface: &dyn Surface) {
    let files = [
        (".pyroignore", "data/\n"),
        (".gitignore", "*.log\n"),
        ("data/huge", "12345"),
        ("node_modules/a/b", "123"),
        ("a.log", "1"),
        ("main.py", ""),
    ];
    let seed = tree::plant(&world.folder().join("seed"), &files);
    let arguments = json!({ "seed_path": seed, "exclude": ["node_modules/"] });
    let workspace = Workspace::with(world, surface, arguments);
    let told = &workspace.created["workspace_seed"];
    assert_eq!(told["entry_count"], 4, "{told:#}");
    let left_out = &told["left_out"];
    assert_eq!(
        (&left_out["entry_count"], &left_out["bytes"]),
        (&json!(5), &json!(8))
    );
    assert_eq!(left_out["exclude"], json!(["node_modules/"]));
    assert_eq!(
        left_out["paths"].as_array().map(Vec::len),
        Some(2),
        "{left_out:#}"
    );

    let push = |mut arguments: Value| {
        arguments["source_path"] = json!(seed);
        workspace.done("sync_push", arguments)["workspace_sync"]["left_out"].clone()
    };
    assert_eq!(push(json!({})), *left_out);
    let more = push(json!({ "exclude": ["!a.log", "main.py"], "gitignore": true }));
    assert_eq!(more["entry_count"], 6, "{more:#}");
    assert_eq!(more["gitignore"], true);
    assert_eq!(push(json!({ "exclude": ["main.py"] }))["entry_count"], 6);
    let all = push(json!({ "exclude": ["!node_modules/"] }));
    assert_eq!(all["entry_count"], 3, "{all:#}");
    assert_eq!(workspace.output("cat node_modules/a/b"), "123");
    let bad = json!({ "source_path": seed, "exclude": ["[z-a]"] });
    workspace.refused("sync_push", bad, "invalid_argument");
}

/// A worktree of a project with a virtual environment and a disk image, as parallel agents have it.
fn a_worktree_is_a_repository_in_the_guest(world: &World, surface: &dyn Surface) {
    let folder = world.folder();
    let main = tree::plant(
        &folder.join("main"),
        &[("main.py", "print(1)\n"), (".gitignore", ".venv/\n")],
    );
    let git = |words: &[&str]| {
        let ran = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x", "-C"])
            .arg(&main)
            .args(words)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{words:?}: {ran:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    git(&["worktree", "add", "-q", "-b", "task", "../task"]);
    let seed = folder.join("task");
    tree::plant(&seed, &[(".venv/bin/activate", "")]);
    symlink("/usr/bin/python3", seed.join(".venv/bin/python3")).unwrap();
    let disk = fs::File::create(seed.join("disk.img")).unwrap();
    disk.set_len(3 << 30).unwrap();
    disk.write_all_at(b"block", 1 << 30).unwrap();
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let notes = workspace.created["workspace_seed"]["notes"].to_string();
    assert!(notes.contains("separate repository"), "{notes}");
    assert!(notes.contains(".venv/bin/python3"), "{notes}");
    assert_eq!(workspace.changes(), [""; 0]);
    // What takes 3 GiB as zeros takes a few blocks on both sides. gVisor tells its guest the size only,
    // and the guest's side is a file of the host.
    let blocks = match world.backend {
        Backend::Gvisor => {
            let state = world.state_dir().display().to_string();
            let find = format!("find {state}/workspaces/*/disk/*/upper -name disk.img -printf %k");
            let found = Command::new("sh").args(["-c", &find]).output().unwrap();
            String::from_utf8(found.stdout).unwrap()
        }
        _ => workspace.output("du -k disk.img | cut -f1"),
    };
    assert_eq!(blocks.trim_end(), "4");
    workspace.exec("touch disk.img");
    assert_eq!(workspace.changes(), [""; 0]);
    let shown = workspace.output(
        "git status --short && git log --format=%s && git branch --show-current && \
         .venv/bin/python3 main.py",
    );
    assert_eq!(shown, "?? disk.img\nfirst\ntask\n1\n");
    let out = folder.join("out.img");
    workspace.done("export", json!({ "path": "disk.img", "output_path": out }));
    let metadata = fs::metadata(&out).unwrap();
    assert_eq!(metadata.len(), 3 << 30);
    assert!(metadata.blocks() < 2048, "{metadata:?}");
    assert_eq!(
        workspace.output(
            "echo 2 > two && git add two && \
             git -c user.name=g -c user.email=g@x commit -qm second && git log --format=%s"
        ),
        "second\nfirst\n"
    );
    assert!(workspace.changes().contains(&"added two".to_owned()));
}

fn an_id_alone_is_printed_for_scripts(world: &World) {
    let mut made: Vec<String> = Vec::new();
    for _ in 0..2 {
        let mut create = world.pyro(["workspace", "create", "debian:12", "--id-only"]);
        create.args(["--mem-mib", "256", "--allow-host-compat", "--name", "one"]);
        let ran = pyro_tests::world::finish(&mut create);
        let id = ran.out();
        let id = id.strip_suffix('\n').unwrap();
        assert!(
            id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        // What there is to know is said beside it, and nothing else is.
        match made.first() {
            None => assert_eq!(ran.err(), ""),
            Some(first) => {
                let err = ran.err();
                assert!(
                    err.starts_with("[note] ") && err.contains(first.as_str()),
                    "{err}"
                );
                assert_eq!(err.lines().count(), 1, "{err}");
            }
        }
        made.push(id.to_owned());
    }
    for id in made {
        let ran = pyro_tests::world::finish(&mut world.pyro(["workspace", "delete", &id]));
        assert_eq!(ran.out(), format!("Deleted workspace: {id}\n"));
    }
}
