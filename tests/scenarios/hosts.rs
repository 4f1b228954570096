//! `pyro host`, and what a host does with the entry.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyro_tests::tree::look;
use pyro_tests::world::{finish, pyro};
use pyro_tests::{Backend, World};
use serde_json::{Value, json};

crate::stories! { [process]:
    the_examples_are_what_is_printed,
    every_host_is_connected_checked_and_repaired,
    what_is_broken_is_refused_until_it_may_be_moved,
    an_entry_of_somebody_else_stays,
    nothing_is_written_when_nothing_may_be,
    a_project_has_an_entry_of_its_own,
    a_program_of_a_project_is_not_started,
    what_was_connected_can_be_taken_out_without_a_trace,
    what_is_taken_out_is_said_and_the_rest_stays,
    what_claude_code_keeps_by_project_is_seen_too,
}

crate::stories! { [process, vm]: a_bare_environment_is_enough }

/// Each host with the example that shows its entry.
const EXAMPLES: [(&str, &str); 9] = [
    ("claude-code", "claude_code_mcp.md"),
    ("codex", "codex_mcp.md"),
    ("opencode", "opencode_mcp_config.json"),
    ("claude-desktop", "claude_desktop_mcp_config.json"),
    ("cursor", "cursor_mcp_config.json"),
    ("vscode", "vscode_mcp_config.json"),
    ("gemini-cli", "gemini_cli_mcp_config.json"),
    ("zed", "zed_mcp_config.json"),
    ("generic", "mcp_client_config.md"),
];

/// A home with a space in its path, and `pyro` on the `PATH` of a terminal.
struct Home<'a> {
    world: &'a World,
    home: PathBuf,
    project: PathBuf,
    bin: PathBuf,
}

impl<'a> Home<'a> {
    fn new(world: &'a World) -> Self {
        let home = world.folder().join("my home");
        let (project, bin) = (home.join("project"), home.join("bin"));
        for folder in [&project, &bin] {
            fs::create_dir_all(folder).unwrap();
        }
        symlink(pyro(), bin.join("pyro")).unwrap();
        Self {
            world,
            home,
            project,
            bin,
        }
    }

    fn host(&self, words: &[&str]) -> Command {
        let mut command = self.world.pyro(["host"].iter().chain(words));
        command
            .env("HOME", &self.home)
            .env("PATH", format!("{}:/usr/bin:/bin", self.bin.display()))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CODEX_HOME")
            .env_remove("CLAUDE_CONFIG_DIR")
            .current_dir(&self.project);
        command
    }

    /// The document that a command prints, and its status.
    fn document(&self, words: &[&str]) -> (Value, i32) {
        let ran = finish(self.host(words).arg("--json"));
        let document = serde_json::from_str(&ran.out());
        (
            document.unwrap_or_else(|_| panic!("{words:?}: {ran:?}")),
            ran.code(),
        )
    }

    fn done(&self, words: &[&str]) -> Value {
        let (document, code) = self.document(words);
        assert_eq!(code, 0, "{words:?}: {document}");
        document
    }

    fn refused(&self, words: &[&str]) -> Value {
        let (document, code) = self.document(words);
        assert_eq!(
            (code, &document["ok"]),
            (1, &json!(false)),
            "{words:?}: {document}"
        );
        document
    }
}

fn the_examples_are_what_is_printed(world: &World) {
    let home = Home::new(world);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for (host, file) in EXAMPLES {
        let ran = finish(&mut home.host(&["print-config", host, "--command", "pyro"]));
        assert_eq!(ran.code(), 0, "{ran:?}");
        let example = fs::read_to_string(examples.join(file)).unwrap();
        let shown = match file.ends_with(".md") {
            true => example.contains(&format!("\n{}```\n", ran.out())),
            false => example == ran.out(),
        };
        assert!(shown, "{file} differs from:\n{}", ran.out());
    }
}

