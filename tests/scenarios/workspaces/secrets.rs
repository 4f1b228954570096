//! Secrets: known to the commands that ask for them, found nowhere else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use pyro_tests::leftovers::processes;
use pyro_tests::world::{eventually, finish, finish_with_input};
use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [vm, gvisor] [command_line, mcp]:
    commands_know_a_secret_and_nothing_else_holds_it,
}
crate::stories! { [vm, gvisor]: a_secret_comes_from_standard_input }
crate::stories! { [process] [command_line, library, mcp]: a_refused_secret_leaves_nothing }

const LONG: Duration = Duration::from_secs(60);

/// A value that nobody has used before, with letters that encodings change.
fn fresh(what: &str) -> String {
    format!("{what}/{}+?\u{e4}=\"{what}", random())
}

fn random() -> String {
    let mut random = [0; 12];
    std::io::Read::read_exact(
        &mut std::fs::File::open("/dev/urandom").unwrap(),
        &mut random,
    )
    .unwrap();
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// Prints a value in ways that must not come through, and one that may: backwards.
const SHOW: &str = r#"python3 -c '
import base64, os, sys, time, urllib.parse
value = os.environ["T"]
out = sys.stdout
print("plain", value)
print("base64", base64.b64encode(b"x" + value.encode()).decode())
print("wrapped", base64.encodebytes(value.encode() * 2).decode())
print("url", urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value))
for piece in (value[:9], value[9:]):
    out.write(piece); out.flush(); time.sleep(0.2)
print()
print("trace", value, file=sys.stderr)
print("backwards", value[::-1], os.environ["K"][::-1])
'"#;

