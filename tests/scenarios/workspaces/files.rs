//! `workspace_file_list`, `workspace_file_read`, `workspace_file_write`.

use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [process, vm] [library]: a_file_is_written_listed_and_read }
crate::stories! { [process] [command_line, library]:
    a_file_is_read_in_pieces_and_lines,
    a_binary_file_is_recognised,
    a_write_makes_folders_and_keeps_the_mode,
    links_that_leave_are_not_followed,
    odd_files_are_listed_and_not_read,
}
crate::stories! { [process]: the_content_alone_is_written_byte_for_byte }

fn a_file_is_written_listed_and_read(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
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
    let cut = workspace.done("file_list", json!({ "recursive": true, "max_entries": 2 }));
    assert_eq!(
        (&cut["total_entries"], &cut["truncated"]),
        (&json!(5), &json!(true))
    );
    workspace.refused("file_list", json!({ "path": "missing" }), "unknown_file");
    workspace.refused("file_read", json!({ "path": "missing" }), "unknown_file");
}

fn a_file_is_read_in_pieces_and_lines(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
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

fn a_binary_file_is_recognised(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
    workspace.exec(r"printf 'a\000b' > binary; printf 'a\377b' > latin");
    let binary = workspace.done("file_read", json!({ "path": "binary" }));
    assert_eq!(
        (&binary["binary"], &binary["content"]),
        (&json!(true), &json!(""))
    );
    let latin = workspace.done("file_read", json!({ "path": "latin" }));
    assert_eq!(latin["content"], "a\u{fffd}b");
    assert_eq!(latin["content_encoding"], "utf-8-replaced");
}

fn the_content_alone_is_written_byte_for_byte(world: &World) {
    let door = pyro_tests::surfaces::cli::CommandLine(world);
    let workspace = Workspace::new(world, &door);
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
    let ran = pyro_tests::world::finish_with_input(&mut write, b"not \xff text".to_vec());
    assert_eq!(ran.json()["code"], "invalid_argument", "{}", ran.out());
    assert_eq!(workspace.read("in"), "from stdin");
}

fn a_write_makes_folders_and_keeps_the_mode(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
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

fn links_that_leave_are_not_followed(world: &World, door: &dyn Surface) {
    let outside = world.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "secret").unwrap();
    let workspace = Workspace::new(world, door);
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

fn odd_files_are_listed_and_not_read(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
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
