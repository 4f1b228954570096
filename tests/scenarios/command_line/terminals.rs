//! `pyro run` and `pyro workspace exec` where a person sits at a terminal.

use nix::sys::signal::Signal;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Workspace, World};
use serde_json::{Value, json};

use crate::pty::{PATIENCE, TerminalSession};

crate::stories! { [process, vm, gvisor]:
    a_person_gets_a_shell_and_the_terminal_back,
    a_person_gets_a_shell_in_a_workspace,
}
crate::stories! { [process]:
    a_command_has_no_terminal_where_its_output_goes_elsewhere,
    a_command_in_a_workspace_has_a_terminal_by_the_same_rule,
    a_person_may_leave_a_command_in_a_workspace,
    a_person_may_leave_and_a_timeout_that_was_typed_counts,
    what_a_guest_wrote_does_not_act_on_the_terminal,
    what_cannot_start_is_told_as_without_a_terminal,
}

fn run(world: &World, flags: &[&str], command: &[&str]) -> TerminalSession {
    TerminalSession::at(world.run(flags, command))
}

fn a_person_gets_a_shell_and_the_terminal_back(world: &World) {
    let mut terminal = run(world, &["-it"], &["env", "PS1=ready> ", "sh"]);
    terminal.see("ready> ");
    assert!(terminal.is_raw());
    terminal.type_keys("stty size; test -t 0 && test -t 2 && echo all of it\r");
    terminal.see("20 70");
    terminal.see("\nall of it");
    terminal.resize(33, 99);
    eventually("the new size", PATIENCE, || {
        terminal.type_keys("stty size\r");
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.shown().contains("33 99")
    });
    // Keys mean what they mean at a terminal, and go to the command and not to pyro.
    // The one that is interrupted says that it has the terminal: until then the shell has.
    terminal.type_keys("sh -c 'echo be\"\"gun; exec sleep 1000'; echo over\r");
    terminal.see("begun");
    terminal.interrupt(world.backend);
    // What is written fast arrives whole, however slowly it is read.
    terminal.type_keys("seq 200000 | tail -c 1000000 | cksum; seq 200000; echo counted\r");
    terminal.see("\n200000\r\ncounted");
    let shown = terminal.shown();
    let lines = (1..=200_000).filter(|number| number % 1000 == 0);
    for number in lines {
        assert!(shown.contains(&format!("\n{number}\r\n")), "{number}");
    }
    terminal.type_keys("exit 7\r");
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(7), "{shown:?}");
    assert!(shown.contains("exit_code=7"));

    // Told to end, pyro gives the terminal back, and nothing is left.
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let terminal = run(world, &[], &["sh", "-c", "echo beg''un; sleep 1000"]);
        terminal.see("begun");
        terminal.signal(signal);
        let (status, shown) = terminal.leave();
        assert_eq!(status.code(), Some(code), "{shown:?}");
    }
}

fn a_command_has_no_terminal_where_its_output_goes_elsewhere(world: &World) {
    let look = [
        "sh",
        "-c",
        "test -t 0 || test -t 1 || test -t 2 || echo none",
    ];
    for flags in [["--json"].as_slice(), &["-T"], &["-i", "--no-tty"]] {
        let (status, shown) = run(world, flags, &look).leave();
        assert_eq!(status.code(), Some(0), "{flags:?}: {shown:?}");
        assert!(shown.contains("none"), "{flags:?}: {shown:?}");
    }
    let refused = finish(&mut world.run(&["-t"], look));
    assert_eq!(refused.code(), 1);
    assert!(
        refused.err().contains("`--tty` needs a terminal"),
        "{}",
        refused.err()
    );
    // Without one nothing is different for it.
    assert_eq!(finish(&mut world.run(&["-i"], look)).out(), "none\n");
}

