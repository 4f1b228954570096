//! `shell_open`, `shell_read`, `shell_write`, `shell_signal`, `shell_close`: what an agent does
//! with a terminal.

use std::time::Duration;

use pyro_tests::world::eventually;
use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [vm, gvisor] [command_line, mcp]: a_shell_is_opened_worked_in_and_closed }
crate::stories! { [process]: commands_on_the_host_have_no_shells }

/// A shell of a workspace, with the place where its output was read up to.
struct Shell<'a> {
    workspace: &'a Workspace<'a>,
    id: String,
    cursor: u64,
}

impl<'a> Shell<'a> {
    fn open(workspace: &'a Workspace<'a>, arguments: Value) -> Self {
        let opened = workspace.shell("open", arguments).unwrap();
        assert_eq!(opened["state"], "running", "{opened:#}");
        assert_eq!(opened["exit_code"], Value::Null);
        Self {
            workspace,
            id: opened["shell_id"].as_str().unwrap().to_owned(),
            cursor: 0,
        }
    }

    fn call(&self, operation: &str, mut arguments: Value) -> Result<Value, Value> {
        arguments["shell_id"] = json!(self.id);
        self.workspace.shell(operation, arguments)
    }

    fn type_line(&self, line: &str) {
        let written = self.call("write", json!({ "input": line })).unwrap();
        assert_eq!(written["input_length"], line.chars().count());
        assert_eq!(written["append_newline"], true);
    }

    /// What a person sees of what came since the last look, once it holds this.
    fn see(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        eventually(wanted, Duration::from_secs(60), || {
            let arguments = json!({
                "cursor": self.cursor, "plain": true, "wait_for_idle_ms": 100,
            });
            let read = self.call("read", arguments).unwrap();
            assert_eq!(read["lost_chars"], 0);
            self.cursor = read["next_cursor"].as_u64().unwrap();
            seen.push_str(read["output"].as_str().unwrap());
            seen.contains(wanted)
        });
        seen
    }

    /// Everything from the start, as the terminal was told.
    fn all(&self) -> Value {
        self.call("read", json!({})).unwrap()
    }
}

