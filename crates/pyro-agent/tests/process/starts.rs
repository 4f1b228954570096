//! How commands start, and why they may not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use pyro_wire::Bytes;
use pyro_wire::exec::Command;
use pyro_wire::fault::FaultCode;

use crate::agent::{Agent, program, shell};

fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    text.as_ref().to_vec().into()
}

#[tokio::test]
async fn a_missing_program_is_127() {
    let agent = Agent::start().await;
    for name in ["no-such-program", "/no/such/program", "./missing", ""] {
        let outcome = agent.run(program(&[name])).await;
        assert_eq!(outcome.end.exit_code, 127);
        let words = String::from_utf8(outcome.errors).unwrap();
        assert_eq!(words, format!("pyro: {name}: command not found\n"));
    }
    assert_eq!(agent.sh("no-such-program").await.end.exit_code, 127);
}

#[tokio::test]
async fn a_word_of_shells_is_told_from_a_program() {
    let agent = Agent::start().await;
    let outcome = agent.run(program(&["cd", "/tmp"])).await;
    assert_eq!(outcome.end.exit_code, 127);
    let words = String::from_utf8(outcome.errors).unwrap();
    let hint = "pyro: cd: command not found\nhint: `cd` is shell syntax";
    assert!(words.starts_with(hint) && words.ends_with('\n'), "{words}");
}

#[tokio::test]
async fn what_cannot_be_executed_is_126() {
    let agent = Agent::start().await;
    let plain = agent.folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    for name in ["./plain", "/etc"] {
        let outcome = agent.run(program(&[name])).await;
        assert_eq!(outcome.end.exit_code, 126);
        let words = String::from_utf8(outcome.errors).unwrap();
        assert!(words.starts_with(&format!("pyro: {name}: cannot be executed")));
    }
    // A script without a first line that says so is one for the shell, as everywhere.
    fs::write(&plain, "echo from a script").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = agent.run(program(&["./plain"])).await;
    assert_eq!(outcome.text(), "from a script\n");
}

#[tokio::test]
async fn the_folder_is_where_the_command_runs() {
    let agent = Agent::start().await;
    let home = fs::canonicalize(agent.folder.path()).unwrap();
    fs::create_dir(home.join("sub")).unwrap();
    for (cwd, expected) in [
        (None, home.clone()),
        (Some("/workspace"), home.clone()),
        (Some("/workspace/sub"), home.join("sub")),
        (Some("sub"), home.join("sub")),
        (Some("/"), "/".into()),
    ] {
        let mut request = program(&["sh", "-c", "pwd -P; echo $PWD $HOME"]);
        request.cwd = cwd.map(bytes);
        let expected = expected.display();
        assert_eq!(
            agent.run(request).await.text(),
            format!("{expected}\n{expected} {}\n", home.display())
        );
    }
}

#[tokio::test]
async fn a_missing_folder_is_said_so() {
    let agent = Agent::start().await;
    fs::write(agent.folder.path().join("file"), "").unwrap();
    for (cwd, code) in [
        ("/workspace/none", FaultCode::NotFound),
        ("file", FaultCode::NotFound),
        ("with\0nul", FaultCode::Refused),
    ] {
        let mut request = shell("true");
        request.cwd = Some(bytes(cwd));
        let fault = agent.begin(request).await.finish().await.unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
    }
}

#[tokio::test]
async fn words_arrive_as_they_are() {
    let agent = Agent::start().await;
    let words: [&[u8]; 7] = [
        b"a b",
        b"'single' \"double\"",
        b"new\nline",
        b"$HOME `id` \\",
        b"",
        b"\xff\xfe\x80",
        b"-n",
    ];
    let mut all: Vec<&[u8]> = vec![b"printf", b"[%s]"];
    all.extend(words);
    let expected: Vec<u8> = words
        .iter()
        .flat_map(|word| [b"[", *word, b"]"].concat())
        .collect();
    assert_eq!(agent.run(program(&all)).await.output, expected);
}

#[tokio::test]
async fn a_line_may_hold_any_bytes() {
    let agent = Agent::start().await;
    let mut request = shell("");
    request.command = Command::Shell(bytes(b"printf '%s' '\xff\xfe'\nprintf ' two'"));
    assert_eq!(agent.run(request).await.output, b"\xff\xfe two");
}

#[tokio::test]
async fn variables_are_exactly_these() {
    let agent = Agent::start().await;
    let mut request = program(&["env"]);
    request.env = vec![
        (bytes("MINE"), bytes(b"a=b \xff")),
        (bytes("LANG"), bytes("C")),
    ];
    let outcome = agent.run(request).await;
    let home = fs::canonicalize(agent.folder.path()).unwrap();
    let home = home.display();
    let shell = if fs::exists("/bin/bash").unwrap() {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let mut lines: Vec<_> = outcome.output.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    let expected = format!(
        "\nHOME={home}\nLANG=C\nLOGNAME=root\nMINE=a=b ?\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         PWD={home}\nSHELL={shell}\nTERM=xterm-256color\nUSER=root"
    );
    let expected = expected.replace('?', "\u{fffd}");
    assert_eq!(String::from_utf8_lossy(&lines.join(&b'\n')), expected);
}

#[tokio::test]
async fn a_program_is_looked_for_where_its_own_path_says() {
    let agent = Agent::start().await;
    let tool = agent.folder.path().join("tool");
    fs::write(&tool, "#!/bin/sh\necho mine").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let mut request = program(&["tool"]);
    request.env = vec![(bytes("PATH"), bytes(agent.folder.path().to_str().unwrap()))];
    assert_eq!(agent.run(request).await.text(), "mine\n");
}

#[tokio::test]
async fn what_no_kernel_takes_is_refused() {
    let agent = Agent::start().await;
    let huge = "x".repeat(200_000);
    let mut nul_in_variable = program(&["env"]);
    nul_in_variable.env = vec![(bytes("A"), bytes("a\0b"))];
    let mut bad_name = program(&["env"]);
    bad_name.env = vec![(bytes("A=B"), bytes("c"))];
    for request in [
        program(&["echo", huge.as_str()]),
        program(&["echo", "a\0b"]),
        program::<&str>(&[]),
        shell("echo \0"),
        nul_in_variable,
        bad_name,
    ] {
        let fault = agent.begin(request).await.finish().await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Refused, "{fault}");
    }
    assert_eq!(agent.sh("echo fine").await.text(), "fine\n");
}

#[test]
fn a_missing_channel_is_said_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pyro-agent"))
        .args([OsStr::new("--process"), OsStr::new("/")])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("pyro-agent: descriptor 3"), "{words}");
}
