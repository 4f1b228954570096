//! `workspace_diff`: what changed since the beginning.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pyro_tests::world::finish;
use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::{Value, json};

use super::commits::{git, repository};

crate::stories! { [process, vm, gvisor] [library]:
    every_kind_of_change_is_told_and_its_patch_makes_the_same_tree,
}
crate::stories! { [process] [command_line, library]:
    a_diff_beyond_the_limit_comes_in_parts_that_apply,
    what_is_no_file_is_named_and_not_compared,
    a_diff_applies_to_another_workspace,
    what_a_patch_cannot_hold_is_told,
    a_folder_of_a_repository_has_a_diff_for_the_repository,
}
crate::stories! { [process] [command_line]:
    text_of_another_encoding_is_exact,
}

const SEED: &[(&str, &str)] = &[
    ("edit", "one\ntwo\nthree\n"),
    ("open", "no newline"),
    ("gone", "bye\n"),
    ("script", "echo x\n"),
    ("turns", "a file\n"),
    ("sub/keeps", "kept\n"),
    ("sub/with space", "a\n"),
];

const CHANGE: &str = "
    sed -i s/two/TWO/ edit; printf 'still no newline' > open; rm gone; chmod +x script
    rm turns; ln -s sub/keeps turns; printf 'b\\n' > 'sub/with space'
    mkdir -p new/er; echo new > new/er/file; printf '\\000' > new/binary; : > new/empty
    ln -s ../edit new/link; touch sub/keeps";

fn entry<'a>(diff: &'a Value, path: &str) -> &'a Value {
    let entries = diff["entries"].as_array().unwrap();
    let found = entries.iter().find(|entry| entry["path"] == path);
    found.unwrap_or_else(|| panic!("no {path} in {diff:#}"))
}

fn apply(folder: &Path, patch: &str) {
    let file = folder.with_extension("patch");
    fs::write(&file, patch).unwrap();
    let ran = finish(
        Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(&file)
            .current_dir(folder)
            // Not the project that these tests belong to.
            .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap())
            .env("GIT_CONFIG_GLOBAL", "/dev/null"),
    );
    assert_eq!(ran.code(), 0, "{}\n{patch}", ran.err());
}

/// A tree without its times and its folders, neither of which a patch can carry.
fn files(root: &Path) -> Vec<(String, tree::FileState)> {
    let all = tree::look(root)
        .into_iter()
        .filter(|(_, kept)| kept.kind != "folder");
    all.map(|(name, mut kept)| {
        kept.modified = 0;
        // Of modes git knows one bit.
        kept.mode &= 0o100;
        (name.to_string_lossy().into_owned(), kept)
    })
    .collect()
}

fn every_kind_of_change_is_told_and_its_patch_makes_the_same_tree(
    world: &World,
    surface: &dyn Surface,
) {
    let seed = tree::plant(&world.folder().join("seed"), SEED);
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    workspace.output(CHANGE);
    let diff = workspace.done("diff", json!({}));
    assert_eq!(diff["changed"], true);
    assert_eq!(
        workspace.changes(),
        [
            "modified edit",
            "deleted gone",
            "added new/binary",
            "added new/empty",
            "added new/er/file",
            "added new/link",
            "modified open",
            "modified script",
            "modified sub/with space",
            "type_changed turns",
        ]
    );
    assert_eq!(
        entry(&diff, "turns")["new_mode"],
        Value::Null,
        "a link has none"
    );
    let script = entry(&diff, "script");
    assert_eq!(
        (&script["old_mode"], &script["new_mode"]),
        (&json!("0644"), &json!("0755"))
    );
    assert_eq!(entry(&diff, "new/binary")["no_patch_because"], "binary");
    assert_eq!(diff["summary"]["total"], 10);
    assert_eq!(diff["summary"]["non_text"], 1);
    assert_eq!(
        workspace.done("diff", json!({}))["patch"],
        diff["patch"],
        "a second look"
    );

    workspace.exec("rm new/binary");
    apply(&seed, diff["patch"].as_str().unwrap());
    let out = world.folder().join("out");
    workspace.done("export", json!({ "path": ".", "output_path": out }));
    assert_eq!(files(&seed), files(&out));

    // Bytes that are back are no change, whatever the times say.
    workspace.exec("rm edit; printf 'one\\ntwo\\nthree\\n' > edit");
    assert!(!workspace.changes().contains(&"modified edit".to_owned()));
}