fn a_shell_is_opened_worked_in_and_closed(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkdir folder");
    workspace.done("stop", json!({}));
    // Opening one starts the VM.
    let opened = workspace.shell("open", json!({ "cols": 60, "rows": 10, "cwd": "folder" }));
    let opened = opened.unwrap();
    assert_eq!(opened["workspace_started"], true);
    assert_eq!(opened["cwd"], "/workspace/folder");
    assert_eq!((&opened["cols"], &opened["rows"]), (&json!(60), &json!(10)));
    assert_eq!(opened["shell_id"].as_str().unwrap().len(), 12);
    let mut shell = Shell {
        workspace: &workspace,
        id: opened["shell_id"].as_str().unwrap().to_owned(),
        cursor: 0,
    };
    assert_eq!(shell.see("pyro$ "), "pyro$ ");

    // What was done stays done, and is seen as a person sees it.
    shell.type_line("A=kept; cd /tmp; stty size");
    shell.see("10 60\npyro$ ");
    let bar =
        "for i in 1 2 3; do printf '\\r\\033[K\\033[32m%s of 3\\033[0m' $i; sleep 0.01; done; echo";
    let before = shell.cursor;
    shell.type_line(&format!("{bar}; pwd; echo $A"));
    shell.see("kept\npyro$ ");
    // A look in the middle of it may have seen an earlier count, so once more in one piece.
    shell.cursor = before;
    let seen = shell.see("kept\npyro$ ");
    assert!(seen.ends_with("\n3 of 3\n/tmp\nkept\npyro$ "), "{seen:?}");
    let raw = shell.all();
    assert!(
        raw["output"]
            .as_str()
            .unwrap()
            .contains("\r\u{1b}[K\u{1b}[32m2 of 3")
    );
    assert_eq!(
        (&raw["truncated"], &raw["plain"]),
        (&json!(false), &json!(false))
    );
    // A reader of its own, in small steps.
    let mut steps = String::new();
    let mut cursor = json!(0);
    loop {
        let read = shell
            .call("read", json!({ "cursor": cursor, "max_chars": 50 }))
            .unwrap();
        steps.push_str(read["output"].as_str().unwrap());
        cursor = read["next_cursor"].clone();
        if read["truncated"] == false {
            break;
        }
    }
    assert_eq!(steps, raw["output"]);
    let beyond = shell.call("read", json!({ "cursor": 1_000_000 })).unwrap();
    assert_eq!(
        (&beyond["cursor"], &beyond["output"]),
        (&cursor, &json!(""))
    );

    // An interrupt reaches the job, not only the shell.
    shell.type_line("sleep 1000");
    shell.see("sleep 1000\n");
    eventually("it sleeps", Duration::from_secs(30), || {
        workspace.exec("pgrep -x sleep")["exit_code"] == 0
    });
    let signalled = shell.call("signal", json!({})).unwrap();
    assert_eq!(
        (&signalled["signal"], &signalled["state"]),
        (&json!("INT"), &json!("running"))
    );
    shell.see("\npyro$ ");
    assert_eq!(workspace.exec("pgrep -x sleep")["exit_code"], 1);

    // A full-screen program, a question without a newline, and its answer.
    let before = shell.cursor;
    shell.type_line(
        "printf '\\033[?1049h\\033[2J\\033[3;5Hme''nu'; read -n1 key; printf '\\033[?1049l'",
    );
    shell.see("menu");
    // A look in the middle of it may have seen what was typed, so once more in one piece.
    shell.cursor = before;
    assert_eq!(shell.see("menu").trim_end(), "\n\n    menu");
    shell
        .call("write", json!({ "input": "q", "append_newline": false }))
        .unwrap();
    shell.see("pyro$ ");
    shell.type_line("echo $key$key");
    shell.see("qq\n");

    // What is typed is taken letter by letter: a tab completes nothing, a `!` is one.
    shell.type_line("cat > typed <<'E'\n\tif a:\n\t\tgo\te\nE");
    shell.type_line("python3 -c 'print(repr(open(\"typed\").read()), \"wow!there\")'");
    shell.see("'\\tif a:\\n\\t\\tgo\\te\\n' wow!there\n");
    shell.type_line("rm typed; echo \"a!b\"; bash --norc");
    shell.see("\na!b\n");
    shell.type_line("echo \"c!d\"; exit");
    shell.see("\nc!d\n");
    // A line that the terminal would cut is refused, with a way that works.
    // Said by what the signal is for, when the file is there.
    shell.type_line("(echo no\"\"w >&2; exec cat) > long");
    shell.see("\nnow\n");
    let long = json!({ "input": "x".repeat(5000) });
    let refused = shell.call("write", long).unwrap_err();
    assert_eq!(refused["code"], "invalid_argument", "{refused:#}");
    let hint = refused["hint"].as_str().unwrap();
    assert!(hint.contains("workspace_file_write"), "{hint}");
    shell.call("signal", json!({})).unwrap();
    shell.see("pyro$ ");
    shell.type_line("wc -c < long; rm long");
    shell.see("\n0\n");

    // Another shell is another world; the end of one is told.
    let mut other = Shell::open(&workspace, json!({}));
    other.type_line("echo [$A]; pwd; exit 3");
    other.see("[]\n/workspace\nexit");
    let mut ended = Value::Null;
    eventually("it has ended", Duration::from_secs(30), || {
        ended = other.all();
        ended["state"] == "stopped"
    });
    assert_eq!(ended["exit_code"], 3);
    assert!(ended["ended_at"].as_f64().unwrap() >= ended["started_at"].as_f64().unwrap());
    for (operation, arguments) in [("write", json!({ "input": "x" })), ("signal", json!({}))] {
        let refused = other.call(operation, arguments).unwrap_err();
        assert_eq!(refused["code"], "shell_ended", "{refused:#}");
    }
    let closed = other.call("close", json!({})).unwrap();
    assert_eq!(
        (&closed["closed"], &closed["exit_code"]),
        (&json!(true), &json!(3))
    );
    let gone = other.call("read", json!({})).unwrap_err();
    assert_eq!(gone["code"], "unknown_shell", "{gone:#}");
    let nowhere = workspace
        .shell("open", json!({ "cwd": "nowhere" }))
        .unwrap_err();
    assert_eq!(nowhere["code"], "unknown_file", "{nowhere:#}");
    // Shells leave nothing in the workspace.
    assert_eq!(workspace.changes(), ["added folder"]);

    // With the VM its shells are gone, and to ask for one does not start it.
    workspace.done("stop", json!({}));
    for (operation, arguments) in [
        ("read", json!({})),
        ("write", json!({ "input": "x" })),
        ("close", json!({})),
    ] {
        let gone = shell.call(operation, arguments).unwrap_err();
        assert_eq!(gone["code"], "unknown_shell", "{gone:#}");
    }
    assert_eq!(workspace.status()["state"], "stopped");
    workspace.done("reset", json!({}));
    let gone = shell.call("read", json!({})).unwrap_err();
    assert_eq!(gone["code"], "unknown_shell", "{gone:#}");
}

fn commands_on_the_host_have_no_shells(world: &World) {
    let surface = pyro_tests::surfaces::cli::CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    for (operation, arguments) in [
        ("open", json!({})),
        ("read", json!({ "shell_id": "0123456789ab" })),
    ] {
        let refused = workspace.shell(operation, arguments).unwrap_err();
        assert_eq!(refused["code"], "unsupported", "{refused:#}");
    }
}