fn exec(
    workspace: &Workspace<'_>,
    world: &World,
    flags: &[&str],
    command: &[&str],
) -> TerminalSession {
    let mut exec = world.pyro(["workspace", "exec", workspace.id()]);
    exec.args(flags).arg("--").args(command);
    TerminalSession::at(exec)
}

fn last_entry(workspace: &Workspace<'_>) -> Value {
    let logs = workspace.done("logs", json!({}));
    logs["entries"].as_array().unwrap().last().unwrap().clone()
}

fn a_person_gets_a_shell_in_a_workspace(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let shell = ["env", "PS1=ready> ", "sh"];
    let mut seat = exec(&workspace, world, &["-it", "--cwd", "/usr"], &shell);
    seat.see("ready> ");
    assert!(seat.is_raw());
    seat.type_keys("pwd; stty size; test -t 0 && test -t 2 && echo all of it\r");
    seat.see("/usr");
    seat.see("20 70");
    seat.see("\nall of it");
    seat.resize(33, 99);
    eventually("the new size", PATIENCE, || {
        seat.type_keys("stty size\r");
        std::thread::sleep(std::time::Duration::from_millis(100));
        seat.shown().contains("33 99")
    });
    seat.type_keys("sh -c 'echo be\"\"gun; exec sleep 1000'; echo over\r");
    seat.see("begun");
    seat.interrupt(world.backend);
    seat.type_keys("exit 7\r");
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(7), "{shown:?}");
    assert!(shown.contains("exit_code=7"));
    let kept = last_entry(&workspace);
    assert_eq!(
        (&kept["command"], &kept["exit_code"], &kept["cwd"]),
        (&json!("env 'PS1=ready> ' sh"), &json!(7), &json!("/usr"))
    );
    assert!(
        kept["stdout"].as_str().unwrap().contains("all of it"),
        "{kept:#}"
    );
}

fn a_command_in_a_workspace_has_a_terminal_by_the_same_rule(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let look = [
        "sh",
        "-c",
        "test -t 0 || test -t 1 || test -t 2 || echo none",
    ];
    let all = [
        "sh",
        "-c",
        "test -t 0 && test -t 1 && test -t 2 && echo all",
    ];
    let (status, shown) = exec(&workspace, world, &[], &all).leave();
    assert_eq!(status.code(), Some(0), "{shown:?}");
    for flags in [
        &["--json"][..],
        &["-T"],
        &["--wait-seconds", "60"],
        &["--stdin", "x"],
    ] {
        let (status, shown) = exec(&workspace, world, flags, &look).leave();
        assert_eq!(status.code(), Some(0), "{flags:?}: {shown:?}");
        assert!(shown.contains("none"), "{flags:?}: {shown:?}");
    }
    let (status, shown) = exec(&workspace, world, &["-t", "--background"], &look).leave();
    assert_eq!(status.code(), Some(1), "{shown:?}");
    assert!(
        shown.contains("cannot be combined with `--background`"),
        "{shown:?}"
    );
    let piped = |flags: &[&str]| {
        let mut exec = world.pyro(["workspace", "exec", workspace.id()]);
        finish(exec.args(flags).arg("--").args(look))
    };
    assert!(piped(&["-t"]).err().contains("`--tty` needs a terminal"));
    assert_eq!(piped(&[]).out(), "none\n");
}

