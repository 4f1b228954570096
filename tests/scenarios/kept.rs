//! What somebody prepared becomes an environment, from which others start.

use std::path::Path;

use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::{Ran, Running, finish};
use pyro_tests::{Backend, Surface, World};
use serde_json::{Value, json};

use crate::images::{MAKING, layers, layout, ok, run, world, write_layout};

const SECRET: &str = "a-word-that-nobody-else-knows";

/// A world with a small image, whose guests are booted: a template of each environment would be most of the work.
fn prepared(backend: Backend) -> Option<(World, String)> {
    let world = world(backend)?.with("PYRO_TEMPLATES", "off");
    let layout = layout(&world);
    write_layout(
        &layout,
        &layers(),
        &json!({ "Env": ["PATH=/bin", "MODE=test"] }),
    );
    let environment = format!("oci:{}", layout.display());
    Some((world, environment))
}

fn pyro(world: &World, words: &[&str]) -> Ran {
    Running::start(&mut world.pyro(words)).wait_within(MAKING)
}

fn create(world: &World, environment: &str, more: &[&str]) -> String {
    let words = [
        "workspace",
        "create",
        environment,
        "--id-only",
        "--mem-mib",
        "256",
    ];
    let id = ok(pyro(world, &[&words, more].concat()));
    id.trim().to_owned()
}

fn exec(world: &World, id: &str, line: &str) -> String {
    ok(pyro(
        world,
        &["workspace", "exec", id, "--", "/bin/sh", "-c", line],
    ))
}

fn listed(world: &World) -> Vec<Value> {
    let list = finish(&mut world.pyro(["env", "list", "--json"])).json();
    list["environments"].as_array().unwrap().clone()
}

fn refused(world: &World, words: &[&str], code: &str) {
    let ran = finish(&mut world.pyro(words.iter().chain(&["--json"])));
    assert_ne!(ran.code(), 0, "{words:?}");
    let told: Value = serde_json::from_str(&ran.out()).unwrap_or_else(|_| ran.json());
    assert_eq!(told["code"], code, "{words:?}: {told}");
}

/// Does something while there is a VM of an environment, which nobody has started.
fn with_a_vm(world: &World, environment: &str, work: impl FnOnce()) {
    let library = Library::new(world);
    let asked = json!({ "environment": environment, "mem_mib": 256 });
    let made = library.call("vm_create", asked).unwrap();
    work();
    let named = json!({ "vm_id": made["vm_id"] });
    library.call("vm_delete", named).unwrap();
}

/// Everything but what is a guest's own, as a guest sees it.
const LISTING: &str = "cd /; for f in data/* opaque/* bin/sh opt/* opt/*/* workspace/*; do \
    busybox stat -c '%n %F %a %u:%g %h %s' $f; done; cat data/kept opt/tool workspace/file";

const PREPARE: &str = "mkdir -p /opt/deep; echo tool > /opt/tool; busybox ln /opt/tool /opt/deep/same; \
    busybox chmod 4711 /opt/tool; busybox chown 7:8 /opt/tool; echo work > /workspace/file";

