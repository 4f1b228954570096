//! Commands that go on without whoever started them.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::leftovers::kill_all;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE};
use pyro_tests::world::{Running, eventually, finish, finish_with_input};
use pyro_tests::{Backend, Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [process] [command_line, library, mcp]:
    a_command_is_followed_to_its_end,
    a_character_that_is_not_whole_comes_with_its_rest,
    a_command_gets_its_folder_variables_and_input,
}
crate::stories! { [process, vm, gvisor] [command_line]:
    what_becomes_of_commands_when_their_machine_ends,
}
crate::stories! { [process]:
    a_command_that_goes_on_survives_a_killed_caller,
    an_interrupt_ends_the_wait_and_says_how_to_go_on,
    what_makes_no_sense_is_refused,
    a_pipe_is_read_or_said_to_be_left,
    much_output_keeps_its_ends,
    an_end_that_cannot_be_written_is_known_all_the_same,
    too_many_are_refused_and_a_plain_command_runs,
    a_stop_asks_also_where_input_is_left_unread,
}

const LONG: Duration = Duration::from_secs(60);

/// Writes, and waits for a file before it writes again and ends.
const IN_TWO_PARTS: &str =
    "echo first; echo oops >&2; while [ ! -e go ]; do sleep 0.05; done; echo second; exit 7";

fn begin(workspace: &Workspace<'_>, command: &str) -> u64 {
    let begun = workspace.done(
        "exec",
        json!({ "command": command, "background": true, "timeout_seconds": 600 }),
    );
    assert_eq!(begun["running"], true, "{begun:#}");
    assert_eq!(begun["exit_code"], Value::Null);
    begun["sequence"].as_u64().unwrap()
}

/// The one entry of the history with this number, after a wait.
fn entry(workspace: &Workspace<'_>, sequence: u64, mut arguments: Value) -> Value {
    arguments["sequence"] = json!(sequence);
    let logs = workspace.done("logs", arguments);
    logs["entries"][0].clone()
}

/// Follows a command from its beginning until it has ended, or until `enough` has been seen; what it
/// wrote, and the last entry.
fn follow(workspace: &Workspace<'_>, sequence: u64, enough: &str) -> (String, String, Value) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut at = json!({ "wait_seconds": 60, "max_bytes": 5 });
    loop {
        let entry = entry(workspace, sequence, at.clone());
        stdout += entry["stdout"].as_str().unwrap();
        stderr += entry["stderr"].as_str().unwrap();
        let over = entry["running"] == false && entry["next_offset"].is_null();
        if over || (!enough.is_empty() && (stdout.clone() + &stderr).contains(enough)) {
            return (stdout, stderr, entry);
        }
        at["offset"] = entry["next_offset"].clone();
        at["stderr_offset"] = entry["next_stderr_offset"].clone();
    }
}

