//! `workspace_create`: the first files.

use std::os::unix::fs::symlink;
use std::path::Path;

use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [process, vm] [command_line]:
    a_folder_comes_in_and_goes_out_as_it_is,
}
crate::stories! { [process] [command_line, library]:
    a_workspace_without_a_seed_is_empty,
    a_seed_that_cannot_be_taken_is_refused_by_name,
    a_link_that_stays_inside_is_fine_and_one_that_leaves_is_not,
}
crate::stories! { [process]: an_id_alone_is_printed_for_scripts }

/// What a seed path was refused for; nothing may be there afterwards.
fn refused(world: &World, door: &dyn Surface, seed: &Path) -> String {
    let told = Workspace::try_with(world, door, json!({ "seed_path": seed })).unwrap_err();
    assert_eq!(told["code"], "bad_seed", "{told:#}");
    let listed = door.call("workspace_list", json!({})).unwrap();
    assert_eq!(listed["count"], 0, "{listed:#}");
    told.to_string()
}

fn a_folder_comes_in_and_goes_out_as_it_is(world: &World, door: &dyn Surface) {
    let seed = tree::plant_all_kinds(&world.folder().join("seed"));
    let workspace = Workspace::with(world, door, json!({ "seed_path": seed }));
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

fn a_workspace_without_a_seed_is_empty(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
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

fn a_seed_that_cannot_be_taken_is_refused_by_name(world: &World, door: &dyn Surface) {
    let seed = tree::plant(
        &world.folder().join("seed"),
        &[("fine", ""), ("deep/fine", "")],
    );
    nix::unistd::mkfifo(&seed.join("deep/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused(world, door, &seed).contains("deep/pipe"));
    assert!(refused(world, door, &seed.join("fine")).contains("fine"));
    assert!(refused(world, door, &seed.join("missing")).contains("missing"));
}

fn a_link_that_stays_inside_is_fine_and_one_that_leaves_is_not(world: &World, door: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[("deep/er/file", "")]);
    symlink("../../deep/er/file", seed.join("deep/er/stays")).unwrap();
    drop(Workspace::with(world, door, json!({ "seed_path": seed })));
    symlink("../../../etc/passwd", seed.join("deep/er/leaves")).unwrap();
    assert!(refused(world, door, &seed).contains("deep/er/leaves"));
}

fn an_id_alone_is_printed_for_scripts(world: &World) {
    let mut create = world.pyro(["workspace", "create", "debian:12", "--id-only"]);
    let ran = pyro_tests::world::finish(create.args(["--mem-mib", "256", "--allow-host-compat"]));
    let id = ran.out();
    let id = id.strip_suffix('\n').unwrap();
    assert!(
        id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    let ran = pyro_tests::world::finish(&mut world.pyro(["workspace", "delete", id]));
    assert_eq!(ran.out(), format!("Deleted workspace: {id}\n"));
}