fn commands_know_a_secret_and_nothing_else_holds_it(world: &World, surface: &dyn Surface) {
    let stamp = world.folder().join("stamp");
    std::fs::write(&stamp, "").unwrap();
    let (token, key) = (fresh("token"), fresh("key"));
    // One that could be a name.
    let word = random();
    let key_file = world.folder().join("key file");
    std::fs::write(&key_file, format!("{key}\n")).unwrap();
    let workspace = Workspace::with(
        world,
        surface,
        json!({ "secrets": [
            { "name": "TOKEN", "value": token },
            { "name": "KEY", "file_path": key_file },
            { "name": "WORD", "value": word },
        ] }),
    );
    // It was copied, and is of no use any more.
    std::fs::remove_file(&key_file).unwrap();
    let public = json!([
        { "name": "KEY", "source_kind": "file" },
        { "name": "TOKEN", "source_kind": "literal" },
        { "name": "WORD", "source_kind": "literal" },
    ]);
    assert_eq!(workspace.created["secrets"], public);
    let values = [token.as_str(), key.as_str(), word.as_str()];

    // Before anything else the files, as they were given.
    assert_eq!(
        workspace.output(
            "cd /run/pyro-secrets && stat -f -c %T . && stat -c '%a %u %n' . * && wc -c < KEY"
        ),
        format!(
            "tmpfs\n700 0 .\n400 0 KEY\n400 0 TOKEN\n400 0 WORD\n{}\n",
            key.len() + 1
        )
    );
    assert_eq!(workspace.output("env | grep -c '^T='; true"), "0\n");
    let asked = json!({ "TOKEN": "T", "KEY": "K" });
    let exec = |command: &str| {
        let arguments = json!({ "command": command, "secret_env": asked });
        let result = workspace.done("exec", arguments);
        assert_eq!(result["exit_code"], 0, "{result:#}");
        assert_hidden(&result.to_string(), &values);
        result
    };
    let shown = exec(SHOW);
    let out = shown["stdout"].as_str().unwrap();
    let backwards = format!("backwards {} {}\n", reversed(&token), reversed(&key));
    assert!(out.ends_with(&backwards), "{out}");
    assert_eq!(shown["stderr"], "trace [REDACTED]\n");
    for line in [
        "plain [REDACTED]",
        "url [REDACTED] [REDACTED]",
        "\n[REDACTED]\n",
    ] {
        assert!(out.contains(line), "{line:?} is not in {out}");
    }
    // Words of the caller's own, too; and of a program that is not there.
    let told = exec(&format!("echo '{token}'"));
    assert_eq!(told["command"], "echo '[REDACTED]'");
    assert_eq!(told["stdout"], "[REDACTED]\n");
    workspace.exec(&format!("'/{key}'"));
    let unknown = json!({ "command": "true", "secret_env": { "OTHER": "O" } });
    let refusal = workspace.refused("exec", unknown, "invalid_argument");
    assert!(refusal.to_string().contains("KEY, TOKEN"), "{refusal:#}");

    services_keep_it(&workspace, &token, &values);
    jobs_keep_it(&workspace, &token, &values);
    shells_keep_it(&workspace, &values);
    names_do_not_hold_it(&workspace, &word, &values);

    // Nothing of them is where others look.
    let mark = random();
    workspace.exec(&format!("echo {mark} > file"));
    workspace.exec("cp -r /run/pyro-secrets /dev/shm/copy");
    assert_eq!(workspace.changes(), ["added file"]);
    let exported = world.folder().join("exported");
    workspace.done("export", json!({ "path": ".", "output_path": exported }));
    workspace.snapshot("kept");
    assert_hidden(&workspace.done("logs", json!({})).to_string(), &values);
    assert_hidden(&workspace.status().to_string(), &values);
    assert_no_process_shows(world, &values);
    assert_nowhere(world, &stamp, &values);

    // They come back with every start.
    workspace.done("stop", json!({}));
    let read = workspace.done("disk_read", json!({ "path": "file" }));
    assert_eq!(read["content"], format!("{mark}\n"));
    let outside = tempfile::tempdir().unwrap();
    let disk = outside.path().join("disk");
    workspace.done("disk_export", json!({ "output_path": disk }));
    assert!(holds(&disk, &[mark]), "the disk cannot be searched");
    let all: Vec<String> = values.iter().flat_map(|value| forms(value)).collect();
    assert!(!holds(&disk, &all));
    // What was kept of the service that ran until the stop.
    let log = workspace.of_service("logs", "web");
    assert_eq!(log["stop_reason"], "workspace_stopped", "{log:#}");
    assert_said_without_values(&log, &values);
    assert_nowhere(world, &stamp, &values);
    let again = exec("python3 -c 'import os; print(os.environ[\"T\"][::-1])'");
    assert_eq!(again["stdout"], format!("{}\n", reversed(&token)));
    assert_eq!(again["workspace_started"], true);
    workspace.done("reset", json!({}));
    let again = exec("python3 -c 'import os; print(os.environ[\"K\"][::-1])'; echo \"$K\"");
    assert_eq!(again["stdout"], format!("{}\n[REDACTED]\n", reversed(&key)));
    workspace.done("stop", json!({}));
    assert_nowhere(world, &stamp, &values);

    // Who has lost the key has lost the secrets, and not the files.
    workspace.write("file", "kept\n");
    workspace.done("stop", json!({}));
    std::fs::remove_file(world.state_dir().join("secrets.key")).unwrap();
    assert_eq!(
        workspace.output("cat file; ls /run/pyro-secrets 2>&1 | wc -l"),
        "kept\n1\n"
    );
    let known = json!({ "command": "true", "secret_env": asked });
    workspace.refused("exec", known, "invalid_argument");
    let events = workspace.done("logs", json!({}))["events"].to_string();
    assert!(events.contains("secrets_lost"), "{events}");
}

/// A command that goes on, also with a value where it does not belong.
fn jobs_keep_it(workspace: &Workspace<'_>, token: &str, values: &[&str]) {
    let arguments = json!({
        "command": format!("echo \"$T\"; echo \"$PLAIN\" '{token}' >&2; sleep 1000"),
        "background": true,
        "timeout_seconds": 600,
        "secret_env": { "TOKEN": "T" },
        "env": { "PLAIN": token },
    });
    let begun = workspace.done("exec", arguments);
    assert_hidden(&begun.to_string(), values);
    assert_hidden(&workspace.status().to_string(), values);
    let sequence = &begun["sequence"];
    eventually("it has written", LONG, || {
        let logs = workspace.done("logs", json!({ "sequence": sequence }));
        assert_hidden(&logs.to_string(), values);
        let entry = &logs["entries"][0];
        entry["stdout"] == "[REDACTED]\n" && entry["stderr"] == "[REDACTED] [REDACTED]\n"
    });
    let stopped = workspace.done("exec", json!({ "stop": sequence }));
    assert_hidden(&stopped.to_string(), values);
    assert_eq!(stopped["stdout"], "[REDACTED]\n");
}