fn a_diff_beyond_the_limit_comes_in_parts_that_apply(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    // What is short comes after what is long, and one is too long for any part.
    workspace.exec(
        "for i in $(seq 10 29); do seq 1000 > file-$i; echo x > file-$i-short; done; \
         seq 9000 > file-20",
    );
    let folder = tree::plant(&world.folder().join("parts"), &[]);
    let (mut skip, mut paths, mut parts) = (json!(0), Vec::new(), 0);
    while !skip.is_null() {
        let part = workspace.done("diff", json!({ "max_bytes": 20_000, "skip": skip }));
        assert_eq!(part["summary"]["total"], 40);
        let patch = part["patch"].as_str().unwrap();
        assert!(patch.len() <= 20_000);
        apply(&folder, patch);
        let entries = part["entries"].as_array().unwrap();
        for (entry, at) in entries.iter().zip(skip.as_u64().unwrap()..) {
            if entry["no_patch_because"] == "limit" {
                assert_eq!(entry["path"], "file-20");
                let long = json!({ "max_bytes": 100_000, "skip": at });
                let long = workspace.done("diff", long);
                let patch = long["entries"][0]["text_patch"].as_str().unwrap();
                apply(&folder, patch);
            }
            paths.push(entry["path"].as_str().unwrap().to_owned());
        }
        assert_eq!(part["patch_truncated"], !part["next_skip"].is_null());
        (skip, parts) = (part["next_skip"].clone(), parts + 1);
    }
    assert!(parts > 1);
    assert_eq!(paths.len(), 40);
    let out = world.folder().join("out");
    workspace.done("export", json!({ "path": ".", "output_path": out }));
    assert_eq!(files(&folder), files(&out));
}

fn what_is_no_file_is_named_and_not_compared(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkfifo pipe; mkdir deep; mkfifo deep/pipe; echo x > file");
    let diff = workspace.done("diff", json!({}));
    assert_eq!(
        diff["skipped"],
        json!(["/workspace/deep/pipe", "/workspace/pipe"])
    );
    let out = world.folder().join("out");
    let exported = workspace.done("export", json!({ "path": ".", "output_path": out }));
    assert_eq!(
        exported["skipped"].as_array().unwrap().len(),
        2,
        "{exported:#}"
    );
    assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "x\n");
    assert!(out.join("pipe").symlink_metadata().is_err());
}

fn a_diff_applies_to_another_workspace(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), SEED);
    let [one, other] =
        [(); 2].map(|()| Workspace::with(world, surface, json!({ "seed_path": seed })));
    one.output(CHANGE);
    one.exec("rm new/binary");
    let diff = one.done("diff", json!({}));
    other.done("patch_apply", json!({ "patch": diff["patch"] }));
    assert_eq!(other.done("diff", json!({}))["patch"], diff["patch"]);
}

