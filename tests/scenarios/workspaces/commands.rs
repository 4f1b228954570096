//! `workspace_exec` and `workspace_logs`.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::world::{Running, eventually, finish};
use pyro_tests::{Surface, Workspace, World, surfaces::cli::CommandLine};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [library]:
    a_command_leaves_files_and_a_place_in_the_history,
}
crate::stories! { [process] [command_line, library]:
    a_timeout_keeps_what_was_written,
    signals_and_statuses_are_the_commands_own,
    the_history_is_read_in_pieces,
}
crate::stories! { [process, vm, gvisor] [mcp]: a_command_whose_output_is_no_text_runs_once }
crate::stories! { [process]:
    output_comes_live_and_byte_for_byte,
    what_was_written_is_shown_byte_for_byte,
    several_at_once_get_numbers_of_their_own,
    an_interrupted_command_keeps_its_place,
}
crate::stories! { [process, vm, gvisor] [library]: long_output_is_kept_whole_for_later }

fn a_command_leaves_files_and_a_place_in_the_history(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    assert_eq!(
        workspace
            .output("pwd; echo made > file")
            .trim()
            .rsplit('/')
            .next(),
        Some("workspace")
    );
    let result = workspace.exec("cat file; echo oops >&2; exit 3");
    assert_eq!(result["stdout"], "made\n");
    assert_eq!(result["stderr"], "oops\n");
    assert_eq!(result["exit_code"], 3);
    assert_eq!(result["sequence"], 2);
    assert_eq!(result["cwd"], "/workspace");
    assert_eq!(result["workspace_started"], false);
    let status = workspace.status();
    assert_eq!(status["command_count"], 2);
    assert_eq!(status["last_command"]["sequence"], 2);
    assert_eq!(status["last_command"]["exit_code"], 3);
    let logs = workspace.done("logs", json!({}));
    assert_eq!(logs["total"], 2);
    assert_eq!(logs["entries"][1]["stdout"], "made\n");
    assert_eq!(logs["entries"][1]["stderr"], "oops\n");
    assert_eq!(logs["events"][0]["event"], "created");
    // Folders and variables do not carry over.
    workspace.exec("cd /; export MARK=1");
    assert_eq!(
        workspace.output("echo ${MARK:-none}; cat file"),
        "none\nmade\n"
    );
}

fn a_timeout_keeps_what_was_written(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let command = "echo early; (setsid sleep 1000 &) ; sleep 1000";
    let seconds = world.seconds_to_begin();
    let result = workspace.done(
        "exec",
        json!({ "command": command, "timeout_seconds": seconds }),
    );
    assert_eq!(result["exit_code"], 124);
    assert_eq!(result["timed_out"], true);
    assert_eq!(result["stdout"], "early\n");
    let logs = workspace.done("logs", json!({ "sequence": 1 }));
    assert_eq!(logs["entries"][0]["timed_out"], true);
    assert_eq!(logs["entries"][0]["stdout"], "early\n");
}

