//! Commands of a workspace that fail for want of what only a Linux kernel has.

use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [gvisor] [command_line, library, mcp]:
    whoever_needs_a_linux_kernel_is_told_how_to_get_one,
}

crate::stories! { [gvisor] [library]:
    a_clone_of_older_files_is_told_to_copy_them,
    nobody_is_told_who_fails_otherwise,
}

crate::stories! { [vm] [library]: nobody_is_told_of_it_in_a_vm }

/// Fails for want of a kernel that knows the file system.
const MOUNT: &str = "truncate -s 1M disk; mount -t ext4 disk /mnt";

fn tells_of_a_vm(told: &Value) {
    let advice = told["advice"]
        .as_str()
        .unwrap_or_else(|| panic!("{told:#}"));
    assert!(
        advice.contains("another workspace with `--isolation vm`"),
        "{advice}"
    );
}

fn whoever_needs_a_linux_kernel_is_told_how_to_get_one(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    tells_of_a_vm(&workspace.exec(MOUNT));
    let waited = json!({ "command": MOUNT, "wait_seconds": 60 });
    let waited = workspace.done("exec", waited);
    tells_of_a_vm(&waited);
    let of_it = json!({ "sequence": waited["sequence"] });
    tells_of_a_vm(&workspace.done("logs", of_it));
    let service = json!({
        "service_name": "mounts",
        "command": MOUNT,
        "ready_file": "never",
    });
    tells_of_a_vm(&workspace.service("start", service).unwrap());
}

fn a_clone_of_older_files_is_told_to_copy_them(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.output(
        "git init -q a; cd a; echo text > file; git add file; \
         git -c user.name=a -c user.email=a@example.org commit -qm one",
    );
    // Its files are in a layer below now, as those of a seed are.
    workspace.snapshot("committed");
    workspace.reset_to("committed");
    let told = workspace.exec("git clone a b");
    let advice = told["advice"]
        .as_str()
        .unwrap_or_else(|| panic!("{told:#}"));
    assert!(advice.contains("`git clone --no-hardlinks`"), "{advice}");
    let copied = "git clone -q --no-hardlinks a c; cat c/file";
    assert_eq!(workspace.output(copied), "text\n");
}

fn nobody_is_told_who_fails_otherwise(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    assert_eq!(workspace.exec("cat /none")["advice"], Value::Null);
    // Nor who got over it.
    assert_eq!(
        workspace.exec(&format!("{MOUNT}; true"))["advice"],
        Value::Null
    );
}

fn nobody_is_told_of_it_in_a_vm(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let failed = workspace.exec("echo mount failed: Operation not permitted >&2; false");
    assert_eq!(failed["exit_code"], 1, "{failed:#}");
    assert_eq!(failed["advice"], Value::Null, "{failed:#}");
}