fn every_host_is_connected_checked_and_repaired(world: &World) {
    let home = Home::new(world);
    let generic = home.home.join("some host.json");
    for (host, _) in EXAMPLES {
        let config = ["--config", generic.to_str().unwrap()];
        let at: &[&str] = if host == "generic" { &config } else { &[] };
        let run = |verb: &str, more: &[&str]| home.done(&[&[verb, host], at, more].concat());
        let created = run("connect", &["--env", "PYRO_STATE_DIR"]);
        assert_eq!(created["outcome"], "created", "{created}");
        assert_eq!(
            run("connect", &["--env", "PYRO_STATE_DIR"])["outcome"],
            "unchanged"
        );

        let file = PathBuf::from(created["config"].as_str().unwrap());
        let written = fs::read_to_string(&file).unwrap();
        let terminal = ["claude-code", "codex", "opencode", "gemini-cli"].contains(&host);
        let command = created["entry"]["command"].as_str().unwrap();
        assert_eq!(command == "pyro", terminal, "{host}: {command}");
        let healthy = run("doctor", &[]);
        assert_eq!(
            healthy["tools"].as_array().unwrap()[0],
            "vm_run",
            "{healthy}"
        );

        // What starts it goes away; what somebody added stays.
        let quoted = format!("\"{command}\"");
        // The name of the entry may be the same word, and stands before it.
        let (before, after) = written.rsplit_once(&quoted).unwrap();
        fs::write(&file, format!("{before}\"/gone/pyro\"{after}")).unwrap();
        let (ill, code) = home.document(&[&["doctor", host], at].concat());
        assert_eq!((code, &ill["healthy"]), (1, &json!(false)), "{ill}");
        let last = ill["checks"].as_array().unwrap().last().unwrap();
        assert_eq!(last["name"], "command", "{ill}");
        let repaired = run("repair", &[]);
        assert_eq!(repaired["change"]["outcome"], "updated", "{repaired}");
        assert_eq!(repaired["now"]["healthy"], true, "{repaired}");
        assert_eq!(fs::read_to_string(&file).unwrap(), written, "{host}");
        let backup = repaired["change"]["backup"].as_str().unwrap();
        assert!(fs::read_to_string(backup).unwrap().contains("/gone/pyro"));
        assert_eq!(run("repair", &[])["change"], Value::Null);

        let other = run("connect", &["--profile", "vm-run"]);
        assert_eq!(other["outcome"], "updated", "{other}");
        assert_eq!(run("doctor", &[])["tools"], json!(["vm_run"]), "{host}");
    }
}