fn a_command_whose_output_is_no_text_runs_once(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let result =
        workspace.exec(r"echo once >> count; printf '\377\376'; printf '\300' >&2; exit 4");
    assert_eq!(
        (&result["exit_code"], &result["stdout_encoding"]),
        (&json!(4), &json!("utf-8-replaced")),
        "{result:#}"
    );
    assert_eq!(workspace.output("cat count"), "once\n");
    // Nor are names a reason to fail.
    workspace.exec(r#"touch "$(printf 'name \377')""#);
    let listed = workspace.done("file_list", json!({}))["entries"].to_string();
    assert!(listed.contains("/workspace/name \u{fffd}"), "{listed}");
    assert_eq!(workspace.changes().len(), 2);
}

fn signals_and_statuses_are_the_commands_own(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let result = workspace.exec("kill -9 $$");
    assert_eq!(result["exit_code"], 137);
    assert_eq!(result["signal"], 9);
    let result = workspace.exec("exit 200");
    assert_eq!(result["exit_code"], 200);
    assert_eq!(result["signal"], Value::Null);
}

fn the_history_is_read_in_pieces(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    for word in ["one", "two", "three"] {
        workspace.exec(&format!("echo {word}"));
    }
    let last = workspace.done("logs", json!({ "last": 2 }));
    assert_eq!((&last["count"], &last["total"]), (&json!(2), &json!(3)));
    assert_eq!(last["entries"][0]["stdout"], "two\n");
    let piece = workspace.done(
        "logs",
        json!({ "sequence": 3, "offset": 1, "max_bytes": 3 }),
    );
    assert_eq!(piece["entries"][0]["stdout"], "hre");
    assert_eq!(piece["entries"][0]["stdout_truncated"], true);
    assert_eq!(piece["entries"][0]["stdout_bytes"], 6);
    workspace.refused("logs", json!({ "sequence": 4 }), "invalid_argument");
}

fn output_comes_live_and_byte_for_byte(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let script = r"printf 'a\377'; read -r line < pipe; echo $line; exit 7";
    workspace.exec("mkfifo pipe");
    let mut exec = world.pyro(["workspace", "exec", workspace.id(), "--", script]);
    let running = Running::start(&mut exec);
    running.await_out("a\u{fffd}");
    workspace.exec("echo go > pipe");
    let ran = running.wait();
    assert_eq!(ran.stdout, b"a\xffgo\n");
    assert_eq!(ran.code(), 7);
    assert!(ran.err().contains("[workspace-exec] "), "{}", ran.err());
}

fn what_was_written_is_shown_byte_for_byte(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let script = r"printf 'caf\351\n'; printf 'no \377\n' >&2";
    workspace.exec(script);
    workspace.starts(
        "odd",
        &format!("{script}; touch done; exec sleep 1000"),
        json!({ "ready_file": "done" }),
    );
    eventually("all is in the log", Duration::from_secs(60), || {
        let log = workspace.of_service("logs", "odd");
        log["stdout"] != "" && log["stderr"] != ""
    });
    let id = workspace.id();
    for look in [
        &["workspace", "logs", id, "--sequence", "1"][..],
        &["workspace", "logs", id],
        &["workspace", "service", "logs", id, "odd"],
    ] {
        let shown = finish(&mut world.pyro(look));
        let holds =
            |all: &[u8], line: &[u8]| all.split(|byte| *byte == b'\n').any(|one| one == line);
        assert!(holds(&shown.stdout, b"caf\xe9"), "{}", shown.out());
        assert!(holds(&shown.stderr, b"no \xff"), "{}", shown.err());
        // Whoever asks for one command is told of that one.
        let tells_events = shown.err().contains("[workspace-event]");
        assert_eq!(tells_events, look == ["workspace", "logs", id]);
    }
    let bytes = json!({ "sequence": 1, "encoding": "base64" });
    let of_a_service = json!({ "service_name": "odd", "encoding": "base64" });
    for (as_text, in_base64) in [
        (
            &workspace.done("logs", json!({ "sequence": 1 }))["entries"][0],
            &workspace.done("logs", bytes)["entries"][0],
        ),
        (
            &workspace.of_service("logs", "odd"),
            &workspace.service("logs", of_a_service).unwrap(),
        ),
    ] {
        assert_eq!(
            (&as_text["stdout"], &as_text["stdout_encoding"]),
            (&json!("caf\u{fffd}\n"), &json!("utf-8-replaced"))
        );
        assert_eq!(
            (&in_base64["stdout"], &in_base64["stdout_encoding"]),
            (&json!("Y2Fm6Qo="), &json!("base64"))
        );
        assert_eq!(in_base64["stderr"], "bm8g/wo=");
    }
}

fn several_at_once_get_numbers_of_their_own(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let all: Vec<Running> = (0..12)
        .map(|which| {
            let command = format!("echo {which} > {which}; echo {which}");
            let exec = [
                "workspace",
                "exec",
                workspace.id(),
                "--json",
                "--",
                &command,
            ];
            Running::start(&mut world.pyro(exec))
        })
        .collect();
    let mut sequences = BTreeSet::new();
    for (which, one) in all.into_iter().enumerate() {
        let result = one.wait().json();
        assert_eq!(result["stdout"], format!("{which}\n"), "{result:#}");
        sequences.insert(result["sequence"].as_u64().unwrap());
    }
    assert_eq!(sequences, (1..=12).collect());
    for entry in workspace.done("logs", json!({}))["entries"]
        .as_array()
        .unwrap()
    {
        let command = entry["command"].as_str().unwrap();
        let own = command.rsplit(' ').next().unwrap();
        assert_eq!(entry["stdout"], format!("{own}\n"));
    }
}

fn long_output_is_kept_whole_for_later(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let command = "echo begin; head -c 30000000 /dev/zero | tr '\\0' x; echo end";
    let result = workspace.done(
        "exec",
        json!({ "command": command, "timeout_seconds": 120 }),
    );
    assert_eq!(result["stdout_bytes"], 30_000_010);
    assert_eq!(result["stdout_truncated"], true);
    let stdout = result["stdout"].as_str().unwrap();
    assert!(stdout.len() < 2 << 20, "{}", stdout.len());
    assert!(stdout.starts_with("begin\n") && stdout.ends_with("xend\n"));
    let piece = |offset: u64| {
        let arguments = json!({ "sequence": 1, "offset": offset, "max_bytes": 10 });
        workspace.done("logs", arguments)["entries"][0].clone()
    };
    assert_eq!(piece(0)["stdout"], "begin\nxxxx");
    assert_eq!(piece(15_000_000)["stdout"], "xxxxxxxxxx");
    let end = piece(30_000_004);
    assert_eq!(end["stdout"], "xxend\n");
    assert_eq!(end["stdout_truncated"], false);
}

/// Ctrl-C: what the command had written is in the history, and the next has a number of its own.
fn an_interrupted_command_keeps_its_place(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let line = "echo early; echo oops >&2; exec sleep 1000";
    let exec = ["workspace", "exec", workspace.id(), "--", line];
    let running = Running::start(&mut world.pyro(exec));
    running.await_out("early\n");
    // The second stream is written after the first, and comes by itself.
    eventually("it has written both", Duration::from_secs(60), || {
        running.err().contains("oops\n")
    });
    let pid = i32::try_from(running.child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let ran = running.wait();
    assert_eq!(ran.code(), 130);
    let told = format!("command 1 of workspace {}", workspace.id());
    assert!(ran.err().contains(&told), "{}", ran.err());
    assert_eq!(workspace.exec("echo next")["sequence"], 2);
    let shown = finish(&mut world.pyro(["workspace", "logs", workspace.id()]));
    let whose = "sequence=1 stderr:\noops\n";
    assert!(shown.err().contains(whose), "{}", shown.err());
    let logs = workspace.done("logs", json!({}));
    let first = &logs["entries"][0];
    assert_eq!(
        (&first["command"], &first["stdout"], &first["stderr"]),
        (&json!(line), &json!("early\n"), &json!("oops\n"))
    );
    assert_eq!(
        (&first["exit_code"], &first["signal"], &first["timed_out"]),
        (&json!(137), &json!(9), &json!(false))
    );
}
