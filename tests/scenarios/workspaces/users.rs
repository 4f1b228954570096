//! Who runs what is started in a guest, and whose its files are. One guest for all of it: the default user
//! of an image is played with the images.

use std::time::Duration;

use pyro_tests::world::eventually;
use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [vm, gvisor] [command_line]: a_command_is_run_by_whom_it_is_asked }
crate::stories! { [process] [library]: commands_on_the_host_are_run_by_the_caller }

fn a_command_is_run_by_whom_it_is_asked(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[("seeded", "one\n")]);
    let secrets = json!([{ "name": "TOKEN", "value": "a long secret" }]);
    let arguments = json!({ "seed_path": seed, "secrets": secrets });
    let workspace = Workspace::with(world, surface, arguments);
    let by = |user: &str, command: &str, mut more: Value| {
        more["command"] = json!(command);
        more["user"] = json!(user);
        workspace.call("exec", more)
    };
    let output = |user: &str, command: &str| {
        let result = by(user, command, json!({})).unwrap_or_else(|told| panic!("{told:#}"));
        assert_eq!(result["exit_code"], 0, "{result:#}");
        result["stdout"].as_str().unwrap().to_owned()
    };

    // As who, and with what.
    workspace.output(
        "useradd --create-home --uid 1000 --shell /bin/bash app; adduser --quiet app audio",
    );
    let who = "echo $(id -u):$(id -g) $(id -G) $HOME $USER $LOGNAME $SHELL; umask";
    assert_eq!(
        output("app", who),
        "1000:1000 1000 29 /home/app app app /bin/bash\n0022\n"
    );
    assert_eq!(
        output("1000:games", who),
        "1000:60 60 /home/app app app /bin/bash\n0022\n"
    );
    assert_eq!(output("4711:12", who), "4711:12 12 / /bin/sh\n0022\n");
    assert_eq!(
        output("root", who),
        "0:0 0 /root root root /bin/bash\n0022\n"
    );
    assert_eq!(workspace.output("id -u"), "0\n");
    let rights = "grep -E '^Cap(Prm|Eff)' /proc/self/status | cut -f 2 | sort -u";
    assert_eq!(output("app", rights), "0000000000000000\n");
    // What it writes to may be opened by its name as well.
    let streams = "echo one > /dev/stdout; echo two > /dev/stderr; cat < /dev/stdin | wc -c";
    assert_eq!(output("app", streams), "one\n0\n");
    for (user, why) in [
        (
            "nobdy",
            "there is no user `nobdy` in the guest's /etc/passwd; it has root, app",
        ),
        (
            "app:wheels",
            "there is no group `wheels` in the guest's /etc/group; it has root",
        ),
    ] {
        let told = by(user, "touch made", json!({})).unwrap_err();
        assert_eq!(told["code"], "invalid_argument", "{told:#}");
        assert!(told.to_string().contains(why), "{told:#}");
    }

    // What commands have, they have.
    let told = by(
        "app",
        "echo $T | rev; false",
        json!({ "secret_env": { "TOKEN": "T" } }),
    );
    assert_eq!(told.unwrap()["stdout"], "terces gnol a\n");
    let line = "sleep 1000 & sleep 1001 & trap '' TERM; echo begun; wait";
    let ended = by("app", line, json!({ "timeout_seconds": 2 })).unwrap();
    assert_eq!(
        (&ended["timed_out"], &ended["stdout"]),
        (&json!(true), &json!("begun\n"))
    );
    let job = by("app", "sleep 1002", json!({ "background": true })).unwrap();
    let stopped = workspace.done("exec", json!({ "stop": job["sequence"] }));
    assert_eq!(stopped["signal"], 15, "{stopped:#}");
    let left = "for it in /proc/[0-9]*; do tr '\\0' ' ' < $it/cmdline; done | grep -c '^sleep'";
    assert_eq!(workspace.exec(left)["stdout"], "0\n");

    let opened = workspace.shell("open", json!({ "user": "app" })).unwrap();
    let shell =
        json!({ "shell_id": opened["shell_id"], "input": "id -un; echo to-$((40 + 2)) > $(tty)" });
    workspace.shell("write", shell).unwrap();
    eventually("the shell of a user", Duration::from_secs(60), || {
        let read = json!({ "shell_id": opened["shell_id"], "plain": true });
        let read = workspace.shell("read", read).unwrap();
        let seen = read["output"].as_str().unwrap();
        seen.contains("\napp\n") && seen.contains("to-42")
    });
    let close = json!({ "shell_id": opened["shell_id"] });
    workspace.shell("close", close).unwrap();

    let line = "id -un; id -un > /tmp/of_service; exec sleep 1000";
    let ready = json!({ "user": "app", "ready_command": "test \"$(id -un)\" = app" });
    workspace.starts("own", line, ready);
    assert_eq!(workspace.output("stat -c %U /tmp/of_service"), "app\n");
    workspace.of_service("stop", "own");

    // Whose files are.
    let write = |path: &str, user: Value| {
        workspace.done(
            "file_write",
            json!({ "path": path, "text": "two\n", "user": user }),
        );
    };
    write("below/by_app", json!("app"));
    write("below/by_root", Value::Null);
    workspace.output(
        "touch kept pushed; chown app:games kept pushed seeded; chmod 640 kept pushed seeded",
    );
    write("kept", json!("root"));
    tree::plant(
        &seed,
        &[
            ("seeded", "changed\n"),
            ("pushed", "three\n"),
            ("fresh", "four\n"),
        ],
    );
    workspace.done("sync_push", json!({ "source_path": seed }));
    let patch = "--- a/kept\n+++ b/kept\n@@ -1 +1 @@\n-two\n+patched\n\
                 --- /dev/null\n+++ b/made\n@@ -0,0 +1 @@\n+new\n";
    workspace.done("patch_apply", json!({ "patch": patch }));
    let owners = "stat -c '%n %U:%G %a' below below/* fresh kept made pushed seeded";
    assert_eq!(
        workspace.output(owners),
        "below app:app 755\nbelow/by_app app:app 644\nbelow/by_root root:root 644\n\
         fresh root:root 644\nkept app:games 640\nmade root:root 644\npushed app:games 644\n\
         seeded app:games 644\n"
    );
    assert_eq!(
        workspace.read("kept") + &workspace.read("seeded"),
        "patched\nchanged\n"
    );
    let nobody = json!({ "path": "other", "text": "x", "user": "nobdy" });
    workspace.refused("file_write", nobody, "invalid_argument");
    assert_eq!(workspace.exec("ls other")["exit_code"], 2);
}

fn commands_on_the_host_are_run_by_the_caller(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    for (operation, arguments) in [
        ("exec", json!({ "command": "true", "user": "nobody" })),
        (
            "file_write",
            json!({ "path": "a", "text": "x", "user": "nobody" }),
        ),
    ] {
        let told = workspace.refused(operation, arguments, "invalid_argument");
        assert!(
            told.to_string().contains("run as the user who runs pyro"),
            "{told:#}"
        );
    }
    assert_eq!(workspace.changes(), [] as [String; 0]);
}