fn a_person_may_leave_a_command_in_a_workspace(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    // Of the command with this mark. What was killed is still there for a moment.
    let killed = |mark: &str| {
        let mut kept = Value::Null;
        eventually("it is in the history", PATIENCE, || {
            let logs = workspace.done("logs", json!({}));
            let mut entries = logs["entries"].as_array().unwrap().iter();
            let is_meant = |one: &&Value| one["command"].as_str().unwrap().contains(mark);
            kept = entries.find(is_meant).cloned().unwrap_or_default();
            !kept.is_null()
        });
        assert_eq!(kept["exit_code"], 137, "{kept:#}");
        eventually("nothing of it runs on", PATIENCE, || {
            let look = format!("kill -0 $(cat pid-{mark}) 2>/dev/null || echo gone");
            workspace.exec(&look)["stdout"] == "gone\n"
        });
    };
    let waits = |mark: &str| format!("echo $$ > pid-{mark}; echo beg''un; exec cat");
    let mut seat = exec(&workspace, world, &[], &["sh", "-c", &waits("first")]);
    seat.see("begun");
    seat.type_keys("\u{1d}\u{1d}\u{1d}");
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(137), "{shown:?}");
    killed("first");
    // Its workspace is as it was.
    assert_eq!(workspace.status()["state"], "started");

    // Told to end, pyro gives the terminal back, and nothing runs on.
    let seat = exec(&workspace, world, &[], &["sh", "-c", &waits("second")]);
    seat.see("begun");
    seat.signal(Signal::SIGHUP);
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(129), "{shown:?}");
    killed("second");

    let timed = exec(
        &workspace,
        world,
        &["--timeout-seconds", "1"],
        &["sleep", "1000"],
    );
    let (status, shown) = timed.leave();
    assert_eq!(status.code(), Some(124), "{shown:?}");
    assert!(shown.contains("timed out"), "{shown:?}");
    assert_eq!(workspace.status()["state"], "started");
}

fn a_person_may_leave_and_a_timeout_that_was_typed_counts(world: &World) {
    let mut terminal = run(world, &[], &["sh", "-c", "echo begun; exec cat"]);
    terminal.see("begun");
    // Once or twice they are keys like others.
    terminal.type_keys("a\u{1d}\u{1d}b\r");
    terminal.see("b\r\na");
    terminal.type_keys("\u{1d}\u{1d}\u{1d}");
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(137), "{shown:?}");

    let terminal = run(world, &["--timeout-seconds", "1"], &["sleep", "1000"]);
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(124), "{shown:?}");
    assert!(shown.contains("[run] timed out"), "{shown:?}");
}

fn what_a_guest_wrote_does_not_act_on_the_terminal(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("f", "good\n\u{1b}[1A\u{1b}[2Kevil\rnice\n");
    let id = workspace.id();
    for (words, wanted) in [
        (&["diff", id] as &[_], "+^[[1A^[[2Kevil^Mnice\r\n"),
        (
            &["file", "read", id, "f", "--content-only"],
            "good\r\n^[[1A^[[2Kevil^Mnice\r\n",
        ),
    ] {
        let pyro = || world.pyro([&["workspace"][..], words].concat());
        let (status, shown) = TerminalSession::at(pyro()).leave();
        assert!(status.success(), "{shown:?}");
        assert!(
            shown.contains(wanted) && !shown.contains('\u{1b}'),
            "{shown:?}"
        );
        let piped = String::from_utf8(pyro().output().unwrap().stdout).unwrap();
        assert!(
            piped.contains("\u{1b}[1A\u{1b}[2Kevil\rnice\n"),
            "{piped:?}"
        );
    }
}

fn what_cannot_start_is_told_as_without_a_terminal(world: &World) {
    for (command, code, told) in [
        (
            &["cd", "/tmp"][..],
            127,
            "cd: command not found\r\nhint: `cd` is shell syntax",
        ),
        (&["nosuch", "x"], 127, "nosuch: command not found\r\n"),
        (
            &["/etc/passwd", "x"],
            126,
            "/etc/passwd: cannot be executed:",
        ),
        // A shell says it where one runs.
        (&["nosuch"], 127, "not found\r\n"),
    ] {
        let (status, shown) = run(world, &[], command).leave();
        assert_eq!(status.code(), Some(code), "{command:?}: {shown:?}");
        assert!(shown.contains(told), "{command:?}: {shown:?}");
        assert!(!shown.contains("was cancelled"), "{command:?}: {shown:?}");
        let plain = finish(&mut world.run(&["-T"], command));
        assert_eq!(plain.code(), code, "{}", plain.err());
    }
}
