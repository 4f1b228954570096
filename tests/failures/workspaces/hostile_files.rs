//! A guest that leaves odd things where the host's programs look at its files: links out of the disk,
//! pipes that nobody writes to, folders without end, owners, modes and names of every kind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use pyro_tests::surfaces::engine::Library;
use pyro_tests::{Workspace, World, tree};
use serde_json::json;

use super::assert_only_listed;

crate::stories![Gvisor:
    what_a_guest_leaves_holds_nobody_up_and_hurts_nobody,
    a_guest_that_moves_the_workspace_itself_is_told,
];

/// Much less than a read that waits for a writer, and more than a busy host takes.
const LONG: Duration = Duration::from_secs(60);

/// All of it. The names of the last are as hostile as names can be.
const ODD: &str = r#"
import os, socket
os.mkdir("many")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.symlink("/etc/passwd", "to-a-file")
os.symlink("/proc/self/root/etc/shadow", "to-root")
os.symlink("/", "to-everything")
os.symlink("loop", "loop")
os.symlink("x" * 4000, "long")
os.makedirs("closed/inside")
open("closed/inside/file", "w").write("inside\n")
open("of-others", "w").write("others\n")
os.chown("of-others", 12345, 54321)
os.chmod("of-others", 0o4000)
os.chown("closed", 65534, 65534)
os.chmod("closed", 0)
open("sparse", "w").truncate(1 << 40)
for name in [b"\xff\xfe", b"new\nline", b"-rf", b"\x1b[2J", b"n" * 255, b".wh.gone", b"..."]:
    open(name, "w").write("odd\n")
os.link("of-others", "another-name")
for name, value in [("user.mine", b"x"), ("user.overlay.opaque", b"y"), ("trusted.overlay.opaque", b"y")]:
    try:
        os.setxattr("many", name, value)
    except OSError:
        # What a sandbox keeps for itself, or does not have.
        pass
# Deeper than a path may be long.
for _ in range(3000):
    os.mkdir("deep-folder")
    os.chdir("deep-folder")
"#;

fn what_a_guest_leaves_holds_nobody_up_and_hurts_nobody(world: &World) {
    let outside = tree::plant(
        &world.folder().join("outside"),
        &[("file", "of the host\n")],
    );
    let before = tree::look(&outside);
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("odd.py", ODD);
    workspace.output(&format!(
        "ln -s {} to-the-host; python3 odd.py",
        outside.display()
    ));
    workspace.output("cd many; for n in $(seq 200); do mkdir -p $n/$n; done");

    let passwd = workspace.output("cat /etc/passwd");
    looks(world, &workspace, &passwd);
    workspace.snapshot("odd");
    workspace.done("stop", json!({}));
    at_rest(world, &workspace, &passwd);
    // As it was, with all that is in it.
    workspace.reset_to("odd");
    assert_eq!(
        workspace
            .output("stat -c '%a %u %g %h' of-others; cat closed/inside/file; ls many | wc -l"),
        "4000 12345 54321 2\ninside\n200\n"
    );
    assert_eq!(tree::look(&outside), before);
    drop(workspace);
    assert!(assert_only_listed(world, &surface).is_empty());
}

/// A call that ends in time, well or not.
fn ends(
    workspace: &Workspace<'_>,
    operation: &str,
    arguments: serde_json::Value,
) -> Result<serde_json::Value, serde_json::Value> {
    let since = Instant::now();
    let answer = workspace.call(operation, arguments.clone());
    let took = since.elapsed();
    assert!(took < LONG, "{operation} {arguments}: {took:?}");
    if let Err(told) = &answer {
        assert_ne!(
            told["code"], "internal",
            "{operation} {arguments}: {told:#}"
        );
    }
    answer
}