/// Neither its record nor its log tells what a service was started with, or says.
fn services_keep_it(workspace: &Workspace<'_>, token: &str, values: &[&str]) {
    let says = format!(
        "echo \"$T\"; printf x%s \"$T\" | base64 -w0; echo; echo '{token}' >&2; touch up; \
         exec sleep 1000"
    );
    let asked = json!({ "secret_env": { "TOKEN": "T" }, "ready_command": format!("test -e up && : '{token}'") });
    let refused = |arguments: Value| {
        let mut arguments = arguments;
        arguments["service_name"] = json!("bad");
        arguments["command"] = json!("true");
        let told = workspace.service("start", arguments).unwrap_err();
        assert_hidden(&told.to_string(), values);
        assert_eq!(told["code"], "invalid_argument", "{told:#}");
    };
    refused(json!({ "secret_env": { "OTHER": "O" } }));
    // A folder that is not there.
    refused(json!({ "cwd": token }));
    refused(json!({ "ready_http": format!("https://{token}") }));

    let started = workspace.starts("web", &says, asked.clone());
    assert_eq!(started["state"], "running", "{started:#}");
    assert_eq!(started["command"], says.replace(token, "[REDACTED]"));
    assert_eq!(
        started["readiness"]["command"],
        "test -e up && : '[REDACTED]'"
    );
    assert_hidden(&started.to_string(), values);
    assert_said_without_values(&workspace.of_service("logs", "web"), values);
    assert_hidden(&workspace.of_service("status", "web").to_string(), values);
    let all = workspace.service("list", json!({})).unwrap();
    assert_hidden(&all.to_string(), values);

    // One that cannot be started says so.
    let failed = workspace.starts(
        "bad",
        &format!("'/{token}'"),
        json!({ "ready_file": "none" }),
    );
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert!(
        failed["log_tail"].as_str().unwrap().contains("/[REDACTED]"),
        "{failed:#}"
    );
    assert_hidden(&failed.to_string(), values);
    workspace.output("rm up");
}

/// What the service of `services_keep_it` has in its log.
#[track_caller]
fn assert_said_without_values(log: &Value, values: &[&str]) {
    let out = log["stdout"].as_str().unwrap();
    let encoded = out.strip_prefix("[REDACTED]\n");
    assert!(
        encoded.is_some_and(|line| line.contains("[REDACTED]")),
        "{log:#}"
    );
    assert_eq!(log["stderr"], "[REDACTED]\n", "{log:#}");
    assert_hidden(&log.to_string(), values);
}

fn shells_keep_it(workspace: &Workspace<'_>, values: &[&str]) {
    let unknown = json!({ "secret_env": { "OTHER": "O" } });
    let told = workspace.shell("open", unknown).unwrap_err();
    assert_eq!(told["code"], "invalid_argument", "{told:#}");
    let told = workspace
        .shell("open", json!({ "cwd": values[0] }))
        .unwrap_err();
    assert_hidden(&told.to_string(), values);

    let opened = workspace.shell("open", json!({ "secret_env": { "TOKEN": "T" } }));
    let id = opened.unwrap()["shell_id"].clone();
    let line =
        "printf '<%s>\\n' \"$T\"; printf 'x%s' \"$T\" | base64 -w0; echo; printf 'the %s\\n' end";
    let written = workspace.shell("write", json!({ "shell_id": id, "input": line }));
    assert_hidden(&written.unwrap().to_string(), values);
    let mut shown = String::new();
    eventually("the shell has shown it", Duration::from_secs(60), || {
        let read = json!({ "shell_id": id, "wait_for_idle_ms": 100 });
        shown = workspace.shell("read", read).unwrap()["output"].to_string();
        shown.contains("the end")
    });
    assert!(shown.contains("<[REDACTED]>"), "{shown}");
    assert_hidden(&shown, values);
}