fn a_command_is_followed_to_its_end(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let waited = workspace.done(
        "exec",
        json!({ "command": IN_TWO_PARTS, "wait_seconds": 1, "timeout_seconds": 600 }),
    );
    assert_eq!(
        (
            &waited["running"],
            &waited["exit_code"],
            &waited["sequence"]
        ),
        (&json!(true), &Value::Null, &json!(1))
    );
    let next = waited["next"].as_str().unwrap();
    assert!(next.contains("stop") && next.contains("sequence"), "{next}");
    let status = workspace.status();
    let running = &status["running_commands"];
    assert_eq!(running[0]["sequence"], 1, "{status:#}");
    assert_eq!(running[0]["command"], IN_TWO_PARTS);
    assert_eq!(status["last_command"], Value::Null);
    let (stdout, stderr, seen) = follow(&workspace, 1, "oops");
    assert_eq!(seen["running"], true, "{stdout}{stderr}");
    // One place for both streams does not lead past what the shorter one holds.
    let further = entry(&workspace, 1, json!({ "offset": 6 }));
    assert_eq!(
        (&further["next_offset"], &further["next_stderr_offset"]),
        (&json!(6), &json!(5)),
        "{further:#}"
    );

    // Others run meanwhile, and have numbers of their own.
    assert_eq!(workspace.exec("touch go")["sequence"], 2);
    let (stdout, stderr, last) = follow(&workspace, 1, "");
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        ("first\nsecond\n", "oops\n")
    );
    assert_eq!(
        (
            &last["exit_code"],
            &last["ended_because"],
            &last["timed_out"]
        ),
        (&json!(7), &Value::Null, &json!(false))
    );
    let status = workspace.status();
    assert_eq!(status["running_commands"], json!([]));
    assert_eq!(status["command_count"], 2);
    assert_eq!(status["last_command"]["sequence"], 1);

    // One that ends in time is as any other.
    let short = workspace.done(
        "exec",
        json!({ "command": "echo short; exit 3", "wait_seconds": 60 }),
    );
    assert_eq!(
        (
            &short["running"],
            &short["exit_code"],
            &short["stdout"],
            &short["sequence"]
        ),
        (&json!(false), &json!(3), &json!("short\n"), &json!(3))
    );
    assert_eq!(short["next"], Value::Null);

    // It is asked to end, with all that it started.
    let asked = "sleep 1000 & echo $! > other; trap 'echo bye; exit 9' TERM; echo on; wait";
    let sequence = begin(&workspace, asked);
    follow(&workspace, sequence, "on");
    // Some hosts of models fill in every argument.
    let stop = json!({ "stop": sequence, "command": "", "stdin": "", "cwd": "", "env": {} });
    let stopped = workspace.done("exec", stop.clone());
    assert_eq!(
        (
            &stopped["running"],
            &stopped["exit_code"],
            &stopped["stdout"]
        ),
        (&json!(false), &json!(9), &json!("on\nbye\n"))
    );
    assert_eq!(stopped["ended_because"], "it was asked to end");
    let other = workspace.exec("kill -0 $(cat other)");
    assert_ne!(other["exit_code"], 0, "{other:#}");
    assert_eq!(workspace.done("exec", stop)["exit_code"], 9);

    // Its own time bounds it as well.
    let timed = workspace.done(
        "exec",
        json!({
            "command": "echo early; sleep 1000",
            "background": true,
            "timeout_seconds": world.seconds_to_begin(),
        }),
    );
    let (stdout, _, last) = follow(&workspace, timed["sequence"].as_u64().unwrap(), "");
    assert_eq!(
        (stdout.as_str(), &last["exit_code"], &last["timed_out"]),
        ("early\n", &json!(124), &json!(true))
    );
    let status = workspace.status();
    assert_eq!(status["last_command"]["exit_code"], 124, "{status:#}");
}

fn a_character_that_is_not_whole_comes_with_its_rest(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let line = r"printf 'caf\303'; while [ ! -e go ]; do sleep 0.05; done; printf '\251 ok\351'";
    let exec = json!({ "command": line, "wait_seconds": 3, "timeout_seconds": 600 });
    let begun = workspace.done("exec", exec);
    assert_eq!(
        (
            &begun["stdout"],
            &begun["stdout_bytes"],
            &begun["stdout_encoding"]
        ),
        (&json!("caf"), &json!(3), &json!("utf-8")),
        "{begun:#}"
    );
    let next = begun["next"].as_str().unwrap();
    assert!(
        next.contains(" offset=3 ") || next.contains("--offset 3 "),
        "{next}"
    );
    let at = json!({ "offset": 3, "stderr_offset": 0, "wait_seconds": 1 });
    let waited = entry(&workspace, 1, at.clone());
    assert_eq!(
        (
            &waited["stdout"],
            &waited["next_offset"],
            &waited["running"]
        ),
        (&json!(""), &json!(3), &json!(true))
    );
    // Bytes are given as they are.
    let bytes = entry(&workspace, 1, json!({ "encoding": "base64" }));
    assert_eq!(
        (
            &bytes["stdout"],
            &bytes["next_offset"],
            &bytes["stdout_encoding"]
        ),
        (&json!("Y2Fmww=="), &json!(4), &json!("base64"))
    );
    workspace.exec("touch go");
    let mut rest = entry(&workspace, 1, at.clone());
    while rest["running"] == true {
        rest = entry(&workspace, 1, at.clone());
    }
    assert_eq!(
        (&rest["stdout"], &rest["stdout_encoding"]),
        (&json!("\u{e9} ok\u{fffd}"), &json!("utf-8-replaced"))
    );
    let bytes = entry(&workspace, 1, json!({ "encoding": "base64", "offset": 4 }));
    assert_eq!(bytes["stdout"], "qSBva+k=");
}

