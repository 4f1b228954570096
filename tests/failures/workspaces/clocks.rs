//! A guest whose clock is set on and back by a day, under everything that looks at times.

use std::fs::{self, File};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_tests::surfaces::engine::Library;
use pyro_tests::{Workspace, World, tree};
use serde_json::{Value, json};

crate::stories![Vm: a_guest_whose_clock_is_set_works_as_before];

const DAY: f64 = 86_400.0;

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

fn set(workspace: &Workspace<'_>, by: &str) {
    workspace.output(&format!("date --set='{by}' > /dev/null"));
}

fn a_guest_whose_clock_is_set_works_as_before(world: &World) {
    let surface = Library::new(world);
    let seed = tree::plant(&world.folder().join("seed"), &[("file", "0000\n")]);
    let workspace = Workspace::with(world, &surface, json!({ "seed_path": seed }));
    // A day on, a day back from where it was, and right again.
    for (round, by) in ["+1 day", "-2 days", "+1 day"].into_iter().enumerate() {
        set(&workspace, by);
        changes_are_found(&workspace, round);
        what_the_host_changed_is_pushed(world, &workspace, round);
        commands_have_their_time(&workspace);
        services_become_ready(&workspace);
        let status = workspace.status();
        assert!((status["last_activity_at"].as_f64().unwrap() - now()).abs() < DAY / 2.0);
    }
    // A guest that starts anew has the host's time.
    set(&workspace, "+1 day");
    workspace.done("stop", json!({}));
    let guests: f64 = workspace.output("date +%s").trim().parse().unwrap();
    assert!((guests - now()).abs() < DAY / 2.0, "{guests}");
}

/// Also of a file that has its size and its old time again.
fn changes_are_found(workspace: &Workspace<'_>, round: usize) {
    workspace.output(&format!(
        "touch -r file /run/time; echo {round}{round}xx > file; touch -r /run/time file"
    ));
    workspace.write("written", &format!("{round}\n"));
    assert_eq!(workspace.read("written"), format!("{round}\n"));
    // Twice, as the first look is remembered.
    for _ in 0..2 {
        let diff = workspace.done("diff", json!({}));
        let patch = diff["patch"].as_str().unwrap();
        assert!(patch.contains(&format!("+{round}{round}xx\n")), "{patch}");
        assert!(patch.contains(&format!("+{round}\n")), "{patch}");
    }
}

/// Also where size and time of writing are the same as before.
fn what_the_host_changed_is_pushed(world: &World, workspace: &Workspace<'_>, round: usize) {
    let source = world.folder().join("source");
    let pushed = |text: &str| {
        keep_time(&source, text);
        workspace.done(
            "sync_push",
            json!({ "source_path": source, "dest": "pushed" }),
        );
        assert_eq!(workspace.read("pushed/file"), text, "round {round}");
    };
    pushed(&format!("a{round}\n"));
    pushed(&format!("b{round}\n"));
}

/// Writes a file that always has the same time of writing.
fn keep_time(source: &Path, text: &str) {
    tree::plant(source, &[("file", text)]);
    let file = File::options().write(true).open(source.join("file"));
    file.unwrap().set_modified(UNIX_EPOCH).unwrap();
    assert_eq!(fs::metadata(source.join("file")).unwrap().len(), 3);
}

/// By a clock that nobody can set.
fn commands_have_their_time(workspace: &Workspace<'_>) {
    let exec = |command: &str, seconds: u32| -> Value {
        let asked = json!({ "command": command, "timeout_seconds": seconds });
        let result = workspace.done("exec", asked);
        assert!(
            result["duration_ms"].as_u64().unwrap() < 600_000,
            "{result:#}"
        );
        result
    };
    let there_and_back =
        "date --set='+1 day' > /dev/null; sleep 0.5; date --set='-1 day' > /dev/null";
    let whole = exec(&format!("{there_and_back}; echo whole"), 100);
    assert_eq!(
        (&whole["exit_code"], &whole["stdout"]),
        (&json!(0), &json!("whole\n"))
    );
    // What it says comes first: a busy guest may need most of the time for the rest.
    let over = exec(
        "echo begun; date --set='-1 day' > /dev/null; exec sleep 1000",
        2,
    );
    assert_eq!(
        (&over["timed_out"], &over["exit_code"], &over["stdout"]),
        (&json!(true), &json!(124), &json!("begun\n"))
    );
    set(workspace, "+1 day");
}

fn services_become_ready(workspace: &Workspace<'_>) {
    let ready = "date --set='-1 day' > /dev/null; sleep 0.5; touch ready; exec sleep 1000";
    let web = workspace.starts("web", ready, json!({ "ready_file": "ready" }));
    assert_eq!(web["state"], "running", "{web:#}");
    let stopped = workspace.of_service("stop", "web");
    // Times are the host's, and in order.
    let times = ["started_at", "ready_at", "ended_at"].map(|time| stopped[time].as_f64().unwrap());
    assert!(times.is_sorted(), "{times:?}");
    assert!((times[0] - now()).abs() < DAY / 2.0, "{times:?}");
    set(workspace, "+1 day");
    let never = "date --set='+1 day' > /dev/null; exec sleep 1000";
    let asked = json!({ "ready_file": "never", "ready_timeout_seconds": 2 });
    let late = workspace.starts("late", never, asked);
    assert_eq!(late["stop_reason"], "readiness_timeout", "{late:#}");
    set(workspace, "-1 day");
    workspace.output("rm ready");
}
