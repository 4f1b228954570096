//! `service_*`.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use pyro_tests::leftovers::kill_all;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::mcp::Tools;
use pyro_tests::world::{Running, eventually, finish};
use pyro_tests::{Backend, Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [process] [command_line, library, mcp]: services_are_started_seen_and_stopped }
crate::stories! { [process, vm, gvisor] [command_line]: what_becomes_of_services_when_the_machine_ends }
crate::stories! { [process]:
    a_start_that_fails_says_why_and_is_a_failure,
    a_killed_caller_leaves_no_half_started_service,
    a_log_is_followed_to_its_end,
    a_log_that_is_followed_slowly_says_what_is_missing,
    what_cannot_be_is_refused_before_anything_starts,
}

const LONG: Duration = Duration::from_secs(60);

fn services_are_started_seen_and_stopped(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let listed = workspace.service("list", json!({})).unwrap();
    assert_eq!(
        (&listed["count"], &listed["services"]),
        (&json!(0), &json!([]))
    );

    let web = workspace.starts(
        "web",
        "trap 'echo bye; exit 0' TERM; echo begun; echo oops >&2; touch ready; while :; do sleep 0.05; done",
        json!({ "ready_file": "ready" }),
    );
    assert_eq!(web["state"], "running");
    assert_eq!(web["cwd"], "/workspace");
    assert_eq!(
        web["readiness"],
        json!({ "type": "file", "path": "/workspace/ready" })
    );
    assert_eq!(web["published_ports"], json!([]));
    assert!(web["ready_at"].as_f64().unwrap() >= web["started_at"].as_f64().unwrap());
    assert!(web["pid"].as_u64().unwrap() > 1);
    for absent in ["ended_at", "exit_code", "stop_reason"] {
        assert_eq!(web[absent], Value::Null, "{absent}");
    }
    workspace.exec("mkdir below");
    let short = workspace.starts("a.short-1", "pwd; exit 3", json!({ "cwd": "below" }));
    assert_eq!(
        (&short["readiness"], &short["cwd"]),
        (&Value::Null, &json!("/workspace/below"))
    );
    eventually("an exit is noticed", LONG, || {
        workspace.of_service("status", "a.short-1")["state"] == "exited"
    });
    let short = workspace.of_service("status", "a.short-1");
    assert_eq!(
        (&short["exit_code"], &short["stop_reason"]),
        (&json!(3), &Value::Null)
    );
    assert!(short["ended_at"].as_f64().unwrap() >= short["started_at"].as_f64().unwrap());
    let listed = workspace.service("list", json!({})).unwrap();
    assert_eq!(
        (&listed["count"], &listed["running_count"]),
        (&json!(2), &json!(1))
    );
    let names = listed["services"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|service| &service["service_name"]).collect();
    assert_eq!(names, ["a.short-1", "web"]);
    let status = workspace.status();
    assert_eq!(
        (&status["service_count"], &status["running_service_count"]),
        (&json!(2), &json!(1))
    );

    // One at a time has a name, and it can be used again.
    let told = workspace.service("start", json!({ "service_name": "web", "command": "true" }));
    assert_eq!(told.unwrap_err()["code"], "conflict");
    let logs = workspace.of_service("logs", "web");
    assert_eq!(
        (&logs["stdout"], &logs["stderr"]),
        (&json!("begun\n"), &json!("oops\n"))
    );
    assert_eq!(
        (&logs["tail_lines"], &logs["truncated"]),
        (&json!(200), &json!(false))
    );
    let stopped = workspace.of_service("stop", "web");
    assert_eq!(
        (&stopped["state"], &stopped["stop_reason"]),
        (&json!("stopped"), &json!("sigterm"))
    );
    assert_eq!(workspace.of_service("stop", "web"), stopped);
    let logs = json!({ "service_name": "web", "tail_lines": 1 });
    let logs = workspace.service("logs", logs).unwrap();
    assert_eq!(
        (&logs["stdout"], &logs["truncated"]),
        (&json!("bye\n"), &json!(true))
    );
    let logs = json!({ "service_name": "web", "all": true });
    let logs = workspace.service("logs", logs).unwrap();
    assert_eq!(
        (&logs["stdout"], &logs["tail_lines"]),
        (&json!("begun\nbye\n"), &Value::Null)
    );
    assert_eq!(
        workspace.starts("web", "exec sleep 1000", json!({}))["state"],
        "running"
    );
    assert_eq!(workspace.of_service("logs", "web")["stdout"], "");

    // Nothing of them is among the files, and nothing of the host's is held.
    assert_eq!(workspace.changes(), ["added below", "added ready"]);
    let unknown = workspace.service("status", json!({ "service_name": "nobody" }));
    assert_eq!(unknown.unwrap_err()["code"], "unknown_service");
}

