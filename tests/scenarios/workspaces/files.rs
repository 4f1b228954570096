//! `workspace_file_list`, `workspace_file_read`, `workspace_file_write`.

use pyro_tests::{Backend, Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [library]: a_file_is_written_listed_and_read }
crate::stories! { [process] [command_line, library]:
    a_file_is_read_in_pieces_and_lines,
    a_write_makes_folders_and_keeps_the_mode,
    links_that_leave_are_not_followed,
    odd_files_are_listed_and_not_read,
}
crate::stories! { [process] [command_line, library, mcp]: a_binary_file_goes_both_ways }
crate::stories! { [process, vm, gvisor] [mcp]: a_file_keeps_what_belongs_to_it }
crate::stories! { [process] [command_line, library]: a_long_list_is_whole }
crate::stories! { [process]: the_content_alone_is_written_byte_for_byte }

fn a_file_is_written_listed_and_read(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let written = workspace.done(
        "file_write",
        json!({ "path": "src/a.txt", "text": "héllo\n" }),
    );
    assert_eq!(written["path"], "/workspace/src/a.txt");
    assert_eq!(written["bytes_written"], 7);
    assert_eq!(written["created"], true);
    assert_eq!(workspace.output("cat src/a.txt"), "héllo\n");
    workspace.exec("ln -s a.txt src/link; mkdir src/sub; touch b");
    let read = workspace.done("file_read", json!({ "path": "/workspace/src/a.txt" }));
    assert_eq!(read["content"], "héllo\n");
    assert_eq!(read["size_bytes"], 7);
    assert_eq!(read["binary"], false);
    assert_eq!(read["truncated"], false);
    let names = |arguments: Value| -> Vec<String> {
        let listed = workspace.done("file_list", arguments);
        let entries = listed["entries"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| {
                format!(
                    "{} {}",
                    entry["artifact_type"].as_str().unwrap(),
                    entry["path"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(
        names(json!({})),
        ["file /workspace/b", "directory /workspace/src"]
    );
    assert_eq!(
        names(json!({ "path": "src", "recursive": true })),
        [
            "file /workspace/src/a.txt",
            "symlink /workspace/src/link",
            "directory /workspace/src/sub"
        ]
    );
    assert_eq!(
        names(json!({ "path": "src/link" })),
        ["symlink /workspace/src/link"]
    );
    workspace.exec("ln -s src way");
    assert_eq!(names(json!({ "path": "way" })), ["symlink /workspace/way"]);
    assert_eq!(
        names(json!({ "path": "way/" })),
        [
            "file /workspace/way/a.txt",
            "symlink /workspace/way/link",
            "directory /workspace/way/sub"
        ]
    );
    let cut = workspace.done("file_list", json!({ "recursive": true, "max_entries": 2 }));
    assert_eq!(
        (&cut["total_entries"], &cut["truncated"]),
        (&json!(6), &json!(true))
    );
    workspace.refused("file_list", json!({ "path": "missing" }), "unknown_file");
    workspace.refused("file_read", json!({ "path": "missing" }), "unknown_file");
}

fn a_file_is_read_in_pieces_and_lines(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("seq 1 100000 > big; printf 'aé' > cut");
    let big = |arguments: Value| {
        let mut arguments = arguments;
        arguments["path"] = json!("big");
        workspace.done("file_read", arguments)
    };
    let first = big(json!({ "max_bytes": 6 }));
    assert_eq!(first["content"], "1\n2\n3\n");
    assert_eq!(
        (&first["truncated"], &first["next_offset"]),
        (&json!(true), &json!(6))
    );
    assert_eq!(first["size_bytes"], 588_895);
    assert_eq!(
        big(json!({ "offset": 6, "max_bytes": 2 }))["content"],
        "4\n"
    );
    let end = big(json!({ "offset": 588_888 }));
    assert_eq!(
        (&end["content"], &end["truncated"]),
        (&json!("100000\n"), &json!(false))
    );
    let lines = big(json!({ "start_line": 99_998, "line_count": 2 }));
    assert_eq!(lines["content"], "99998\n99999\n");
    let behind = big(json!({ "offset": 1_000_000 }));
    assert_eq!(behind["content"], "");
    // A character is not cut in two.
    let cut = workspace.done("file_read", json!({ "path": "cut", "max_bytes": 2 }));
    assert_eq!(
        (&cut["content"], &cut["next_offset"]),
        (&json!("a"), &json!(1))
    );
    workspace.refused(
        "file_read",
        json!({ "path": "big", "max_bytes": 0 }),
        "invalid_argument",
    );
}

fn a_binary_file_goes_both_ways(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec(r"printf 'a\000b\377' > binary; printf 'a\377b' > latin");
    let binary = workspace.done("file_read", json!({ "path": "binary" }));
    assert_eq!(
        (&binary["binary"], &binary["content"]),
        (&json!(true), &json!(""))
    );
    let latin = workspace.done("file_read", json!({ "path": "latin" }));
    assert_eq!(latin["content"], "a\u{fffd}b");
    assert_eq!(latin["content_encoding"], "utf-8-replaced");
    for path in ["binary", "latin", "empty"] {
        workspace.exec("touch empty");
        let read = workspace.done("file_read", json!({ "path": path, "encoding": "base64" }));
        assert_eq!(read["content_encoding"], "base64", "{read:#}");
        let written = workspace.done(
            "file_write",
            json!({
                "path": "copy",
                "text": read["content"],
                "encoding": read["content_encoding"],
            }),
        );
        assert_eq!(written["bytes_written"], read["size_bytes"]);
        assert_eq!(
            workspace.output(&format!("cmp copy {path} && echo same")),
            "same\n"
        );
    }
    // In pieces, which are put together by whoever reads them.
    let piece = json!({ "path": "binary", "offset": 1, "max_bytes": 2, "encoding": "base64" });
    let piece = workspace.done("file_read", piece);
    assert_eq!(
        (&piece["content"], &piece["next_offset"]),
        (&json!("AGI="), &json!(3))
    );
    let bad = json!({ "path": "copy", "text": "no base64!", "encoding": "base64" });
    workspace.refused("file_write", bad, "invalid_argument");
}

fn a_file_keeps_what_belongs_to_it(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    // Who is not root, as on a host, has no file of somebody else's to give.
    let owner = match world.backend {
        Backend::Vm | Backend::Gvisor => "chown 33:34 one named",
        Backend::Process => "true",
    };
    let set = |name: &str| format!("os.setxattr(\"{name}\", \"user.note\", b\"kept\")");
    let attributes = format!("python3 -c 'import os; {}; {}'", set("one"), set("named"));
    let attributes = match world.backend {
        Backend::Vm => attributes.as_str(),
        // gVisor refuses them.
        Backend::Gvisor | Backend::Process => "true",
    };
    workspace.output(&format!(
        "mkdir d && printf 'old\\n' | tee one > named && chmod 640 one && chmod 751 named \
         && ln named d/other && {owner} && {attributes} && ln -s one link && ln -s /workspace/d folder"
    ));
    let about = || {
        let attributes = "python3 -c 'import os; print([os.getxattr(name, \"user.note\") for name in \
                          (\"one\", \"named\")])'";
        let more = match world.backend {
            Backend::Vm => attributes,
            Backend::Gvisor | Backend::Process => "true",
        };
        workspace.output(&format!(
            "stat -c '%n %a %u %g %h' one named d/other; stat -c %i named; {more}"
        ))
    };
    let before = about();
    let written = |path: &str| {
        let done = workspace.done("file_write", json!({ "path": path, "text": "new\n" }));
        assert_eq!(done["created"], false, "{done:#}");
    };
    written("link");
    written("named");
    assert_eq!(about(), before);
    assert_eq!(
        workspace.output("cat one d/other; readlink link"),
        "new\nnew\none\n"
    );
    let patch = "--- a/one\n+++ b/one\n@@ -1 +1 @@\n-new\n+patched\n\
                 --- a/d/other\n+++ b/d/other\n@@ -1 +1 @@\n-new\n+patched\n";
    workspace.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(about(), before);
    assert_eq!(workspace.output("cat one named"), "patched\npatched\n");
    // What fails changes none of them, whichever was written by then.
    let patch = "--- a/named\n+++ b/named\n@@ -1 +1 @@\n-patched\n+again\n\
                 --- /dev/null\n+++ b/link/new\n@@ -0,0 +1 @@\n+x\n";
    assert!(
        workspace
            .call("patch_apply", json!({ "patch": patch }))
            .is_err()
    );
    assert_eq!(about(), before);
    assert_eq!(workspace.read("named"), "patched\n");
    // A link to a folder by its whole name is one that stays inside, in a guest.
    if world.backend != Backend::Process {
        workspace.write("folder/made", "here\n");
        assert_eq!(workspace.output("cat d/made"), "here\n");
        assert_eq!(workspace.read("folder/made"), "here\n");
    }
}

fn a_long_list_is_whole(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.output("mkdir many && cd many && seq 10100 | xargs touch");
    let listed = workspace.done("file_list", json!({ "path": "many" }));
    assert_eq!(listed["entries"].as_array().unwrap().len(), 10_100);
    assert_eq!(
        (&listed["truncated"], &listed["next_skip"]),
        (&json!(false), &Value::Null)
    );
    let part = json!({ "path": "many", "max_entries": 10, "skip": 10_000 });
    assert_eq!(workspace.done("file_list", part)["next_skip"], 10_010);
}

fn the_content_alone_is_written_byte_for_byte(world: &World) {
    let surface = pyro_tests::surfaces::cli::CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.exec(r"printf 'a\000\377' > binary");
    let mut read = world.pyro([
        "workspace",
        "file",
        "read",
        workspace.id(),
        "binary",
        "--content-only",
    ]);
    assert_eq!(pyro_tests::world::finish(&mut read).stdout, b"a\0\xff");
    let mut write = world.pyro([
        "workspace",
        "file",
        "write",
        workspace.id(),
        "in",
        "--text-file",
        "-",
    ]);
    let ran = pyro_tests::world::finish_with_input(&mut write, b"from stdin".to_vec());
    assert_eq!(ran.code(), 0, "{}", ran.err());
    assert_eq!(workspace.read("in"), "from stdin");
    let mut write = world.pyro([
        "workspace",
        "file",
        "write",
        workspace.id(),
        "in",
        "--json",
        "--text-file",
        "-",
    ]);
    let ran = pyro_tests::world::finish_with_input(&mut write, b"not \xff\0 text".to_vec());
    assert_eq!(ran.json()["bytes_written"], 11, "{}", ran.out());
    assert_eq!(
        workspace.output("od -An -c in"),
        "   n   o   t     377  \\0       t   e   x   t\n"
    );
}

fn a_write_makes_folders_and_keeps_the_mode(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.write("deep/er/run", "#!/bin/sh\necho first\n");
    workspace.exec("chmod 750 deep/er/run");
    let written = workspace.done(
        "file_write",
        json!({ "path": "deep/er/run", "text": "#!/bin/sh\necho second\n" }),
    );
    assert_eq!(written["created"], false);
    assert_eq!(
        workspace.output("./deep/er/run; stat -c %a deep/er/run"),
        "second\n750\n"
    );
    workspace.write("empty", "");
    assert_eq!(workspace.read("empty"), "");
    workspace.refused(
        "file_write",
        json!({ "path": "deep", "text": "" }),
        "conflict",
    );
    workspace.refused(
        "file_write",
        json!({ "path": "empty/below", "text": "" }),
        "bad_path",
    );
    let too_long = "x".repeat(255) + "x";
    workspace.refused(
        "file_write",
        json!({ "path": too_long, "text": "" }),
        "bad_path",
    );
}

fn links_that_leave_are_not_followed(world: &World, surface: &dyn Surface) {
    let outside = world.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "secret").unwrap();
    let workspace = Workspace::new(world, surface);
    let (folder, file) = (outside.display(), outside.join("file"));
    workspace.exec(&format!(
        "ln -s {folder} out; ln -s {} out-file; ln -s real in; echo kept > real",
        file.display()
    ));
    for path in [
        "out/file",
        "out-file",
        "../file",
        "/etc/passwd",
        "a/../../b",
    ] {
        let told = workspace.refused(
            "file_write",
            json!({ "path": path, "text": "mine" }),
            "bad_path",
        );
        assert!(!told.to_string().contains("secret"));
        workspace.refused("file_read", json!({ "path": path }), "bad_path");
    }
    workspace.refused("file_list", json!({ "path": "out/file" }), "bad_path");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 1);
    assert_eq!(workspace.read("in"), "kept\n");
}

fn odd_files_are_listed_and_not_read(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkfifo pipe; mkdir dir");
    let listed = workspace.done("file_list", json!({}));
    assert_eq!(
        listed["entries"][1]["artifact_type"], "special",
        "{listed:#}"
    );
    for path in ["pipe", "dir"] {
        let arguments = json!({ "path": path });
        let told = workspace.refused("file_read", arguments, "invalid_argument");
        assert!(told.to_string().contains("only regular files"), "{told:#}");
    }
}