#[test]
fn a_vm_is_kept_while_it_runs_and_others_start_from_it() {
    let Some((world, image)) = prepared(Backend::Vm) else {
        return;
    };
    let secret = world.folder().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let secret = format!("TOKEN={}", secret.display());
    let first = create(&world, &image, &["--secret-file", &secret]);
    exec(&world, &first, PREPARE);
    let seen = exec(&world, &first, LISTING);
    let kept = pyro(
        &world,
        &[
            "env",
            "create",
            "team/app:1",
            "--from-workspace",
            &first,
            "--json",
        ],
    );
    assert_eq!(kept.code(), 0, "{}", kept.err());
    let kept = kept.json();
    assert_eq!(kept["installed"], true, "{kept}");
    assert_eq!(kept["source_digest"].as_str().unwrap().len(), 64);
    assert!(kept["disk_bytes"].as_u64().unwrap() > 0, "{kept}");
    let from = kept["made_from"].as_str().unwrap();
    assert!(from.contains(&first) && from.contains(&image), "{from}");
    assert!(listed(&world).contains(&kept));
    exec(
        &world,
        &first,
        "echo later > /workspace/later; echo changed > /opt/tool",
    );

    // The state of the workspace's beginning is another environment; nothing of it is read or written.
    let words = ["env", "create", "bare", "--from-workspace", &first];
    ok(pyro(
        &world,
        &[&words[..], &["--snapshot", "baseline"]].concat(),
    ));
    for (words, code) in [
        (
            &["env", "create", "team/app:1", "--from-workspace", &first][..],
            "conflict",
        ),
        (
            &["env", "create", "Upper", "--from-workspace", &first],
            "invalid_argument",
        ),
        (
            &["env", "create", "other", "--from-workspace", "nobody"],
            "unknown_workspace",
        ),
        (
            &[
                "env",
                "create",
                "other",
                "--from-workspace",
                &first,
                "--snapshot",
                "no",
            ],
            "unknown_snapshot",
        ),
        (&["env", "delete", "other"], "unknown_environment"),
    ] {
        refused(&world, words, code);
    }

    let second = create(&world, "team/app:1", &[]);
    assert_eq!(exec(&world, &second, LISTING), seen);
    // The variables of the image, the agent's files of this guest alone, and no word of the other's secrets.
    let looked = "echo $MODE; cd /var/lib/pyro && echo *; \
        busybox grep -r a-word-that /etc /opt /root /var /workspace; ls /workspace";
    assert_eq!(exec(&world, &second, looked), "test\nindex\nfile\n");
    let diff = ok(pyro(&world, &["workspace", "diff", &second]));
    assert!(diff.contains("No workspace changes"), "{diff}");
    if world.can_run_sandboxes() {
        let words = [
            "run",
            "team/app:1",
            "--isolation",
            "gvisor",
            "--mem-mib",
            "256",
            "--",
        ];
        let ran = pyro(
            &world,
            &[
                &words[..],
                &["/bin/sh", "-c", "cat /opt/tool /workspace/file"],
            ]
            .concat(),
        );
        assert_eq!(ok(ran), "tool\nwork\n");
    }

    // A VM has no names of its own for the files that it stands on.
    let words = [
        "env",
        "create",
        "team/app:1",
        "--from-workspace",
        &first,
        "--replace",
    ];
    with_a_vm(&world, "team/app:1", || {
        refused(&world, &words, "conflict");
        refused(&world, &["env", "delete", "team/app:1"], "conflict");
    });
    ok(pyro(&world, &words));

    // A prune leaves what a person has named; what is deleted is gone for others, and stays for those that stand on it.
    ok(pyro(&world, &["workspace", "delete", &first]));
    ok(pyro(&world, &["env", "prune"]));
    let names: Vec<_> = listed(&world);
    assert!(names.iter().any(|one| one["name"] == "bare"), "{names:?}");
    for name in ["team/app:1", "bare"] {
        ok(pyro(&world, &["env", "delete", name]));
    }
    refused(
        &world,
        &["env", "delete", "team/app:1"],
        "unknown_environment",
    );
    ok(pyro(&world, &["workspace", "stop", &second]));
    assert_eq!(exec(&world, &second, LISTING), seen);
    ok(pyro(
        &world,
        &["env", "create", "again", "--from-workspace", &second],
    ));
    ok(pyro(&world, &["workspace", "delete", &second]));
    world.assert_empty();
}

#[test]
fn a_sandbox_is_kept_given_away_and_taken_in_again() {
    let Some((world, image)) = prepared(Backend::Gvisor) else {
        return;
    };
    let first = create(&world, &image, &[]);
    exec(&world, &first, PREPARE);
    ok(pyro(
        &world,
        &["env", "create", "app", "--from-workspace", &first],
    ));
    ok(pyro(&world, &["workspace", "delete", &first]));
    let listing = |name: &str| ok(run(&world, name, ["/bin/sh", "-c", LISTING]));
    let seen = listing("app");
    assert!(seen.ends_with("one\ntool\nwork\n"), "{seen}");

    let file = world.folder().join("app.tar");
    let path = file.to_str().unwrap();
    let told = pyro(&world, &["env", "export", "app", path, "--json"]).json();
    assert_eq!(told["notes"], json!([]), "{told}");
    assert_eq!(told["bytes_written"], file.metadata().unwrap().len());
    refused(&world, &["env", "export", "app", path], "conflict");
    let images = |world: &World| {
        let all = listed(world);
        all.iter()
            .filter(|one| one["distribution"] == "oci")
            .count()
    };
    let before = images(&world);
    ok(pyro(&world, &["env", "import", "again", path]));
    assert_eq!(images(&world), before, "the image has one name");
    refused(&world, &["env", "import", "again", path], "conflict");
    let replace = ["env", "import", "again", path, "--replace"];
    with_a_vm(&world, "again", || refused(&world, &replace, "conflict"));
    ok(pyro(&world, &replace));
    let nothing = world.folder().join("secret.tar");
    std::fs::write(&nothing, "no archive").unwrap();
    refused(
        &world,
        &["env", "import", "x", nothing.to_str().unwrap()],
        "pull_failed",
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(listing("again"), seen);
    let of = |name: &str| {
        let told = pyro(&world, &["env", "inspect", name, "--json"]).json();
        assert_eq!(told.get("problem"), None, "{told}");
        told["image"]["env"].clone()
    };
    assert_eq!(of("again"), of("app"));
    assert!(!left_over(&world), "something is half made");
    world.assert_empty();
}

/// Whether something unfinished is in the cache.
fn left_over(world: &World) -> bool {
    let platform = world.folder().join("cache/linux-x86_64");
    let entries = std::fs::read_dir::<&Path>(&platform).unwrap().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with(".partial"))
}