/// While the guest runs.
fn looks(world: &World, workspace: &Workspace<'_>, passwd: &str) {
    let listed = ends(workspace, "file_list", json!({ "recursive": true }));
    eprintln!(
        "LIST {:?}",
        listed.as_ref().map(|one| one["total_entries"].clone())
    );
    for path in [
        "pipe",
        "socket",
        "loop",
        "to-everything",
        "closed",
        "sparse",
    ] {
        let read = ends(workspace, "file_read", json!({ "path": path }));
        eprintln!("READ {path} {read:?}");
    }
    for path in ["to-a-file", "to-root", "to-the-host/file"] {
        let read = ends(workspace, "file_read", json!({ "path": path }));
        eprintln!("READ {path} {read:?}");
        if let Ok(read) = read {
            assert_eq!(read["content"], passwd);
        }
    }
    let diff = ends(workspace, "diff", json!({}));
    eprintln!("DIFF {:?}", diff.map(|one| one["summary"].clone()));
    let out = world.folder().join("out");
    let exported = ends(
        workspace,
        "export",
        json!({ "path": ".", "output_path": out }),
    );
    eprintln!("EXPORT {exported:?}");
    let source = tree::plant(
        &world.folder().join("source"),
        &[
            ("to-the-host/pushed", "pushed\n"),
            ("pipe", "pushed\n"),
            ("to-a-file", "pushed\n"),
            ("closed/inside/file", "inside\n"),
            ("loop/in", "x"),
        ],
    );
    let pushed = ends(workspace, "sync_push", json!({ "source_path": source }));
    eprintln!("PUSH {pushed:?}");
    let written = ends(
        workspace,
        "file_write",
        json!({ "path": "pipe", "text": "x" }),
    );
    eprintln!("WRITE {written:?}");
    let written = ends(
        workspace,
        "file_write",
        json!({ "path": "to-the-host/x", "text": "x" }),
    );
    eprintln!("WRITE {written:?}");
}

/// When it has stopped.
fn at_rest(world: &World, workspace: &Workspace<'_>, passwd: &str) {
    for path in [".", "many", "closed", "to-everything", "deep-folder", "/"] {
        let listed = ends(workspace, "disk_list", json!({ "path": path }));
        eprintln!(
            "DISK LIST {path} {:?}",
            listed.map(|one| one.to_string().len())
        );
    }
    for path in [
        "pipe",
        "socket",
        "loop",
        "to-everything",
        "closed/inside/file",
        "to-a-file",
        "to-root",
        "to-the-host/file",
    ] {
        let read = ends(workspace, "disk_read", json!({ "path": path }));
        eprintln!("DISK READ {path} {read:?}");
        if let Ok(read) = &read {
            assert!(
                read["content"] == passwd || read["content"] == "inside\n",
                "{read:#}"
            );
        }
    }
    let image = world.folder().join("image");
    let exported = ends(workspace, "disk_export", json!({ "output_path": image }));
    eprintln!("DISK EXPORT {exported:?}");
    let _ = fs::metadata(&image).map(|image| image.size());
}

fn a_guest_that_moves_the_workspace_itself_is_told(world: &World) {
    let outside = tree::plant(
        &world.folder().join("outside"),
        &[("file", "of the host\n")],
    );
    let before = tree::look(&outside);
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("file", "mine\n");
    workspace.snapshot("sound");
    for put in [
        &format!("ln -s {} /workspace", outside.display())[..],
        "ln -s / /workspace",
        "ln -s /workspace /workspace",
        "mkfifo /workspace",
        "echo file > /workspace",
        "true",
    ] {
        let moved = workspace.exec(&format!("cd /; mv /workspace /elsewhere; {put}"));
        eprintln!("MOVED {put} {}", moved["exit_code"]);
        for (operation, arguments) in [
            ("file_list", json!({})),
            ("file_read", json!({ "path": "file" })),
            ("file_write", json!({ "path": "file", "text": "new\n" })),
            ("diff", json!({})),
            ("exec", json!({ "command": "pwd" })),
            (
                "export",
                json!({ "path": ".", "output_path": world.folder().join("out") }),
            ),
            ("snapshot_create", json!({ "snapshot_name": "odd" })),
            ("stop", json!({})),
            ("disk_list", json!({ "path": "." })),
            ("disk_read", json!({ "path": "file" })),
            ("start", json!({})),
        ] {
            let answer = ends(&workspace, operation, arguments);
            eprintln!("{put} {operation} {answer:?}");
            if let Ok(answer) = answer {
                assert!(!answer.to_string().contains("of the host"), "{answer:#}");
            }
        }
        let _ = fs::remove_dir_all(world.folder().join("out"));
        let _ = workspace.call("snapshot_delete", json!({ "snapshot_name": "odd" }));
        workspace.reset_to("sound");
        assert_eq!(workspace.read("file"), "mine\n");
        assert_eq!(tree::look(&outside), before);
    }
}