fn what_becomes_of_services_when_the_machine_ends(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let begins = "trap 'echo so long; exit 0' TERM; echo begun > begun; echo begun; while :; do sleep 0.05; done";
    workspace.starts("polite", begins, json!({ "ready_file": "begun" }));
    workspace.starts("over", "echo done; exit 5", json!({}));
    workspace.starts(
        "noise",
        "yes 0123456789 | head -n 270000; echo > loud; exec sleep 1000",
        // Three megabytes through an emulated guest, beside others.
        json!({ "ready_command": "test -e loud", "ready_timeout_seconds": 150 }),
    );
    // A flood stalls nobody, and is bounded.
    workspace.starts("flood", "exec yes 0123456789", json!({}));
    assert_eq!(workspace.output("echo fine"), "fine\n");
    let stopped = workspace.of_service("stop", "flood");
    assert_eq!(stopped["state"], "stopped");
    workspace.done("stop", json!({}));
    let look = |name: &str| {
        let status = workspace.of_service("status", name);
        (
            status["state"].clone(),
            status["stop_reason"].clone(),
            status["exit_code"].clone(),
        )
    };
    let by_the_stop = json!("workspace_stopped");
    assert_eq!(
        look("polite"),
        (json!("stopped"), by_the_stop.clone(), json!(0))
    );
    assert_eq!(look("over"), (json!("exited"), Value::Null, json!(5)));
    let logs = workspace.of_service("logs", "polite");
    assert_eq!(logs["stdout"], "begun\nso long\n");
    assert_eq!(workspace.of_service("logs", "over")["stdout"], "done\n");
    let noise = json!({ "service_name": "noise", "all": true });
    let noise = workspace.service("logs", noise).unwrap();
    let kept = noise["stdout"].as_str().unwrap();
    assert!(noise["truncated"] == true && kept.len() > 500_000 && kept.len() <= 1024 * 1024);
    assert!(kept.lines().all(|line| line == "0123456789"));
    // To look at them started nothing.
    let status = workspace.status();
    assert_eq!(status["state"], "stopped");
    assert_eq!(
        (&status["service_count"], &status["running_service_count"]),
        (&json!(4), &json!(0))
    );

    // They stay as they are when it is started again, also by the start of one of them.
    workspace.exec("rm begun");
    assert_eq!(
        look("polite"),
        (json!("stopped"), by_the_stop.clone(), json!(0))
    );
    workspace.done("stop", json!({}));
    let again = workspace.starts("polite", begins, json!({ "ready_file": "begun" }));
    assert_eq!(
        (&again["workspace_started"], &again["state"]),
        (&json!(true), &json!("running"))
    );
    assert_eq!(workspace.of_service("logs", "polite")["stdout"], "begun\n");

    // A crash ends them, too.
    kill_all(&world.state_dir());
    let (state, reason, _) = look("polite");
    assert_eq!((state, reason), (json!("stopped"), by_the_stop));
    assert_eq!(workspace.of_service("logs", "over")["stdout"], "done\n");

    // After a reset there never were any.
    // The same story may be played in a guest at this moment, by a `pyro` that names its own.
    let (sleep, look) = match world.backend {
        Backend::Process => ("exec sleep 4343", "pgrep -f '[s]leep 4343'"),
        Backend::Vm | Backend::Gvisor => ("exec sleep 4353", "pgrep -f '[s]leep 4353'"),
    };
    workspace.starts("polite", sleep, json!({}));
    workspace.done("reset", json!({}));
    let listed = workspace.service("list", json!({})).unwrap();
    assert_eq!(listed["count"], 0);
    assert_eq!(workspace.status()["service_count"], 0);
    assert_eq!(workspace.exec(look)["stdout"], "");
    let folder = world.state_dir().join("workspaces").join(workspace.id());
    let logs = fs::read_dir(folder.join("services"));
    assert_eq!(logs.into_iter().flatten().count(), 0);
}