/// Things are found by their names, so none may be what nobody is to see.
fn names_do_not_hold_it(workspace: &Workspace<'_>, word: &str, values: &[&str]) {
    let name = format!("a-{word}");
    for told in [
        workspace.call("snapshot_create", json!({ "snapshot_name": name })),
        workspace.service("start", json!({ "service_name": name, "command": "true" })),
        workspace.call("update", json!({ "name": name })),
        workspace.call("update", json!({ "labels": { "of": name } })),
    ] {
        let told = told.unwrap_err();
        assert_eq!(told["code"], "invalid_argument", "{told:#}");
        assert_hidden(&told.to_string(), values);
    }
    // Nor does the answer repeat what there is not.
    for told in [
        workspace.call("snapshot_delete", json!({ "snapshot_name": name })),
        workspace.call("reset", json!({ "snapshot": name })),
        workspace.service("status", json!({ "service_name": name })),
    ] {
        assert_hidden(&told.unwrap_err().to_string(), values);
    }
}

fn a_secret_comes_from_standard_input(world: &World) {
    let stamp = world.folder().join("stamp");
    std::fs::write(&stamp, "").unwrap();
    let token = fresh("token");
    let mut create = world.pyro([
        "workspace",
        "create",
        "debian:12",
        "--name",
        "piped",
        "--mem-mib",
        "256",
        "--json",
        "--secret-file",
        "TOKEN=-",
        "--secret",
        "SHORT=q!z",
    ]);
    let created = finish_with_input(&mut create, format!("{token}\n").into()).json();
    let public = json!([
        { "name": "SHORT", "source_kind": "literal" },
        { "name": "TOKEN", "source_kind": "file" },
    ]);
    assert_eq!(created["secrets"], public, "{created:#}");
    let note = created["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("the secret `SHORT` is shorter than 8"),
        "{created:#}"
    );
    let show = r#"python3 -c 'import os; print(os.environ["T"][::-1], os.environ["T"])'"#;
    let shown = finish(&mut world.pyro([
        "workspace",
        "exec",
        "piped",
        "--secret-env",
        "TOKEN=T",
        "--",
        show,
    ]));
    assert_eq!(shown.out(), format!("{} [REDACTED]\n", reversed(&token)));
    assert_nowhere(world, &stamp, &[&token]);
    let deleted = finish(&mut world.pyro(["workspace", "delete", "piped"]));
    assert_eq!(deleted.code(), 0);
}

