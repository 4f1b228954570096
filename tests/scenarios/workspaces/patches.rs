//! `workspace_patch_apply`.

use pyro_tests::{Surface, Workspace, World};
use serde_json::json;

use super::commits::repository;

crate::stories! { [process, vm, gvisor] [library]: a_patch_of_git_is_applied }
crate::stories! { [process] [command_line, library, mcp]:
    a_patch_in_the_form_of_codex_is_applied,
    a_patch_leaves_a_repository_s_own_folder_alone,
    a_patch_of_a_repository_lands_in_a_seed_of_one_folder,
}
crate::stories! { [process] [command_line, library]:
    a_patch_that_does_not_fit_changes_nothing_and_says_where,
    a_patch_that_leaves_is_refused,
    endings_of_lines_and_files_are_kept,
    changes_of_kind_apply_to_another_workspace,
}

fn a_patch_of_git_is_applied(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec(
        "printf 'one\\ntwo\\nthree\\n' > edit; echo bye > gone; echo same > old-name; \
         printf '\\0\\1\\2' > image",
    );
    let patch = "\
diff --git a/edit b/edit
--- a/edit
+++ b/edit
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
diff --git a/gone b/gone
deleted file mode 100644
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-bye
diff --git a/deep/new.sh b/deep/new.sh
new file mode 100755
--- /dev/null
+++ b/deep/new.sh
@@ -0,0 +1,2 @@
+#!/bin/sh
+echo new
diff --git a/old-name b/new-name
similarity index 100%
rename from old-name
rename to new-name
diff --git a/image b/image
index 8352675d67aed6625ece79af41c27fdb4ee2e867..1592e5c60f1a460928916dc5681fee1a9bd10868 100644
GIT binary patch
literal 3
Kc${NkWCj2L2ml2D

literal 3
Kc${NkWC8#H2LJ>B

diff --git i/w/added w/w/added
new file mode 100644
index 0000000..8ba3a16
--- /dev/null
+++ w/w/added
@@ -0,0 +1 @@
+n
";
    let applied = workspace.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(applied["changed"], true);
    assert_eq!(applied["patch"], patch);
    let told: Vec<_> = applied["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            format!(
                "{} {}",
                entry["status"].as_str().unwrap(),
                entry["path"].as_str().unwrap()
            )
        })
        .collect();
    assert!(
        told.contains(&"modified /workspace/edit".to_owned()),
        "{applied:#}"
    );
    assert!(
        told.contains(&"deleted /workspace/gone".to_owned()),
        "{applied:#}"
    );
    assert!(
        told.contains(&"added /workspace/deep/new.sh".to_owned()),
        "{applied:#}"
    );
    assert_eq!(
        workspace.output("ls; cat edit new-name w/added; ./deep/new.sh; od -An -tx1 image"),
        "deep\nedit\nimage\nnew-name\nw\none\nTWO\nthree\nsame\nn\nnew\n 00 01 03\n"
    );
    assert_eq!(applied["format"], "unified");
}

fn a_patch_in_the_form_of_codex_is_applied(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("printf 'one\\ntwo\\n' > old; chmod 750 old; echo bye > gone; echo 1 > kept");
    let head = "*** Begin Patch\n";
    let patch = format!(
        "{head}*** Update File: old\n*** Move to: deep/new\n@@ one\n-two\n+TWO\n*** Add File: \
         made\n+m\n*** Delete File: gone\n*** End Patch\n"
    );
    let applied = workspace.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(applied["format"], "begin_patch");
    assert_eq!(applied["summary"]["total"], 4);
    assert_eq!(
        workspace.output("ls; cat deep/new made; stat -c %a deep/new"),
        "deep\nkept\nmade\none\nTWO\nm\n750\n"
    );
    for (body, words) in [
        ("*** Add File: kept\n+2\n", "kept, which already exists"),
        ("*** Update File: kept\n@@\n-2\n+3\n", "does not apply"),
    ] {
        let patch = format!("{head}*** Delete File: made\n{body}*** End Patch\n");
        let told = workspace.refused("patch_apply", json!({ "patch": patch }), "patch_failed");
        assert!(told.to_string().contains(words), "{told:#}");
    }
    let block = "kept\n<<<<<<< SEARCH\n1\n=======\n2\n>>>>>>> REPLACE\n";
    let told = workspace.refused("patch_apply", json!({ "patch": block }), "patch_failed");
    assert!(told.to_string().contains("*** Begin Patch"), "{told:#}");
    assert_eq!(workspace.output("cat kept made"), "1\nm\n");
}

fn a_patch_leaves_a_repository_s_own_folder_alone(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkdir -p lib/.git; echo ref > lib/.git/HEAD; echo a > x");
    let patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\
                 --- a/lib/.git/HEAD\n+++ b/lib/.git/HEAD\n@@ -1 +1 @@\n-ref\n+other\n";
    let told = workspace.refused("patch_apply", json!({ "patch": patch }), "patch_failed");
    let words = told.to_string();
    for word in ["lib/.git/HEAD", "git commit", "workspace_exec"] {
        assert!(words.contains(word), "no `{word}` in {told:#}");
    }
    assert_eq!(workspace.output("cat lib/.git/HEAD x"), "ref\na\n");
}