fn a_command_gets_its_folder_variables_and_input(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkdir below");
    let arguments = json!({
        "command": "cat; echo \"$A|$EMPTY|$PATH_X\"; pwd",
        "stdin": "typed\nwithout end",
        "env": { "A": "x  y='z'", "EMPTY": "", "PATH_X": "a=b" },
        "cwd": "below",
    });
    let written = |result: &Value| result["stdout"].as_str().unwrap().to_owned();
    let plain = workspace.done("exec", arguments.clone());
    let stdout = written(&plain);
    assert!(
        stdout.starts_with("typed\nwithout endx  y='z'||a=b\n") && stdout.ends_with("/below\n"),
        "{stdout}"
    );
    assert_eq!(plain["cwd"], "/workspace/below");
    let mut waited = arguments.clone();
    waited["wait_seconds"] = json!(60);
    assert_eq!(written(&workspace.done("exec", waited)), stdout);
    // Also the one that the profile of a login shell sets.
    let path = "/of mine:/usr/bin:/bin";
    let kept = json!({ "command": "echo \"$PATH\"; exit 4", "env": { "PATH": path } });
    let kept = workspace.done("exec", kept);
    assert_eq!(
        (written(&kept), &kept["exit_code"]),
        (format!("{path}\n"), &json!(4))
    );
    let anywhere = json!({ "command": "pwd", "cwd": "/usr" });
    assert_eq!(written(&workspace.done("exec", anywhere)), "/usr\n");
    for wait in [Value::Null, json!(60)] {
        let mut missing = json!({ "command": "pwd", "cwd": "nowhere" });
        if !wait.is_null() {
            missing["wait_seconds"] = wait;
        }
        let told = workspace.refused("exec", missing, "unknown_file");
        assert!(told.to_string().contains("nowhere"), "{told:#}");
    }
    workspace.refused(
        "exec",
        json!({ "command": "pwd", "cwd": "../x" }),
        "bad_path",
    );
    let served = workspace.starts(
        "variables",
        "echo \"$A\"; exit 1",
        json!({ "env": { "A": "of a service" } }),
    );
    assert_eq!(served["state"], "running");
    eventually("it has written", LONG, || {
        workspace.of_service("logs", "variables")["stdout"] == "of a service\n"
    });
    let once = surface.call(
        "vm_run",
        json!({
            "environment": "debian:12",
            "command": "echo \"$A\"; pwd",
            "allow_host_compat": true,
            "env": { "A": "once" },
            "cwd": "/usr",
        }),
    );
    assert_eq!(once.unwrap()["stdout"], "once\n/usr\n");
}

fn too_many_are_refused_and_a_plain_command_runs(world: &World) {
    const MOST: u64 = 32;
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    for sequence in 1..=MOST {
        assert_eq!(begin(&workspace, "sleep 1000"), sequence);
    }
    let more = json!({ "command": "echo more", "wait_seconds": 60 });
    let told = workspace.refused("exec", more.clone(), "invalid_argument");
    assert!(
        told.to_string().contains("32 commands are already running"),
        "{told:#}"
    );

    // One that only might have gone on runs as its caller's, to its end.
    let mut server = world.pyro(["mcp", "serve"]);
    server.env("PYRO_MCP_ANSWER_WITHIN", "1");
    let mut client = Connection::with(server);
    client.initialize(NEWEST_WITH_INITIALIZE);
    let plain = json!({
        "workspace_id": workspace.id(), "command": "sleep 2; echo more", "timeout_seconds": 600,
    });
    let result = client.call(1, "workspace_exec", plain);
    let ran = &result["structuredContent"];
    assert_eq!(
        (&ran["running"], &ran["exit_code"], &ran["stdout"]),
        (&json!(false), &json!(0), &json!("more\n")),
        "{result:#}"
    );
    client.close();
    assert!(client.end().success());

    // One that ended makes room.
    workspace.done("exec", json!({ "stop": 1 }));
    assert_eq!(workspace.done("exec", more)["stdout"], "more\n");
}

fn a_stop_asks_also_where_input_is_left_unread(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let mut exec = world.pyro(["workspace", "exec", workspace.id(), "--background"]);
    exec.args(["--stdin", "-", "--timeout-seconds", "600", "--"]);
    exec.arg("trap 'echo bye; exit 9' TERM; echo on; while :; do sleep 0.05; done");
    let begun = finish_with_input(&mut exec, vec![b'x'; 1024 * 1024]);
    assert_eq!(begun.code(), 0, "{}", begun.err());
    follow(&workspace, 1, "on");
    let stopped = workspace.done("exec", json!({ "stop": 1 }));
    assert_eq!(
        (&stopped["exit_code"], &stopped["stdout"]),
        (&json!(9), &json!("on\nbye\n"))
    );
}

