//! `workspace_disk_list`, `workspace_disk_read`, `workspace_disk_export`: a stopped disk, without
//! its VM.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::{cli::CommandLine, mcp::Tools};
use pyro_tests::world::finish;
use pyro_tests::{Backend, Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [vm, gvisor]: a_stopped_disk_is_listed_read_and_copied }
crate::stories! { [process] [library]: commands_on_the_host_have_no_disk }

fn commands_on_the_host_have_no_disk(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.done("stop", json!({}));
    workspace.refused("disk_list", json!({}), "unsupported");
    workspace.refused("disk_read", json!({ "path": "file" }), "unsupported");
    let out = world.folder().join("out");
    workspace.refused("disk_export", json!({ "output_path": out }), "unsupported");
    assert!(!out.exists());
}

fn paths(listing: &Value) -> Vec<&str> {
    let entries = listing["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["path"].as_str().unwrap())
        .collect()
}

/// What a tool of the host says, which is to have nothing to complain about.
fn tool(program: &str, arguments: &[&str], image: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(image).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All on one VM, which is stopped once.
fn a_stopped_disk_is_listed_read_and_copied(world: &World) {
    let surface = CommandLine(world);
    let seed = tree::plant(&world.folder().join("seed"), &[("file", "first\n")]);
    let workspace = Workspace::with(world, &surface, json!({ "seed_path": seed }));
    workspace.output(
        "echo second > file; mkdir -p d/e; echo deep > 'd/e/with space'; mkfifo pipe; \
         ln -s ../etc/hostname out; ln -s ../../../../../../etc/shadow far; ln -s d/e in; \
         ln -s loop loop; printf '\\000\\377binary' > binary; ln -s /workspace/file absolute; \
         head -c 3M /dev/urandom > noise; sha256sum < noise > sum; \
         dd if=/dev/zero of=sparse bs=1 count=1 seek=1G 2>/dev/null; echo root > /root/mark",
    );
    workspace.snapshot("kept");
    workspace.output("rm sum; sha256sum < noise > sum; ln noise hard");
    let told = workspace.refused("disk_list", json!({}), "wrong_state");
    assert!(told["hint"].as_str().unwrap().contains("stop"), "{told:#}");
    workspace.refused("disk_read", json!({ "path": "file" }), "wrong_state");
    let image = world.folder().join("image");
    workspace.refused(
        "disk_export",
        json!({ "output_path": image }),
        "wrong_state",
    );
    workspace.done("stop", json!({}));

    let list = |path: &str, recursive: bool| {
        workspace.done("disk_list", json!({ "path": path, "recursive": recursive }))
    };
    let told = workspace.refused(
        "disk_list",
        json!({ "path": "/etc/nosuch" }),
        "unknown_file",
    );
    assert_eq!(told["causes"], json!(["there is no `/etc/nosuch`"]));
    let taken = tree::plant(&world.folder().join("taken"), &[("image", "")]).join("image");
    let told = workspace.refused("disk_export", json!({ "output_path": taken }), "conflict");
    let hint = told["hint"].as_str().unwrap();
    assert!(
        !hint.contains("overwrite") && hint.contains("another path"),
        "{hint}"
    );
    let listed = list(".", false);
    assert_eq!(listed["path"], "/workspace");
    assert_eq!(
        paths(&listed),
        [
            "/workspace/absolute",
            "/workspace/binary",
            "/workspace/d",
            "/workspace/far",
            "/workspace/file",
            "/workspace/hard",
            "/workspace/in",
            "/workspace/loop",
            "/workspace/noise",
            "/workspace/out",
            "/workspace/sparse",
            "/workspace/sum",
        ]
    );
    let file = &listed["entries"][4];
    assert_eq!(
        (
            &file["artifact_type"],
            &file["size_bytes"],
            &file["link_target"]
        ),
        (&json!("file"), &json!(7), &Value::Null)
    );
    let link = &listed["entries"][3];
    assert_eq!(link["link_target"], "../../../../../../etc/shadow");
    let below = ["/workspace/d/e", "/workspace/d/e/with space"];
    assert_eq!(paths(&list("d", true)), below);
    // A link on the way is followed, at the end it is listed itself.
    assert_eq!(paths(&list("in/with space", false)), [below[1]]);
    assert_eq!(paths(&list("in", false)), ["/workspace/in"]);
    assert!(paths(&list("/workspace/../root", false)).contains(&"/root/mark"));
    assert!(paths(&list("/", false)).contains(&"/etc"));
    let few = workspace.done(
        "disk_list",
        json!({ "path": "/usr", "recursive": true, "max_entries": 3 }),
    );
    assert_eq!((paths(&few).len(), &few["truncated"]), (3, &json!(true)));
    let next = json!({
        "path": "/usr", "recursive": true, "max_entries": 1, "skip": few["next_skip"],
    });
    let next = workspace.done("disk_list", next);
    assert_eq!(next["next_skip"], 4);
    assert!(paths(&next)[0] > paths(&few)[2], "{next:#}");

    let read = |path: &str| workspace.done("disk_read", json!({ "path": path }));
    assert_eq!(read("file")["content"], "second\n");
    assert_eq!(read("absolute")["content"], "second\n");
    assert_eq!(read("d/e/with space")["content"], "deep\n");
    assert_eq!(read("/root/mark")["content"], "root\n");
    // A link that would lead out of the disk leads to its root, as it does in the guest.
    assert_eq!(read("far")["content"], read("/etc/shadow")["content"]);
    assert_ne!(
        read("far")["content"].as_str().unwrap(),
        fs::read_to_string("/etc/shadow").unwrap_or_default()
    );
    let piece = workspace.done(
        "disk_read",
        json!({ "path": "file", "max_bytes": 3, "offset": 2 }),
    );
    assert_eq!(
        (
            &piece["content"],
            &piece["truncated"],
            &piece["next_offset"]
        ),
        (&json!("con"), &json!(true), &json!(5))
    );
    let behind = workspace.done("disk_read", json!({ "path": "file", "offset": 70 }));
    assert_eq!(behind["content"], "");
    let bytes = finish(&mut world.pyro([
        "workspace",
        "disk",
        "read",
        workspace.id(),
        "binary",
        "--content-only",
    ]));
    assert_eq!(bytes.stdout, b"\0\xffbinary");
    for (operation, path, code) in [
        ("disk_read", "loop", "unknown_file"),
        ("disk_read", "d", "unknown_file"),
        ("disk_read", "pipe", "unknown_file"),
        ("disk_read", "never", "unknown_file"),
        ("disk_list", "never", "unknown_file"),
        ("disk_list", "file/below", "unknown_file"),
        ("disk_list", "a/../b", "bad_path"),
        ("disk_read", "", "bad_path"),
    ] {
        workspace.refused(operation, json!({ "path": path }), code);
    }

    // Through the tools as well, and without a process of a VM.
    let tools = Tools::new(world);
    let arguments = json!({ "workspace_id": workspace.id(), "path": "file" });
    let told = tools.call("workspace_disk_read", arguments).unwrap();
    assert_eq!(told["content"], "second\n");
    drop(tools);
    assert!(processes(&world.state_dir()).is_empty());

    let exported = workspace.done("disk_export", json!({ "output_path": image }));
    assert_eq!(exported["disk_format"], "ext4");
    let metadata = fs::metadata(&image).unwrap();
    assert_eq!(exported["bytes_written"], metadata.len());
    assert!(
        metadata.blocks() * 512 < metadata.len() / 2,
        "it is not sparse"
    );
    assert_eq!(metadata.mode() & 0o777, 0o600);
    tool("/usr/sbin/e2fsck", &["-f", "-n"], &image);
    let inside = |command: &str| tool("/usr/sbin/debugfs", &["-R", command], &image);
    assert_eq!(inside("cat /workspace/file"), "second\n");
    assert_eq!(inside("cat /root/mark"), "root\n");
    // What only the agent has a use for is not in it, and the workspace has it still.
    assert!(
        !inside("ls -p /var/lib").contains("pyro"),
        "the agent's state"
    );
    assert!(paths(&list("/var/lib", false)).contains(&"/var/lib/pyro"));
    let noise = world.folder().join("noise");
    inside(&format!("dump /workspace/hard {}", noise.display()));
    let sum = tool("sha256sum", &["-b"], &noise);
    let wanted = read("sum")["content"].as_str().unwrap().to_owned();
    assert_eq!(sum[..64], wanted[..64]);
    // Nothing is replaced, and nothing else is left beside it.
    for taken in [image.clone(), world.folder().to_owned()] {
        workspace.refused("disk_export", json!({ "output_path": taken }), "conflict");
    }
    let beside = fs::read_dir(world.folder()).unwrap();
    let hidden = beside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
    fs::remove_file(image).unwrap();
    // It goes on where it was.
    let pipes = match world.backend {
        Backend::Vm | Backend::Process => 1,
        // gVisor has them in memory, and not on the disk.
        Backend::Gvisor => 0,
    };
    let names = format!("second\n{}\n", 12 + pipes);
    assert_eq!(workspace.output("cat file; ls | wc -l"), names);
    assert_eq!(workspace.changes().len(), 12);
}