fn a_patch_that_does_not_fit_changes_nothing_and_says_where(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.write("fits", "a\n");
    workspace.write(
        "differs",
        "the first line\nthe second line is this\nthe third line\n",
    );
    let patch = "\
--- a/fits
+++ b/fits
@@ -1 +1 @@
-a
+b
--- a/differs
+++ b/differs
@@ -1,3 +1,3 @@
 the first line
-the second line was that
+changed
 the third line
";
    let told = workspace.refused("patch_apply", json!({ "patch": patch }), "patch_failed");
    let words = told.to_string();
    for word in ["differs", "hunk 1", "the second line is this"] {
        assert!(words.contains(word), "no `{word}` in {told:#}");
    }
    assert_eq!(workspace.read("fits"), "a\n");
    for patch in [
        "nothing like a patch",
        "--- a/fits\n+++ b/fits\n@@ broken @@\n",
    ] {
        workspace.refused("patch_apply", json!({ "patch": patch }), "patch_failed");
    }
    workspace.refused("patch_apply", json!({ "patch": " \n" }), "invalid_argument");
    assert_eq!(workspace.output("ls; cat fits"), "differs\nfits\na\n");
}

fn a_patch_that_leaves_is_refused(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("ln -s /tmp out");
    for path in [
        "../outside",
        "/etc/outside",
        "a/../../outside",
        "out/outside",
    ] {
        let patch = format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+mine\n");
        let patch = patch.replace("b//", "/");
        let told = workspace
            .call("patch_apply", json!({ "patch": patch }))
            .unwrap_err();
        let code = told["code"].as_str().unwrap();
        assert!(
            ["bad_path", "patch_failed"].contains(&code),
            "{path}: {told:#}"
        );
    }
    assert_eq!(workspace.output("ls"), "out\n");
}

fn endings_of_lines_and_files_are_kept(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.write("dos", "one\r\ntwo\r\n");
    workspace.write("open", "one\ntwo");
    let patch = "\
--- a/dos
+++ b/dos
@@ -1,2 +1,2 @@
 one\r
-two\r
+TWO\r
--- a/open
+++ b/open
@@ -1,2 +1,2 @@
 one
-two
\\ No newline at end of file
+TWO
\\ No newline at end of file
";
    workspace.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(workspace.read("dos"), "one\r\nTWO\r\n");
    assert_eq!(workspace.read("open"), "one\nTWO");
}

fn changes_of_kind_apply_to_another_workspace(world: &World, surface: &dyn Surface) {
    let seed = "mkdir -p dir/sub other; echo x > dir/x; echo y > dir/sub/y; echo f > f; ln -s f lnk; \
                ln -s f way; echo z > other/z; echo p > plain";
    let change = "rm -r dir; echo file > dir; rm f; mkdir f; echo in > f/in; rm lnk; echo own > lnk; \
                  rm way; mkdir way; echo w > way/w; rm -r other; ln -s plain other";
    let look = "find . -printf '%y %p %l\\n' | sort; cat dir f/in lnk way/w";
    let first = Workspace::with(world, surface, json!({}));
    first.output(seed);
    let source = world.folder().join("source");
    first.done("export", json!({ "path": ".", "output_path": source }));
    let made = |_| Workspace::with(world, surface, json!({ "seed_path": source }));
    let [changed, fresh, fuller] = [0, 1, 2].map(made);
    changed.output(change);
    let patch = changed.done("diff", json!({}))["patch"].clone();
    fresh.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(fresh.output(look), changed.output(look));
    // A folder that holds more than the patch knows of stays, and so does all the rest.
    fuller.output("echo mine > dir/sub/mine");
    let before = fuller.output("find . | sort");
    fuller.refused("patch_apply", json!({ "patch": patch }), "conflict");
    assert_eq!(fuller.output("find . | sort"), before);
}

fn a_patch_of_a_repository_lands_in_a_seed_of_one_folder(world: &World, surface: &dyn Surface) {
    let files = [("top", "top\n"), ("services/api/x", "one\n")];
    let root = repository(&world.folder().join("mono"), &files);
    let seed = root.join("services/api");
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let made = |name: &str| format!("--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+n\n");
    for (patch, path) in [
        (
            "diff --git i/services/api/x w/services/api/x\n--- i/services/api/x\n\
             +++ w/services/api/x\n@@ -1 +1 @@\n-one\n+n\n"
                .to_owned(),
            "x",
        ),
        (made("b/services/api/nn"), "nn"),
        (
            "*** Begin Patch\n*** Add File: services/api/cx\n+n\n*** End Patch\n".to_owned(),
            "cx",
        ),
    ] {
        let applied = workspace.done("patch_apply", json!({ "patch": patch }));
        let path = format!("/workspace/{path}");
        assert_eq!(applied["entries"][0]["path"], path, "{applied:#}");
        assert!(
            applied["notes"][0]
                .as_str()
                .unwrap()
                .contains("services/api/"),
            "{applied:#}"
        );
        assert_eq!(workspace.read(&path), "n\n");
    }
    let patch = format!("{}{}", made("b/services/api/in"), made("b/lib/out"));
    let told = workspace.refused("patch_apply", json!({ "patch": patch }), "patch_failed");
    let told = told.to_string();
    assert!(
        told.contains("`lib/out`") || told.contains("`b/lib/out`"),
        "{told}"
    );
    assert!(told.contains("services/api/"), "{told}");
    assert_eq!(workspace.output("ls"), "cx\nnn\nx\n");
    // A folder of that name is meant, when it is there.
    workspace.output("mkdir -p services/api");
    let patch = made("b/services/api/in");
    let applied = workspace.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(applied["notes"], json!([]));
    assert_eq!(workspace.read("services/api/in"), "n\n");
    // As mail programs send it.
    let mail = "From: a <a@example.org>\nContent-Transfer-Encoding: quoted-printable\n\nSay\n---\n\
                --- /dev/null\n+++ b/mailed\n@@ -0,0 +1 @@\n+a=3Db\n";
    workspace.done("patch_apply", json!({ "patch": mail }));
    assert_eq!(workspace.read("mailed"), "a=b\n");
}