fn a_refused_secret_leaves_nothing(world: &World, surface: &dyn Surface) {
    let file = |name: &str, content: &[u8]| {
        let path = world.folder().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let sound = json!({ "name": "GOOD", "value": "hunter-2" });
    for bad in [
        json!({ "name": "GOOD", "value": "hunter-3" }),
        json!({ "name": "1BAD", "value": "hunter-2" }),
        json!({ "name": "", "value": "hunter-2" }),
        json!({ "name": "../BAD", "value": "hunter-2" }),
        json!({ "name": "BAD", "value": "" }),
        json!({ "name": "BAD", "file_path": file("empty", b"") }),
        json!({ "name": "BAD", "file_path": file("bytes", b"hunter-2\xff") }),
        json!({ "name": "BAD", "file_path": file("long", &[b'x'; 65_537]) }),
    ] {
        let arguments = json!({ "secrets": [sound, bad] });
        let told = Workspace::try_with(world, surface, arguments).unwrap_err();
        assert_eq!(told["code"], "invalid_argument", "{bad}: {told:#}");
        assert!(!told.to_string().contains("hunter"), "{told:#}");
    }
    let missing = json!({ "name": "BAD", "file_path": world.folder().join("missing") });
    let folder = json!({ "name": "BAD", "file_path": world.folder() });
    for bad in [missing, folder] {
        let told =
            Workspace::try_with(world, surface, json!({ "secrets": [sound, bad] })).unwrap_err();
        assert_eq!(told["code"], "host_io", "{told:#}");
        assert!(told.to_string().contains("BAD"), "{told:#}");
    }
    // A name would be kept as it is.
    for named in [
        json!({ "name": "my hunter-2" }),
        json!({ "labels": { "of": "hunter-2" } }),
    ] {
        let mut arguments = named;
        arguments["secrets"] = json!([sound]);
        let told = Workspace::try_with(world, surface, arguments).unwrap_err();
        assert_eq!(told["code"], "invalid_argument", "{told:#}");
        assert!(!told.to_string().contains("hunter"), "{told:#}");
    }
    // There is no guest here whose memory could keep one.
    let told = Workspace::try_with(world, surface, json!({ "secrets": [sound] })).unwrap_err();
    assert_eq!(told["code"], "unsupported", "{told:#}");
    assert!(!world.state_dir().join("secrets.key").exists());
    let workspace = Workspace::new(world, surface);
    assert_eq!(workspace.created["secrets"], json!([]));
    let asked = json!({ "command": "true", "secret_env": { "GOOD": "GOOD" } });
    workspace.refused("exec", asked, "invalid_argument");
    let asked = json!({ "command": "true", "secret_env": { "GOOD": "hunter-2" } });
    let told = workspace.refused("exec", asked, "invalid_argument");
    assert!(!told.to_string().contains("hunter"), "{told:#}");
}

/// What a value looks like in the forms in which it might lie about.
fn forms(value: &str) -> Vec<String> {
    let percent = |keep: &str| -> String {
        let encoded = value.bytes().map(|byte| match char::from(byte) {
            plain if plain.is_ascii_alphanumeric() || keep.contains(plain) => plain.to_string(),
            _ => format!("%{byte:02X}"),
        });
        encoded.collect()
    };
    let mut forms = vec![value.to_owned(), percent(""), percent("-._~/")];
    for alphabet in [&STANDARD, &URL_SAFE] {
        // Without the letters in which others have a part.
        forms.extend((0..3).map(|alignment| {
            let encoded = alphabet.encode(format!("{}{value}", &"xxx"[..alignment]));
            encoded[4..encoded.len() - 4].to_owned()
        }));
    }
    forms.push(value.replace('"', "\\\""));
    forms
}

#[track_caller]
fn assert_hidden(text: &str, values: &[&str]) {
    for form in values.iter().flat_map(|value| forms(value)) {
        assert!(!text.contains(&form), "{form} is in {text}");
    }
}

#[track_caller]
fn assert_no_process_shows(world: &World, values: &[&str]) {
    let all = processes(&world.state_dir());
    assert!(!all.is_empty());
    for process in all {
        let read = |name: &str| {
            let bytes = std::fs::read(format!("/proc/{}/{name}", process.pid)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert_hidden(&(read("cmdline") + &read("environ")), values);
        let limits = read("limits");
        if limits.is_empty() {
            // It has ended since.
            continue;
        }
        let cores = limits.lines().find(|line| line.starts_with("Max core"));
        let soft = cores.and_then(|line| line.split_whitespace().nth(4));
        // A surface that serves for long holds values for moments, and guards those otherwise.
        if !process.command.contains("mcp serve") {
            assert_eq!(soft, Some("0"), "{} may dump a core", process.command);
        }
    }
}

/// Whether any of these is in the data of an image, which is nearly all holes.
fn holds(image: &Path, all: &[String]) -> bool {
    let patterns = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&patterns, all.join("\n")).unwrap();
    let search = r#"tar --sparse -cf - "$1" 2>/dev/null | LC_ALL=C grep -qaF -f "$2""#;
    let found = Command::new("sh")
        .args(["-c", search, "sh"])
        .args([image, patterns.path()])
        .status()
        .unwrap();
    found.success()
}

/// No file that pyro has written since the stamp, caches and what was exported included, holds a
/// value in any form.
#[track_caller]
fn assert_nowhere(world: &World, stamp: &Path, values: &[&str]) {
    // The search itself would find each.
    let planted = world.folder().join("planted");
    std::fs::create_dir(&planted).unwrap();
    let all: Vec<String> = values.iter().flat_map(|value| forms(value)).collect();
    for (index, form) in all.iter().enumerate() {
        std::fs::write(planted.join(index.to_string()), format!("\0{form}\0")).unwrap();
    }
    let cache = std::env::var_os("PYRO_ENVIRONMENT_CACHE_DIR").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/pyro"),
        Into::into,
    );
    // Outside of what is searched.
    let patterns = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&patterns, all.join("\n")).unwrap();
    let search = r#"stamp=$1 patterns=$2; shift 2
        find "$@" -type f -newer "$stamp" -print0 | xargs -0 grep -laF -f "$patterns""#;
    let found = Command::new("sh")
        .args(["-c", search, "sh"])
        .args([stamp, patterns.path(), world.folder(), &cache])
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    let path = |index: usize| planted.join(index.to_string()).display().to_string();
    let mut wanted: Vec<String> = (0..all.len()).map(path).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    std::fs::remove_dir_all(planted).unwrap();
}