fn what_is_broken_is_refused_until_it_may_be_moved(world: &World) {
    let home = Home::new(world);
    let file = home.home.join(".cursor/mcp.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let broken = "{\n  \"mcpServers\": {\n    oops\n  }\n}\n";
    fs::write(&file, broken).unwrap();
    for words in [["connect", "cursor"], ["repair", "cursor"]] {
        let refused = home.refused(&words);
        assert_eq!(refused["code"], "bad_host_config");
        let cause = refused["causes"][0].as_str().unwrap();
        assert!(cause.starts_with("line 3, column 5"), "{refused}");
        assert!(
            refused["hint"].as_str().unwrap().contains("--move-aside"),
            "{refused}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), broken);
    let repaired = home.done(&["repair", "cursor", "--move-aside"]);
    assert_eq!(repaired["now"]["healthy"], true, "{repaired}");
    let aside = repaired["moved_aside"].as_str().unwrap();
    assert_eq!(fs::read_to_string(aside).unwrap(), broken);
}

fn an_entry_of_somebody_else_stays(world: &World) {
    let home = Home::new(world);
    let file = home.home.join(".codex/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let theirs = "# mine\n[mcp_servers.pyro]\ncommand = \"npx\" # theirs\nargs = [\"x\"]\n";
    fs::write(&file, theirs).unwrap();
    let refused = home.refused(&["connect", "codex"]);
    assert_eq!(refused["code"], "conflict");
    assert_eq!(refused["causes"][0], "it starts `npx x`");
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
    home.done(&["connect", "codex", "--name", "vms"]);
    let both = fs::read_to_string(&file).unwrap();
    assert!(
        both.starts_with(theirs) && both.contains("[mcp_servers.vms]"),
        "{both}"
    );
    let replaced = home.done(&["connect", "codex", "--replace"]);
    assert_eq!(replaced["outcome"], "replaced");
    assert!(!fs::read_to_string(&file).unwrap().contains("npx"));
}

fn nothing_is_written_when_nothing_may_be(world: &World) {
    let home = Home::new(world);
    let tried = home.done(&["connect", "zed", "--dry-run"]);
    assert_eq!(tried["outcome"], "created");
    assert_eq!(tried["difference"].as_array().unwrap().len(), 8, "{tried}");
    assert!(!home.home.join(".config").exists());
    let (ill, code) = home.document(&["doctor", "zed"]);
    assert_eq!(code, 1);
    assert!(
        ill["checks"].to_string().contains("pyro host connect zed"),
        "{ill}"
    );
    for wrong in [
        &["connect", "generic"][..],
        &["connect", "claude-desktop", "--scope", "project"],
        &["connect", "zed", "--name", "two words"],
        &["connect", "zed", "--env", "NOT_SET_ANYWHERE"],
    ] {
        assert_eq!(home.refused(wrong)["code"], "invalid_argument");
    }
    // A folder that takes no file: its name is that of a file.
    fs::write(home.home.join(".config"), "").unwrap();
    assert_eq!(home.refused(&["connect", "zed"])["code"], "host_io");
}

fn a_project_has_an_entry_of_its_own(world: &World) {
    let home = Home::new(world);
    let connected = home.done(&["connect", "claude-code", "--scope", "project"]);
    assert_eq!(connected["config"], json!(home.project.join(".mcp.json")));
    assert_eq!(connected["entry"]["command"], "pyro");
    let found = home.done(&["doctor", "claude-code"]);
    assert_eq!(found["scope"], "project", "{found}");
}

/// Who looks at a stranger's repository does not want to run it.
fn a_program_of_a_project_is_not_started(world: &World) {
    let home = Home::new(world);
    let (program, mark) = (home.project.join("pyro"), home.project.join("ran"));
    fs::write(&program, format!("#!/bin/sh\ntouch '{}'\n", mark.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for command in ["./pyro", program.to_str().unwrap()] {
        let entry = json!({ "command": command, "args": ["mcp", "serve", "\u{1b}[2J"] });
        let file = json!({ "mcpServers": { "pyro": entry } }).to_string();
        fs::write(home.project.join(".mcp.json"), file).unwrap();
        let words = ["doctor", "claude-code"];
        let (ill, code) = home.document(&words);
        assert_eq!((code, &ill["scope"]), (1, &json!("project")), "{ill}");
        let last = ill["checks"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["name"], &last["outcome"]),
            (&json!("command"), &json!("failed"))
        );
        assert!(!finish(&mut home.host(&words)).out().contains('\u{1b}'));
        assert!(!mark.exists());
    }
}

/// A desktop may start a server with next to nothing.
fn a_bare_environment_is_enough(world: &World) {
    let mut command = Command::new("/usr/bin/timeout");
    command
        .arg("170")
        .arg(pyro())
        .args(["mcp", "serve"])
        .env_clear()
        .env("PATH", "/usr/bin")
        .envs(world.variables())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for name in ["PYRO_ENVIRONMENT_CACHE_DIR", "XDG_CACHE_HOME", "PYRO_AGENT"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let mut server = command.spawn().unwrap();
    let (mut input, output) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
    let initialize = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "bare", "version": "1" },
    });
    let arguments = json!({
        "environment": "debian:12",
        "command": "echo here",
        "allow_host_compat": world.backend == Backend::Process,
    });
    let call = json!({ "name": "vm_run", "arguments": arguments });
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }),
        json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call }),
    ] {
        writeln!(input, "{message}").unwrap();
    }
    let mut answers = BufReader::new(output).lines();
    let mut answer = |id| {
        let messages = answers
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        messages
            .into_iter()
            .find(|message| message["id"] == id)
            .expect("an answer")
    };
    assert_eq!(answer(1)["result"]["serverInfo"]["name"], "pyro_mcp");
    assert!(answer(2)["result"]["tools"].as_array().unwrap().len() > 10);
    assert_eq!(answer(3)["result"]["structuredContent"]["stdout"], "here\n");
    drop(input);
    assert!(server.wait().unwrap().success());
}