fn a_start_that_fails_says_why_and_is_a_failure(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let start = |name: &str, flags: &[&str], command: &str| {
        let words = ["workspace", "service", "start", workspace.id(), name];
        finish(world.pyro(words).args(flags).args(["--", command]))
    };
    // It dies: the answer does not wait for the time.
    let died = start(
        "dies",
        &["--ready-file", "never", "--ready-timeout-seconds", "1000"],
        "echo last words >&2; exit 9",
    );
    assert_eq!(died.code(), 1);
    let told = died.err();
    assert!(
        told.contains("last words\n") && told.contains("exit_code=9"),
        "{told}"
    );
    assert!(
        told.contains("service_name=dies state=failed cwd=/workspace execution_mode=host_compat"),
        "{told}"
    );
    let died = workspace.of_service("status", "dies");
    assert_eq!(
        (&died["stop_reason"], &died["exit_code"]),
        (&json!("process_exited_before_ready"), &json!(9))
    );
    // A look of ten seconds does not make a second of patience longer.
    let late = workspace.starts(
        "late",
        "echo waits; exec sleep 1000",
        json!({ "ready_command": "exec sleep 777", "ready_timeout_seconds": 1 }),
    );
    assert_eq!(
        (&late["state"], &late["stop_reason"]),
        (&json!("failed"), &json!("readiness_timeout"))
    );
    assert_eq!(late["log_tail"], "waits\n");
    assert_eq!(late["not_ready"], "the first check has not finished");
    // It was killed, and nobody waits for its end.
    eventually("the check is gone", LONG, || {
        workspace.exec("pgrep -f '[s]leep 777'")["stdout"] == ""
    });
    // Its name is free again.
    let fine = start("late", &[], "exec sleep 1000");
    assert_eq!((fine.code(), fine.out().as_str()), (0, ""));
    let listed = finish(&mut world.pyro(["workspace", "service", "list", workspace.id()]));
    assert_eq!(
        listed.out(),
        "dies [failed] cwd=/workspace\nlate [running] cwd=/workspace\n"
    );
}

fn a_killed_caller_leaves_no_half_started_service(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let words = [
        "workspace",
        "service",
        "start",
        workspace.id(),
        "half",
        "--ready-file",
        "never",
        "--",
        "echo up > up; exec sleep 888",
    ];
    let mut caller = world.pyro(words).spawn().unwrap();
    eventually("it runs", LONG, || {
        workspace.exec("cat up")["stdout"] == "up\n"
    });
    let status = workspace.of_service("status", "half");
    assert_eq!(
        (&status["state"], &status["ready_at"]),
        (&json!("running"), &Value::Null)
    );
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("it has ended", LONG, || {
        workspace.of_service("status", "half")["state"] == "stopped"
    });
    assert_eq!(workspace.exec("pgrep -f '[s]leep 888'")["stdout"], "");
}

fn a_log_is_followed_to_its_end(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let counts =
        "for n in 1 2 3; do echo $n; until test -e after-$n; do sleep 0.01; done; done; exit 4";
    workspace.starts("counts", counts, json!({}));
    let followed = Running::start(&mut follow(world, &workspace, "counts"));
    // Each line is there before the next one is written.
    followed.await_out("1\n");
    workspace.write("after-1", "");
    followed.await_out("1\n2\n");
    workspace.write("after-2", "");
    followed.await_out("1\n2\n3\n");
    workspace.write("after-3", "");
    let followed = followed.wait();
    assert_eq!((followed.code(), followed.out().as_str()), (0, "1\n2\n3\n"));
    let told = followed.err();
    assert!(
        told.contains("state=exited") && !told.contains("were skipped"),
        "{told}"
    );
    // Once it has ended there is nothing to wait for.
    assert_eq!(
        finish(&mut follow(world, &workspace, "counts")).out(),
        "1\n2\n3\n"
    );
}

