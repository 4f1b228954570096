//! The reason for a network: packages. These tests ask the registries that this host is set up for,
//! by its own clients' configuration, and say so plainly where they cannot be reached.

use std::fs;
use std::path::Path;
use std::process::Command;

use pyro_tests::{Workspace, World, played};
use serde_json::{Value, json};

crate::stories! { [vm]:
    apt_and_pip_work_in_a_guest,
}

/// Needs nothing, and is needed by much.
const PACKAGE: &str = "six";

fn apt_and_pip_work_in_a_guest(world: &World) {
    let [seed, downloaded] = ["seed", "downloaded"].map(|name| world.folder().join(name));
    fs::create_dir(&seed).unwrap();
    let pip = host_downloads(PACKAGE, &downloaded).then_some(());
    let certificate = host_setting("cert").filter(|path| Path::new(path).exists());
    if let Some(path) = &certificate {
        fs::copy(path, seed.join("ca.crt")).unwrap();
    }
    let mut allow: Vec<String> = Vec::new();
    let mut variables = String::new();
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"] {
        if let Ok(proxy) = std::env::var(name) {
            variables.push_str(&format!("export {name}='{proxy}'; "));
            allow.extend(place(&proxy));
        }
    }
    let index = host_setting("index-url");
    allow.extend(index.iter().filter_map(|url| place(url)));
    let mirrors = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    allow.extend(
        mirrors
            .split_whitespace()
            .filter(|word| word.contains("://"))
            .filter_map(place),
    );
    allow.sort();
    allow.dedup();

    let surface = pyro_tests::surfaces::engine::Library::new(world);
    let guest = Workspace::with(
        world,
        &surface,
        json!({ "network_policy": "egress", "seed_path": seed, "allow_net": allow }),
    );
    let run = |command: &str| -> Value {
        let command = format!("{variables}{command}");
        guest.done(
            "exec",
            json!({ "command": command, "timeout_seconds": 170 }),
        )
    };

    let list = run("grep -h -- -updates /etc/apt/sources.list | tee one.list");
    let line = list["stdout"].as_str().unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let mirror = words.iter().position(|word| word.contains("://"));
    let mirror = mirror.unwrap_or_else(|| panic!("no mirror in {line:?}"));
    let reached = host_reaches(words[mirror], words[mirror + 1]).then_some(());
    if played(reached, "this host reaches no Debian mirror itself").is_some() {
        // One list of the guest's own sources is enough to know, and takes a tenth of the time.
        let updated = run(
            "apt-get update -o Dir::Etc::sourcelist=$PWD/one.list -o Dir::Etc::sourceparts=- \
             -o APT::Update::Error-Mode=any",
        );
        assert_eq!(updated["exit_code"], 0, "{updated:#}");
        assert!(
            updated["stdout"]
                .as_str()
                .unwrap()
                .contains("Reading package lists")
        );
    }
    if played(pip, "this host reaches no Python package index itself").is_some() {
        let mut install = format!("pip install --no-cache-dir --target got {PACKAGE}");
        if certificate.is_some() {
            install.push_str(" --cert ca.crt");
        }
        if let Some(index) = index {
            install.push_str(&format!(" --index-url '{index}'"));
        }
        let installed = run(&format!("{install} && ls got/{PACKAGE}.py"));
        assert_eq!(installed["exit_code"], 0, "{installed:#}");
    }
}

/// Host and port of an address.
fn place(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?.rsplit('@').next()?;
    let port = if scheme == "https" { 443 } else { 80 };
    (!host.is_empty()).then(|| match host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:{port}"),
    })
}

fn host_downloads(package: &str, to: &Path) -> bool {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]);
    let ran = pip.arg(to).arg(package).output();
    ran.is_ok_and(|ran| ran.status.success())
}

fn host_setting(name: &str) -> Option<String> {
    ["global", ":env:"].iter().find_map(|place| {
        let mut pip = Command::new("python3");
        let ran = pip
            .args(["-m", "pip", "config", "get"])
            .arg(format!("{place}.{name}"))
            .output();
        let ran = ran.ok().filter(|ran| ran.status.success())?;
        let value = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        (!value.is_empty()).then_some(value)
    })
}

/// Asked for what the guest will ask for first, so that a mirror which is down for this host too is
/// told from a guest that does not get there.
fn host_reaches(mirror: &str, suite: &str) -> bool {
    let ask = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=30).read(1)";
    let url = format!("{}/dists/{suite}/InRelease", mirror.trim_end_matches('/'));
    let mut python = Command::new("python3");
    python.args(["-c", ask, &url]);
    python.output().is_ok_and(|ran| ran.status.success())
}
