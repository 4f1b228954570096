//! A guest that leaves odd things where the host's programs look at its files: links out of the disk,
//! pipes that nobody writes to, folders without end, owners, modes and names of every kind.

use std::fs;
use std::path::PathBuf;
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

/// A folder of the host that no guest may reach.
fn outside(world: &World) -> PathBuf {
    let folder = world.folder().join("outside");
    tree::plant(&folder, &[("file", "of the host\n")])
}

fn what_a_guest_leaves_holds_nobody_up_and_hurts_nobody(world: &World) {
    let outside = outside(world);
    let before = tree::look(&outside);
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("odd.py", ODD);
    workspace.output(&format!(
        "ln -s {} to-the-host; python3 odd.py",
        outside.display()
    ));
    workspace.output("cd many; seq 200 | sed 's,.*,&/&,' | xargs mkdir -p");

    looks(world, &workspace);
    // What no name can reach cannot be copied, and is told; all else goes on.
    let told = workspace.refused(
        "snapshot_create",
        json!({ "snapshot_name": "odd" }),
        "host_io",
    );
    for (part, words) in [
        (&told["causes"][0], "deeper than a path reaches"),
        (&told["hint"], "Remove or move"),
    ] {
        let part = part.as_str().unwrap_or_default();
        assert!(part.contains(words) && part.len() < 400, "{told:#}");
    }
    let passwd = workspace.output("cat /etc/passwd");
    workspace.done("stop", json!({}));
    at_rest(world, &workspace, &passwd);
    workspace.output("rm -r deep-folder");
    workspace.snapshot("odd");
    // As it was, with all that is in it.
    workspace.reset_to("odd");
    assert_eq!(
        workspace
            .output("stat -c '%a %u %g %h' of-others; cat closed/inside/file; ls many | wc -l"),
        "4000 12345 54321 2\ninside\n200\n"
    );
    // What is deleted is as deep as before.
    workspace.output("mkdir again; cd again; python3 ../odd.py");
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

/// While the guest runs. Its pipes and sockets are in its kernel only.
fn looks(world: &World, workspace: &Workspace<'_>) {
    let _ = ends(workspace, "file_list", json!({ "recursive": true }));
    for (path, code) in [
        ("pipe", "unknown_file"),
        ("socket", "unknown_file"),
        ("loop", "bad_path"),
        ("to-everything", "bad_path"),
        ("to-a-file", "bad_path"),
        ("to-root", "bad_path"),
        ("to-the-host/file", "bad_path"),
        ("closed", "invalid_argument"),
    ] {
        let told = ends(workspace, "file_read", json!({ "path": path })).unwrap_err();
        assert_eq!(told["code"], code, "{path}: {told:#}");
    }
    let sparse = ends(workspace, "file_read", json!({ "path": "sparse" })).unwrap();
    assert_eq!(sparse["size_bytes"], 1_u64 << 40);
    let _ = ends(workspace, "diff", json!({}));
    let out = world.folder().join("out");
    let export = json!({ "path": ".", "output_path": out });
    let exported = ends(workspace, "export", export).unwrap();
    assert_ne!(exported["skipped"], json!([]), "{exported:#}");
    for (name, content) in [
        ("to-the-host/pushed", "pushed\n"),
        ("to-a-file", "pushed\n"),
        ("loop/in", "pushed\n"),
    ] {
        let source = tree::plant(
            &world.folder().join("source").join(name),
            &[(name, content)],
        );
        let push = json!({ "source_path": source });
        let pushed = ends(workspace, "sync_push", push);
        // A link that is in the way is replaced or refused, and never followed.
        if let Err(told) = pushed {
            let code = told["code"].as_str().unwrap();
            assert!(["bad_path", "conflict"].contains(&code), "{name}: {told:#}");
        }
    }
    let write = json!({ "path": "to-the-host/x", "text": "x" });
    let told = ends(workspace, "file_write", write).unwrap_err();
    assert_eq!(told["code"], "bad_path", "{told:#}");
}

/// When it has stopped.
fn at_rest(world: &World, workspace: &Workspace<'_>, passwd: &str) {
    for path in [".", "many", "closed", "to-everything", "deep-folder", "/"] {
        let _ = ends(workspace, "disk_list", json!({ "path": path }));
    }
    let inside = ends(
        workspace,
        "disk_read",
        json!({ "path": "closed/inside/file" }),
    );
    assert_eq!(inside.unwrap()["content"], "inside\n");
    for path in [
        "pipe",
        "socket",
        "loop",
        "to-everything",
        "to-a-file",
        "to-root",
        "to-the-host/file",
    ] {
        // All of a disk may be read, and a link leads to another place of it.
        if let Ok(read) = ends(workspace, "disk_read", json!({ "path": path })) {
            assert!(
                [passwd, "pushed\n"].contains(&read["content"].as_str().unwrap()),
                "{read:#}"
            );
        }
    }
    let image = world.folder().join("image");
    let _ = ends(workspace, "disk_export", json!({ "output_path": image }));
}

fn a_guest_that_moves_the_workspace_itself_is_told(world: &World) {
    let outside = outside(world);
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
        workspace.exec(&format!("cd /; mv /workspace /elsewhere; {put}"));
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
