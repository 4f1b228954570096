//! `pyro workspace shell attach`: a person's terminal on a shell.

use std::time::Duration;

use nix::sys::signal::Signal;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Workspace, World};
use serde_json::json;

use crate::pty::{PATIENCE, TerminalSession};

crate::stories! { [vm, gvisor]: a_person_comes_leaves_and_comes_back }

fn attach(world: &World, arguments: &[&str]) -> TerminalSession {
    let mut command = world.pyro(["workspace", "shell", "attach"]);
    command.args(arguments);
    TerminalSession::at(command)
}

fn a_person_comes_leaves_and_comes_back(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let id = workspace.id().to_owned();

    // Without a terminal there is nothing to attach.
    let refused = finish(&mut world.pyro(["workspace", "shell", "attach", &id, "--json"]));
    assert_eq!(
        (refused.code(), &refused.json()["code"]),
        (1, &json!("invalid_argument"))
    );

    // A new shell, as large as the terminal, that follows its size.
    let mut terminal = attach(world, &[&id]);
    terminal.see("pyro$ ");
    assert!(terminal.is_raw());
    terminal.type_keys("stty size\r");
    terminal.see("20 70");
    terminal.resize(33, 99);
    eventually("the new size", PATIENCE, || {
        terminal.type_keys("stty size\r");
        std::thread::sleep(Duration::from_millis(100));
        terminal.shown().contains("33 99")
    });
    // Keys mean what they mean in a terminal.
    // What is interrupted says itself that it has the terminal: until then the shell has.
    terminal.type_keys("sh -c 'echo as\"\"leep; exec sleep 1000'\r");
    terminal.see("asleep");
    terminal.interrupt(world.backend);
    // A program that changes the terminal, and is left running.
    terminal.type_keys("printf '\\033[?1049h\\033[?25l\\033[2J\\033[4;4Ha %s' screen; read\r");
    terminal.see("a screen");
    terminal.type_keys("\u{1d}");
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(0), "{shown:?}");
    assert!(shown.contains("\u{1b}[?1049l\u{1b}[?25h"), "{shown:?}");
    let said = shown.split("the shell is still running: `").nth(1).unwrap();
    let shell_id = said
        .split('`')
        .next()
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap()
        .to_owned();

    // Whoever comes back sees the screen, with the keys of their choice.
    let keys = ["--detach-keys", "ctrl-p,ctrl-q"];
    let mut terminal = attach(world, &[&id, &shell_id[..6], keys[0], keys[1]]);
    terminal.see("a screen");
    terminal.see("\u{1b}[?25l");
    terminal.type_keys("\r");
    terminal.see("pyro$ ");
    terminal.type_keys("\u{10}\u{11}");
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(0), "{shown:?}");

    // Told to end, pyro gives the terminal back; the shell does not notice.
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let terminal = attach(world, &[&id, &shell_id]);
        terminal.see("pyro$ ");
        eventually("it is taken", PATIENCE, || terminal.is_raw());
        terminal.signal(signal);
        let (status, shown) = terminal.leave();
        assert_eq!(status.code(), Some(code), "{shown:?}");
    }
    // Killed, it cannot; the shell does not notice that either.
    let mut terminal = attach(world, &[&id, &shell_id]);
    terminal.see("pyro$ ");
    terminal.signal(Signal::SIGKILL);
    terminal.wait();

    // Its end is the end of the command.
    let mut terminal = attach(world, &[&id, &shell_id]);
    terminal.see("pyro$ ");
    terminal.type_keys("exit 5\r");
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(5), "{shown:?}");
    let read = workspace
        .shell("read", json!({ "shell_id": shell_id }))
        .unwrap();
    assert_eq!(
        (&read["state"], &read["exit_code"]),
        (&json!("stopped"), &json!(5))
    );

    // A VM that goes away is told, on a terminal that is itself again.
    let terminal = attach(world, &[&id]);
    terminal.see("pyro$ ");
    workspace.done("stop", json!({}));
    // It was killed with everything else in the guest, unless the VM was gone before that was told.
    let (status, shown) = terminal.leave();
    assert!(
        matches!(status.code(), Some(1 | 137)),
        "{status:?} {shown:?}"
    );
}