/// Empty files, modes that git does not tell apart, folders that become files, and bytes.
fn what_a_patch_cannot_hold_is_told(world: &World, surface: &dyn Surface) {
    let [seed, for_git, for_patch] = ["seed", "git", "gnu"].map(|name| {
        let files = [
            ("edit", "one\n"),
            ("group", "x\n"),
            ("empty", ""),
            ("bytes", "\0\n"),
            ("turns/keep", "x\n"),
        ];
        let folder = tree::plant(&world.folder().join(name), &files);
        fs::set_permissions(folder.join("group"), fs::Permissions::from_mode(0o664)).unwrap();
        folder
    });
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    workspace.output(
        "chmod 644 group; chmod 600 edit; echo two > edit; rm empty; printf '\\000\\001' > bytes; \
         mkdir gap; : > fresh",
    );
    let diff = workspace.done("diff", json!({}));
    assert_eq!(entry(&diff, "group")["no_patch_because"], "mode");
    assert_eq!(entry(&diff, "group")["old_mode"], "0664");
    assert_eq!(entry(&diff, "gap")["no_patch_because"], "not_a_file");
    assert_eq!(entry(&diff, "bytes")["no_patch_because"], "binary");
    assert_eq!(diff["patch_complete"], false);
    assert!(!diff["patch"].as_str().unwrap().contains("group"));
    let export = |name: &str| {
        let out = world.folder().join(name);
        workspace.done("export", json!({ "path": ".", "output_path": out }));
        out
    };

    // GNU patch takes all but the bytes, and so does another workspace.
    let out = export("first");
    let text = world.folder().join("text.patch");
    fs::write(&text, diff["patch"].as_str().unwrap()).unwrap();
    let mut patch = Command::new("patch");
    patch.args(["-p1", "--silent", "-i", "../text.patch"]);
    let ran = finish(patch.current_dir(&for_patch));
    assert_eq!(ran.code(), 0, "{}", ran.err());
    fs::copy(out.join("bytes"), for_patch.join("bytes")).unwrap();
    assert_eq!(files(&for_patch), files(&out));
    let other = Workspace::with(world, surface, json!({ "seed_path": seed }));
    other.done("patch_apply", json!({ "patch": diff["patch"] }));
    assert!(other.call("file_read", json!({ "path": "empty" })).is_err());
    assert_eq!(other.read("fresh"), "");

    // And git everything, also a file in the place of a folder.
    workspace.exec("rm -r turns; echo file > turns");
    let whole = workspace.done("diff", json!({ "binary": true }));
    assert_eq!(whole["patch_complete"], true);
    apply(&for_git, whole["patch"].as_str().unwrap());
    assert_eq!(files(&for_git), files(&export("second")));
}

fn a_folder_of_a_repository_has_a_diff_for_the_repository(world: &World, surface: &dyn Surface) {
    let files = [("top", "top\n"), ("services/my api/app", "one\n")];
    let root = repository(&world.folder().join("root"), &files);
    let seed = root.join("services/my api");
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let change = "echo two > app; echo new > new";
    workspace.exec(change);
    let diff = workspace.done("diff", json!({}));
    assert!(
        diff["patch"]
            .as_str()
            .unwrap()
            .contains("b/services/my api/app")
    );
    assert_eq!(diff["entries"][0]["path"], "app");
    let file = world.folder().join("x.diff");
    fs::write(&file, diff["patch"].as_str().unwrap()).unwrap();
    for folder in [&root, &seed] {
        git(folder, &["apply", file.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(seed.join("app")).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(seed.join("new")).unwrap(), "new\n");
        git(&root, &["checkout", "--quiet", "."]);
        git(&root, &["clean", "--quiet", "--force", "-d"]);
    }
    let other = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let applied = other.done("patch_apply", json!({ "patch": diff["patch"] }));
    assert!(
        applied["notes"][0].as_str().unwrap().contains("root"),
        "{applied:#}"
    );
    assert_eq!(other.read("app"), "two\n");
    assert_eq!(other.read("new"), "new\n");
    let plain = workspace.done("diff", json!({ "prefix": "" }));
    assert!(
        plain["patch"]
            .as_str()
            .unwrap()
            .starts_with("diff --git a/app b/app")
    );
    workspace.refused("diff", json!({ "prefix": "../x" }), "invalid_argument");
}

fn text_of_another_encoding_is_exact(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[]);
    fs::write(seed.join("latin"), b"caf\xe9\n").unwrap();
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    workspace.exec("printf 'th\\351\\n' > latin");
    let diff = workspace.done("diff", json!({}));
    assert_eq!(entry(&diff, "latin")["not_utf8"], true);
    let ran = finish(&mut world.pyro(["workspace", "diff", workspace.id()]));
    let text = &ran.stdout;
    assert!(
        text.windows(9).any(|part| part == b"-caf\xe9\n+th"),
        "{}",
        ran.out()
    );
    let file = world.folder().join("latin.patch");
    fs::write(&file, text).unwrap();
    let mut git = Command::new("git");
    git.arg("apply").arg(&file).current_dir(&seed);
    git.env("GIT_CEILING_DIRECTORIES", world.folder());
    assert_eq!(finish(&mut git).code(), 0);
    assert_eq!(fs::read(seed.join("latin")).unwrap(), b"th\xe9\n");
}