fn what_becomes_of_commands_when_their_machine_ends(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let goes_on = "trap 'echo bye; exit 0' TERM; echo here; while :; do sleep 0.05; done";
    let because = |sequence, exit_code: i32, stdout: &str| {
        let ended = entry(&workspace, sequence, json!({}));
        assert_eq!(
            (&ended["running"], &ended["exit_code"], &ended["stdout"]),
            (&json!(false), &json!(exit_code), &json!(stdout)),
            "{ended:#}"
        );
        ended["ended_because"].as_str().unwrap().to_owned()
    };
    if world.backend != Backend::Process {
        // Also what has left its session.
        let other = "setsid sh -c 'echo here; exec sleep 4141' & wait";
        let asked = begin(&workspace, other);
        follow(&workspace, asked, "here");
        workspace.done("exec", json!({ "stop": asked }));
        assert_eq!(workspace.exec("pgrep -f '[s]leep 4141'")["stdout"], "");
    }
    let stopped = begin(&workspace, goes_on);
    follow(&workspace, stopped, "here");
    workspace.done("stop", json!({}));
    assert_eq!(
        because(stopped, 0, "here\nbye\n"),
        "its workspace was stopped"
    );

    // It starts again for the next.
    let crashed = begin(&workspace, goes_on);
    follow(&workspace, crashed, "here");
    kill_all(&world.state_dir());
    let why = because(crashed, 137, "here\n");
    assert!(why.contains("restarted") && why.contains("killed"), "{why}");
    assert_eq!(workspace.status()["running_commands"], json!([]));

    let reset = begin(&workspace, goes_on);
    follow(&workspace, reset, "here");
    workspace.done("reset", json!({}));
    let why = because(reset, 137, "here\n");
    assert_eq!(why, "its workspace was reset");
    let status = workspace.status();
    assert_eq!(
        (&status["command_count"], &status["running_commands"]),
        (&json!(0), &json!([]))
    );
    // One that a reset overtook belongs to the time before.
    assert_eq!(status["last_command"], Value::Null);
}