fn a_log_that_is_followed_slowly_says_what_is_missing(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let flood =
        "echo begun; until test -e go; do sleep 0.01; done; seq 1000000 2999999; touch done";
    workspace.starts("flood", flood, json!({}));
    let mut pyro = follow(world, &workspace, "flood")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = pyro.stdout.take().unwrap();
    let mut begun = [0; 6];
    stdout.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"begun\n");
    // Nothing is read until everything is written.
    workspace.output("touch go; until test -e done; do sleep 0.01; done");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let told = finish_reading(pyro);
    let missing: u64 = told
        .lines()
        .filter_map(|line| {
            let bytes = line.strip_prefix("[note] ")?;
            let bytes = bytes.strip_suffix(
                " bytes were skipped here: `flood` wrote them faster than they were read",
            )?;
            Some(bytes.parse::<u64>().unwrap())
        })
        .sum();
    assert!(missing > 0, "{told}");
    assert_eq!(rest.len() as u64 + missing, 2_000_000 * 8, "{told}");
    assert!(rest.ends_with(b"\n2999998\n2999999\n"));
}

/// What a command that goes well has said on standard error.
fn finish_reading(command: std::process::Child) -> String {
    let ended = command.wait_with_output().unwrap();
    assert!(ended.status.success(), "{:?}", ended.status);
    String::from_utf8(ended.stderr).unwrap()
}

fn follow(world: &World, workspace: &Workspace<'_>, service: &str) -> Command {
    let words = ["workspace", "service", "logs", workspace.id(), service];
    let mut follow = world.pyro(words);
    follow.arg("--follow");
    follow
}

fn what_cannot_be_is_refused_before_anything_starts(world: &World) {
    let tools = Tools::new(world);
    let workspace = Workspace::new(world, &tools);
    for (arguments, code) in [
        (
            json!({ "ready_file": "a", "ready_tcp": "b:1" }),
            "invalid_argument",
        ),
        (json!({ "ready_tcp": "no port" }), "invalid_argument"),
        (json!({ "ready_http": "https://a" }), "invalid_argument"),
        (json!({ "ready_file": "/etc/passwd" }), "bad_path"),
        (json!({ "cwd": "../.." }), "bad_path"),
        (json!({ "cwd": "not/there" }), "invalid_argument"),
        (json!({ "ready_timeout_seconds": 0 }), "invalid_argument"),
        (json!({ "command": " " }), "invalid_argument"),
        (json!({ "service_name": "a b" }), "invalid_argument"),
        (
            json!({ "published_ports": [{ "guest_port": 80 }] }),
            "unsupported",
        ),
        (
            json!({ "published_ports": [{ "guest_port": 0 }] }),
            "invalid_argument",
        ),
        (
            json!({ "published_ports": [{ "guest_port": 1, "host_port": 80 }] }),
            "invalid_argument",
        ),
        (
            json!({ "secret_env": { "NONE": "NONE" } }),
            "invalid_argument",
        ),
    ] {
        let mut all = json!({ "service_name": "no", "command": "touch started; sleep 1000" });
        let given = arguments.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(given);
        let told = workspace.service("start", all).unwrap_err();
        assert_eq!(told["code"], code, "{arguments}: {told:#}");
    }
    assert_eq!(workspace.service("list", json!({})).unwrap()["count"], 0);
    assert_eq!(workspace.changes(), [""; 0]);
    // On the host itself there is no network of a guest.
    let ports = json!({ "network_policy": "egress+published-ports" });
    let told = Workspace::try_with(world, &tools, ports).unwrap_err();
    assert_eq!(told["code"], "unsupported", "{told:#}");
}