/// All that is in a folder, with what the files say.
fn everything(folder: &Path) -> Vec<(OsString, u32, Vec<u8>)> {
    let found = look(folder).into_iter();
    found
        .map(|(name, kept)| (name, kept.mode, kept.content))
        .collect()
}

fn what_was_connected_can_be_taken_out_without_a_trace(world: &World) {
    let home = Home::new(world);
    // Some have a configuration before, some get one.
    for (file, text) in [
        (
            ".codex/config.toml",
            "# mine\nmodel = \"x\"\n\n[tui]\nb = 1\n",
        ),
        (".claude.json", "{\n  \"theme\": \"dark\"\n}\n"),
        (
            ".config/opencode/opencode.jsonc",
            "// mine\n{\n  \"a\": 1,\n}\n",
        ),
    ] {
        let file = home.home.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    fs::create_dir_all(home.home.join(".config/Code/User/snippets")).unwrap();
    let before = everything(&home.home);
    let nothing = home.done(&["disconnect", "--all", "--purge"]);
    assert_eq!(nothing["removed"], json!([]), "{nothing}");
    let hosts = || {
        EXAMPLES
            .iter()
            .map(|(host, _)| *host)
            .filter(|host| *host != "generic")
    };
    for host in hosts() {
        home.done(&["connect", host]);
        home.done(&["connect", host, "--profile", "vm-run", "--name", "another"]);
    }
    let would = home.done(&["disconnect", "--all", "--purge", "--dry-run"]);
    let done = home.done(&["disconnect", "--all", "--purge"]);
    for told in [&would, &done] {
        let removed = told["removed"].as_array().unwrap();
        assert_eq!(removed.len(), hosts().count(), "{told}");
        assert!(
            removed
                .iter()
                .all(|one| one["names"] == json!(["pyro", "another"])),
            "{told}"
        );
    }
    assert_eq!(everything(&home.home), before);
    // Twice is as good as once.
    assert_eq!(home.done(&["disconnect", "--all"])["removed"], json!([]));
}

fn what_is_taken_out_is_said_and_the_rest_stays(world: &World) {
    let home = Home::new(world);
    let file = home.home.join(".claude.json");
    let other = "{\"mcpServers\": {\"pyro\": {\"command\": \"uvx\", \"args\": []}}}\n";
    fs::write(&file, other).unwrap();
    // Of that name, but somebody else's.
    let kept = home.done(&["disconnect", "claude-code"]);
    assert!(
        kept["notes"][0].as_str().unwrap().contains("starts `uvx`"),
        "{kept}"
    );
    let refused = home.refused(&["disconnect", "claude-code", "--name", "pyro"]);
    assert_eq!(refused["code"], "conflict");
    home.done(&["connect", "claude-code", "--name", "vm"]);
    home.done(&["connect", "claude-code", "--name", "vm2"]);
    home.done(&["disconnect", "claude-code", "--name", "vm2"]);
    let said = finish(&mut home.host(&["disconnect", "claude-code"]));
    assert_eq!(said.code(), 0, "{said:?}");
    for words in [
        "Removed the entry from",
        ".claude.json",
        "\"vm\"",
        "Name: vm",
        "Backup:",
    ] {
        assert!(said.out().contains(words), "{words}: {said:?}");
    }
    assert!(said.err().contains("--purge"), "{said:?}");
    let left: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(left, serde_json::from_str::<Value>(other).unwrap());
    assert!(home.home.join(".claude.json.pyro-backup").exists());
    home.done(&["disconnect", "claude-code", "--purge"]);
    assert!(!home.home.join(".claude.json.pyro-backup").exists());
    // One file that cannot be understood keeps no other from it.
    fs::write(&file, "{").unwrap();
    assert_eq!(
        home.refused(&["disconnect", "claude-code"])["code"],
        "bad_host_config"
    );
    home.done(&["connect", "codex"]);
    let (done, code) = home.document(&["disconnect", "--all"]);
    assert_eq!(code, 1, "{done}");
    assert_eq!(done["removed"][0]["host"], "codex", "{done}");
    assert!(
        done["failed"][0].as_str().unwrap().contains(".claude.json"),
        "{done}"
    );
    let usage = finish(&mut home.host(&["disconnect"]));
    assert_eq!(usage.code(), 2, "{usage:?}");
    assert!(usage.err().contains("<HOST|--all>"), "{}", usage.err());
}

/// `claude mcp add` without a scope writes below the folder of the project, into the person's file.
fn what_claude_code_keeps_by_project_is_seen_too(world: &World) {
    let home = Home::new(world);
    let file = home.home.join(".claude.json");
    let (here, elsewhere) = (home.project.to_str().unwrap(), "/nowhere/else");
    let own = |entry: Value| json!({ "history": [1], "mcpServers": entry });
    let pyros = |command: &str| json!({ "command": command, "args": ["mcp", "serve"], "env": {} });
    let others = json!({ "command": "uvx", "args": [] });
    let write = |projects: Value| {
        let text = json!({ "theme": "dark", "projects": projects }).to_string();
        fs::write(&file, text).unwrap();
    };
    let read = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };

    // One for another project is none for this one, and is told.
    write(json!({ elsewhere: own(json!({ "pyro": pyros("pyro") })), "odd": 1 }));
    let (ill, code) = home.document(&["doctor", "claude-code"]);
    assert_eq!(code, 1, "{ill}");
    assert!(
        ill.to_string()
            .contains("only for the projects /nowhere/else"),
        "{ill}"
    );

    // It comes before one for all projects, and is what is repaired.
    home.done(&["connect", "claude-code"]);
    let mut document = read();
    document["projects"][here] = own(json!({ "pyro": pyros("/gone/pyro") }));
    fs::write(&file, document.to_string()).unwrap();
    let (ill, code) = home.document(&["doctor", "claude-code"]);
    assert_eq!(code, 1, "{ill}");
    assert!(ill.to_string().contains("/gone/pyro"), "{ill}");
    home.done(&["repair", "claude-code"]);
    assert_eq!(
        read()["projects"][here]["mcpServers"]["pyro"]["command"],
        "pyro"
    );
    let well = home.done(&["doctor", "claude-code"]);
    assert!(well.to_string().contains("for the project "), "{well}");

    let mut document = read();
    document["projects"][here]["mcpServers"]["other"] = others.clone();
    document["projects"]["third"] = own(json!({ "pyro": others }));
    fs::write(&file, document.to_string()).unwrap();
    let done = home.done(&["disconnect", "--all", "--purge"]);
    let removed = &done["removed"][0];
    assert_eq!(removed["names"], json!(["pyro"]), "{done}");
    assert_eq!(removed["projects"], json!([elsewhere, here]), "{done}");
    let left = json!({
        "theme": "dark",
        "projects": {
            elsewhere: own(json!({})),
            "odd": 1,
            here: own(json!({ "other": others })),
            "third": own(json!({ "pyro": others })),
        },
    });
    assert_eq!(read(), left);
    assert_eq!(home.done(&["disconnect", "--all"])["removed"], json!([]));
}