fn a_command_that_goes_on_survives_a_killed_caller(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let arguments = json!({
        "workspace_id": workspace.id(),
        "command": IN_TWO_PARTS,
        "wait_seconds": 600,
        "timeout_seconds": 600,
    });
    let waiting = Running::start(&mut surface.command("workspace_exec", &arguments));
    eventually("it runs", LONG, || {
        workspace.status()["running_commands"][0]["sequence"] == 1
    });
    kill(
        Pid::from_raw(waiting.child.id().try_into().unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    waiting.wait();
    workspace.exec("touch go");
    let (stdout, _, last) = follow(&workspace, 1, "");
    assert_eq!(
        (stdout.as_str(), &last["exit_code"]),
        ("first\nsecond\n", &json!(7))
    );
}

fn an_interrupt_ends_the_wait_and_says_how_to_go_on(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let mut exec = world.pyro(["workspace", "exec", workspace.id(), "--wait-seconds", "600"]);
    let waiting = Running::start(exec.args(["--", IN_TWO_PARTS]));
    waiting.await_out("first\n");
    let pid = Pid::from_raw(waiting.child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let ran = waiting.wait();
    assert_eq!(ran.code(), 130, "{}", ran.err());
    let go_on = format!("`pyro workspace exec {} --stop 1` ends it", workspace.id());
    for said in [
        "running=true",
        "the command is still running: ",
        "--offset 6 ",
        &go_on,
    ] {
        assert!(ran.err().contains(said), "{said} in {}", ran.err());
    }
    workspace.exec("touch go");
    let (stdout, _, last) = follow(&workspace, 1, "");
    assert_eq!(
        (stdout.as_str(), &last["exit_code"]),
        ("first\nsecond\n", &json!(7))
    );
}

fn what_makes_no_sense_is_refused(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    for (operation, arguments, why) in [
        (
            "exec",
            json!({ "stop": 1, "command": "true" }),
            "cannot be combined with",
        ),
        ("exec", json!({ "stop": 1 }), "has no command 1"),
        (
            "exec",
            json!({ "command": "true", "background": true, "wait_seconds": 1 }),
            "at once",
        ),
        ("exec", json!({}), "No command was given"),
        ("logs", json!({ "wait_seconds": 1 }), "needs `sequence`"),
        (
            "exec",
            json!({ "command": "true", "env": { "1": "x" } }),
            "name is not valid",
        ),
    ] {
        let told = workspace.refused(operation, arguments, "invalid_argument");
        assert!(told.to_string().contains(why), "{told:#}");
    }
    // Nothing of it is in the history.
    assert_eq!(workspace.done("logs", json!({}))["total"], 0);
    // One that is not there is a command that failed, as ever.
    let missing = workspace.done(
        "exec",
        json!({ "command": "no-such-thing", "wait_seconds": 60 }),
    );
    assert_eq!(
        (&missing["exit_code"], &missing["running"]),
        (&json!(127), &json!(false))
    );
}

fn a_pipe_is_read_or_said_to_be_left(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let exec = |flags: &[&str]| {
        let mut exec = world.pyro(["workspace", "exec", workspace.id()]);
        exec.args(flags).args(["--", "cat"]);
        exec
    };
    let piped = || b"piped \xff".to_vec();
    for flags in [
        &["--stdin", "-"][..],
        &["--stdin", "-", "--wait-seconds", "60"],
    ] {
        let read = finish_with_input(&mut exec(flags), piped());
        assert_eq!((read.code(), &read.stdout), (0, &piped()), "{}", read.err());
    }
    let too_long = vec![b'x'; 1024 * 1024 + 1];
    let refused = finish_with_input(&mut exec(&["--stdin", "-"]), too_long);
    assert!(
        refused.err().contains("standard input is longer than"),
        "{}",
        refused.err()
    );

    let said = "standard input was not read";
    let file = world.folder().join("input");
    std::fs::write(&file, "text").unwrap();
    let mut waits = exec(&["--wait-seconds", "60"]);
    let left = finish(waits.stdin(std::fs::File::open(file).unwrap()));
    assert_eq!((left.code(), left.out().as_str()), (0, ""));
    assert!(left.err().contains(said), "{}", left.err());
    // Nothing comes from where tools that have no input lead it.
    let nothing = finish(&mut exec(&["--wait-seconds", "60"]));
    assert!(!nothing.err().contains(said), "{}", nothing.err());
}

fn much_output_keeps_its_ends(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    // More than is kept in files.
    let line = "echo begin; head -c 70000000 /dev/zero | tr '\\0' x; echo; echo end";
    let result = workspace.done(
        "exec",
        json!({ "command": line, "wait_seconds": 300, "timeout_seconds": 300 }),
    );
    let stdout = result["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("begin\nxxx") && stdout.ends_with("xxx\nend\n"));
    assert_eq!(
        (&result["stdout_bytes"], &result["stdout_truncated"]),
        (&json!(70_000_011), &json!(true))
    );
    // What is behind the file is at its end, and told by whoever tells of the command.
    let end = entry(
        &workspace,
        1,
        json!({ "offset": 64 * 1024 * 1024, "max_bytes": 8 }),
    );
    let shown = end["stdout"].as_str().unwrap();
    assert!(
        shown.contains(" bytes left out …]\n") && shown.ends_with("]\nxxx\nend\n"),
        "{shown}"
    );
    assert_eq!(
        (&end["stdout_truncated"], &end["next_offset"]),
        (&json!(true), &Value::Null)
    );
    let told = workspace.done("exec", json!({ "stop": 1 }));
    assert!(told["stdout"].as_str().unwrap().ends_with("xxx\nend\n"));
    let kept = entry(&workspace, 1, json!({ "max_bytes": 8 }));
    assert_eq!(
        (&kept["stdout_kept_bytes"], &kept["stdout"]),
        (&json!(64 * 1024 * 1024), &json!("begin\nxx"))
    );
}

fn an_end_that_cannot_be_written_is_known_all_the_same(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let folder = world.state_dir().join("workspaces").join(workspace.id());
    let outputs = folder.join("output");
    let sequence = begin(&workspace, IN_TWO_PARTS);
    follow(&workspace, sequence, "oops");
    // As on a full disk, also for root.
    let end = std::fs::read_dir(&outputs)
        .unwrap()
        .find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix(".stdout")?.to_owned() + ".json")
        })
        .unwrap();
    std::fs::create_dir_all(outputs.join(end).join("in the way")).unwrap();
    workspace.exec("touch go");
    eventually("its end is known", LONG, || {
        workspace.status()["running_commands"] == json!([])
    });
    let ended = entry(&workspace, sequence, json!({}));
    assert_eq!(
        (&ended["running"], &ended["exit_code"]),
        (&json!(false), &json!(7)),
        "{ended:#}"
    );
}
