//! `pyro try`: something is tried on a copy of a project.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{Running, finish};
use pyro_tests::{Backend, Surface, World, tree};
use serde_json::json;

use crate::pty::TerminalSession;

crate::stories! { [vm, gvisor]:
    a_copy_is_kept_when_files_of_it_changed,
    a_person_tries_something_out,
    an_interrupt_ends_the_command_and_not_the_answer,
    a_second_interrupt_leaves_and_says_what_is_left,
}

fn workspaces(world: &World) -> u64 {
    let listed = CommandLine(world)
        .call("workspace_list", json!({}))
        .unwrap();
    listed["count"].as_u64().unwrap()
}

fn a_copy_is_kept_when_files_of_it_changed(world: &World) {
    let project = tree::plant(
        &world.folder().join("project"),
        &[("a", "1\n"), ("b c", "1\n")],
    );
    for words in ["git init -q --template=", "git add -A"] {
        let mut words = words.split(' ');
        let mut git = std::process::Command::new(words.next().unwrap());
        assert_eq!(finish(git.args(words).current_dir(&project)).code(), 0);
    }
    let planted = tree::look(&project);
    let run = |arguments: &[&str]| {
        let mut pyro = world.pyro(["try"]);
        finish(pyro.args(arguments).current_dir(&project))
    };

    // Nothing to type into, and nothing was made.
    let ran = run(&[]);
    assert_eq!(ran.code(), 1);
    assert!(ran.err().contains("-- make test"), "{}", ran.err());
    let ran = run(&["--", ""]);
    assert!(ran.err().contains("No command"), "{}", ran.err());
    assert_eq!(workspaces(world), 0);

    // The command's own status, and nothing else on standard output.
    let ran = run(&["--", "cat a; exit 3"]);
    assert_eq!((ran.code(), ran.out()), (3, "1\n".to_owned()));
    assert!(ran.err().contains("the copy was deleted"), "{}", ran.err());
    assert_eq!(workspaces(world), 0);

    // What looking at a repository leaves in its own folder is no change.
    let ran = run(&["--exclude", "/a", "--", "git status -s; rm .git/index; ls"]);
    assert_eq!(
        (ran.code(), ran.out()),
        (0, "AD a\nA  \"b c\"\nb c\n".to_owned())
    );
    assert!(ran.err().contains("the copy was deleted"), "{}", ran.err());
    assert_eq!(workspaces(world), 0);

    let (isolation, mode) = match world.backend {
        Backend::Gvisor => ("gvisor", "gvisor"),
        _ => ("vm", "guest_vsock"),
    };
    let ran = run(&[
        "--isolation",
        isolation,
        "--mem-mib",
        "256",
        ".",
        "--",
        "sh",
        "-c",
        "echo 2 > 'b c'; rm a; mkdir d; echo n > d/n; printf '\\000' > c.pyc; rm .git/index",
    ]);
    assert_eq!((ran.code(), ran.out()), (0, String::new()));
    for said in [
        "total=5 added=2 modified=1 deleted=2",
        "deleted: a\n",
        "modified: b c\n",
        "added: d/n\n",
    ] {
        assert!(ran.err().contains(said), "{said} in {}", ran.err());
    }
    let listed = finish(&mut world.pyro(["workspace", "list"]));
    let kind = format!("execution_mode={mode}");
    assert!(listed.out().contains(&kind), "{}", listed.out());
    assert_eq!(workspaces(world), 1);
    assert_eq!(tree::look(&project), planted);

    // What is told can be typed as it stands.
    let told = |what: &str| {
        let line = format!("[try] {what}:");
        let err = ran.err();
        let line = err.lines().find_map(|told| told.strip_prefix(&line));
        line.unwrap().trim().to_owned()
    };
    for what in ["look", "take", "delete"] {
        let line = told(what).replacen("pyro", pyro_tests::world::pyro().to_str().unwrap(), 1);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).envs(world.variables());
        let ran = finish(shell.current_dir(&project));
        assert_eq!(ran.code(), 0, "{line}: {}", ran.err());
    }
    assert_eq!(fs::read_to_string(project.join("b c")).unwrap(), "2\n");
    assert_eq!(fs::read_to_string(project.join("d/n")).unwrap(), "n\n");
    assert_eq!(fs::read(project.join("c.pyc")).unwrap(), [0]);
    assert!(!project.join("a").exists());
    assert!(project.join(".git/index").exists());
    assert_eq!(workspaces(world), 0);
}

fn a_person_tries_something_out(world: &World) {
    let project = tree::plant(&world.folder().join("project"), &[("file", "1\n")]);
    let mut pyro = world.pyro(["try"]);
    pyro.arg(&project);
    let mut terminal = TerminalSession::at(pyro);
    terminal.see("pyro$ ");
    terminal.type_keys("cat file; uname -n; echo 2 > file\r");
    terminal.see("1\r\n");
    terminal.type_keys("exit 4\r");
    let (status, shown) = terminal.leave();
    assert_eq!(status.code(), Some(4), "{shown:?}");
    assert!(shown.contains("modified: file"), "{shown:?}");
    assert_eq!(fs::read_to_string(project.join("file")).unwrap(), "1\n");
    let id = shown.split("workspace delete ").nth(1).unwrap();
    let gone = finish(&mut world.pyro(["workspace", "delete", id.trim()]));
    assert_eq!(gone.code(), 0, "{}", gone.err());

    // A command has the terminal as well, as that of `run` has.
    let mut pyro = world.pyro(["try"]);
    pyro.arg(&project).args(["--", "env", "PS1=ready> ", "sh"]);
    let mut seat = TerminalSession::at(pyro);
    seat.see("ready> ");
    seat.type_keys("test -t 0 && stty size; exit 5\r");
    seat.see("20 70");
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(5), "{shown:?}");
    assert!(shown.contains("the copy was deleted"), "{shown:?}");
}

fn interrupt(running: &Running, signal: Signal) {
    let pid = i32::try_from(running.child.id()).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn an_interrupt_ends_the_command_and_not_the_answer(world: &World) {
    let project = tree::plant(&world.folder().join("project"), &[("file", "1\n")]);
    let begin = |line: &str| {
        let mut pyro = world.pyro(["try"]);
        let running = Running::start(pyro.arg(&project).args(["--", line]));
        running.await_out("here\n");
        running
    };
    let running = begin("echo here; sleep 1000");
    // As `timeout` sends it, to the program and to its group.
    interrupt(&running, Signal::SIGINT);
    interrupt(&running, Signal::SIGINT);
    let ran = running.wait();
    assert_eq!(ran.code(), 130, "{}", ran.err());
    let said = "its caller was interrupted";
    assert!(ran.err().contains(said), "{}", ran.err());
    assert!(ran.err().contains("the copy was deleted"), "{}", ran.err());
    assert_eq!(workspaces(world), 0);

    let running = begin("trap 'echo 2 > file; exit 0' TERM; echo here; sleep 1000 & wait");
    interrupt(&running, Signal::SIGTERM);
    let ran = running.wait();
    assert_eq!(ran.code(), 143, "{}", ran.err());
    assert!(ran.err().contains("modified: file\n"), "{}", ran.err());
    let id = ran
        .err()
        .split("workspace delete ")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned();
    assert_eq!(
        finish(&mut world.pyro(["workspace", "delete", &id])).code(),
        0
    );
}

fn a_second_interrupt_leaves_and_says_what_is_left(world: &World) {
    let project = tree::plant(&world.folder().join("project"), &[("file", "1\n")]);
    let mut pyro = world.pyro(["try"]);
    let stubborn = "trap '' TERM; echo here; sleep 1000";
    let running = Running::start(pyro.arg(&project).args(["--", stubborn]));
    running.await_out("here\n");
    interrupt(&running, Signal::SIGINT);
    // Later than what `timeout` sends twice, and before a command that does not listen is killed.
    std::thread::sleep(Duration::from_secs(1));
    interrupt(&running, Signal::SIGINT);
    let ran = running.wait();
    assert_eq!(ran.code(), 130, "{}", ran.err());
    assert!(!ran.err().contains("[try]"), "{}", ran.err());
    let left = ran.err();
    let id = left.split("pyro workspace delete ").nth(1).unwrap();
    let id = id.split('`').next().unwrap();
    assert!(
        left.contains(&format!("`pyro workspace diff {id}`")),
        "{left}"
    );
    let apply = format!("git -C {} apply`", project.display());
    assert!(left.contains(&apply), "{left}");
    assert_eq!(workspaces(world), 1);
    assert_eq!(
        finish(&mut world.pyro(["workspace", "delete", id])).code(),
        0
    );
}
