//! Images as environments: whatever is in them, a guest has it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_oci::Digest;
use pyro_tests::world::{Ran, Running, finish};
use pyro_tests::{Backend, World, cache, tree};
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// Making a disk and a template, beside guests that have the processors.
pub(crate) const MAKING: Duration = Duration::from_secs(400);

/// One static program, which is what BusyBox is in Debian.
const BUSYBOX: &str = "/bin/busybox";

#[derive(Default)]
struct Layer(Vec<u8>);

impl Layer {
    fn add(mut self, kind: EntryType, name: &str, data: &[u8], link: &str, mode: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_uid(1234);
        header.set_gid(56);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &[u8], mode: u32) -> Self {
        self.add(EntryType::Regular, name, data, "", mode)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.add(kind, name, b"", target, 0o777)
    }

    fn archive(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// Three layers, each compressed in another way, with a shell, and without `/etc` and `/tmp`.
pub(crate) fn layers() -> Vec<(Vec<u8>, Vec<u8>)> {
    let busybox = fs::read(BUSYBOX).expect("BusyBox: `scripts/setup tests`");
    let base = Layer::default()
        .file("bin/busybox", &busybox, 0o755)
        .link(EntryType::Symlink, "bin/sh", "busybox")
        .file("data/kept", b"one\n", 0o4750)
        .file("data/gone", b"one\n", 0o644)
        .file("opaque/gone", b"one\n", 0o644)
        .add(EntryType::Char, "dev/null", b"", "", 0o666)
        .archive();
    let middle = Layer::default()
        .file("data/.wh.gone", b"", 0o644)
        .link(EntryType::Link, "data/second", "data/kept")
        .file("opaque/.wh..wh..opq", b"", 0o644)
        .file("opaque/new", b"two\n", 0o600)
        .archive();
    let top = Layer::default()
        .file("data/top", b"three\n", 0o644)
        .archive();
    let zstd = zstd::encode_all(middle.as_slice(), 3).unwrap();
    vec![(gzip(&base), base), (zstd, middle), (top.clone(), top)]
}

/// Writes an image as a layout of the OCI.
pub(crate) fn write_layout(folder: &Path, layers: &[(Vec<u8>, Vec<u8>)], config: &Value) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|(_, archive)| Digest::of(archive).to_string())
        .collect();
    let configuration = json!({
        "os": "linux",
        "architecture": "amd64",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let layers: Vec<Value> = layers
        .iter()
        .map(|(stored, _)| put(stored, "application/vnd.oci.image.layer.v1.tar"))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "config": put(
            configuration.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        ),
        "layers": layers,
    });
    let manifest = put(
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    );
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// A world whose cache has no environment yet.
pub(crate) fn world(backend: Backend) -> Option<World> {
    let world = World::new(backend);
    if !world.can_be_played() {
        return None;
    }
    let copy = cache::copy_without_environments(&world);
    Some(world.with("PYRO_ENVIRONMENT_CACHE_DIR", copy))
}

pub(crate) fn layout(world: &World) -> PathBuf {
    world.folder().join("image")
}

pub(crate) fn run<'a>(
    world: &World,
    environment: &str,
    command: impl IntoIterator<Item = &'a str>,
) -> Ran {
    let mut run = world.pyro(["run", environment, "--mem-mib", "256", "--"]);
    run.args(command);
    Running::start(&mut run).wait_within(MAKING)
}

pub(crate) fn ok(ran: Ran) -> String {
    assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
    ran.out()
}

/// The files of the image, as a guest lists them.
const LISTING: &str = "cd /; for f in data/* opaque/* bin/sh tmp; do \
    busybox stat -c '%n %F %a %u:%g %h %Y' $f; done; cat data/kept data/top";

fn a_guest_has_the_files_of_its_image(backend: Backend) {
    let Some(world) = world(backend) else { return };
    let layout = layout(&world);
    write_layout(&layout, &layers(), &json!({ "User": "1234:56" }));
    let environment = format!("oci:{}", layout.display());
    let listed = ok(run(&world, &environment, ["/bin/sh", "-c", LISTING]));
    let lines: Vec<&str> = listed.lines().collect();
    // A second name shows what the first one has, as the last of them was described.
    assert_eq!(
        lines[0], "data/kept regular file 777 1234:56 2 1000000000",
        "{listed}"
    );
    assert_eq!(
        lines[1],
        "data/second regular file 777 1234:56 2 1000000000"
    );
    assert_eq!(lines[2], "data/top regular file 644 1234:56 1 1000000000");
    assert_eq!(lines[3], "opaque/new regular file 600 1234:56 1 1000000000");
    assert!(
        lines[4].starts_with("bin/sh symbolic link 777 1234:56"),
        "{listed}"
    );
    assert!(lines[5].starts_with("tmp directory 1777 0:0"), "{listed}");
    assert_eq!(lines[6..], ["one", "three"]);

    // From another folder, and as a workspace, it is the same environment.
    let mut create = world.pyro(["workspace", "create", "oci:image", "--id-only"]);
    create.current_dir(world.folder());
    let seed = tree::plant(&world.folder().join("seed"), &[("folder/seeded", "")]);
    create.arg("--seed-path").arg(seed);
    let created = ok(Running::start(&mut create).wait_within(MAKING));
    let id = created.trim();
    let exec_by = |user: &str, line: &str| {
        let words = [
            "workspace",
            "exec",
            id,
            "--user",
            user,
            "--",
            "sh",
            "-c",
            line,
        ];
        ok(finish(&mut world.pyro(words)))
    };
    // As the user of the image, whose the workspace is; and as root where that is asked for.
    let exec = |line: &str| exec_by("", line);
    assert_eq!(
        exec("busybox id -u; busybox id -G; echo $HOME; pwd; echo mine > own; cat own"),
        "1234\n56\n/\n/workspace\nmine\n"
    );
    ok(finish(&mut world.pyro([
        "workspace",
        "file",
        "write",
        id,
        "written",
        "--text",
        "x",
    ])));
    assert_eq!(
        exec("busybox stat -c '%n %u:%g' . folder folder/seeded own written | busybox sort"),
        ". 1234:56\nfolder 1234:56\nfolder/seeded 1234:56\nown 1234:56\nwritten 1234:56\n"
    );
    assert_eq!(
        exec_by("root", "busybox id -u; echo kept > /data/new"),
        "0\n"
    );
    // The image may go: the workspace has its files.
    fs::remove_dir_all(&layout).unwrap();
    ok(finish(&mut world.pyro(["workspace", "stop", id])));
    assert_eq!(exec("cat /data/new"), "kept\n");

    let list = finish(&mut world.pyro(["env", "list", "--json"])).json();
    let listed = list["environments"].as_array().unwrap();
    let own = listed
        .iter()
        .find(|one| one["name"] == environment.as_str());
    assert_eq!(own.unwrap()["installed"], true, "{list}");
    ok(finish(&mut world.pyro(["workspace", "delete", id])));
    let pruned = finish(&mut world.pyro(["env", "prune", "--json"])).json();
    assert!(
        pruned["deleted_environment_dirs"]
            .to_string()
            .contains("image-"),
        "{pruned}"
    );
    let gone = run(&world, &environment, ["/bin/sh"]);
    assert_ne!(gone.code(), 0);
    assert!(
        gone.err().contains("there is no image at"),
        "{}",
        gone.err()
    );
    world.assert_empty();
}

#[test]
fn a_vm_has_the_files_of_its_image() {
    a_guest_has_the_files_of_its_image(Backend::Vm);
}

#[test]
fn a_sandbox_has_the_files_of_its_image() {
    a_guest_has_the_files_of_its_image(Backend::Gvisor);
}

fn a_guest_of_one_program_needs_no_shell(backend: Backend) {
    let Some(world) = world(backend) else { return };
    let layout = layout(&world);
    let busybox = fs::read(BUSYBOX).expect("BusyBox: `scripts/setup tests`");
    let layer = Layer::default().file("busybox", &busybox, 0o755).archive();
    let config = json!({
        "Env": ["PATH=/app/bin:/bin", "MODE=test"],
        "WorkingDir": "app/work",
        "Entrypoint": ["/busybox", "echo", "entered"],
        "Cmd": ["a  b", "$MODE"],
        "ExposedPorts": { "8080/tcp": {} },
        "Labels": { "maker": "a test" },
    });
    write_layout(&layout, &[(layer.clone(), layer)], &config);
    let environment = format!("oci:{}", layout.display());
    let words = |words: &[&str]| run(&world, &environment, words.iter().copied());
    let variables = ok(words(&["/busybox", "env"]));
    for line in [
        "PATH=/app/bin:/bin",
        "MODE=test",
        "HOME=/root",
        "PWD=/app/work",
    ] {
        assert!(variables.lines().any(|one| one == line), "{variables}");
    }
    // What the image runs when nobody says what, and by whom it is asked.
    let mut own = world.pyro(["run", &environment, "--mem-mib", "256"]);
    let own = Running::start(&mut own).wait_within(MAKING);
    assert_eq!(ok(own), "entered a  b $MODE\n");
    let given = ["run", &environment, "--mem-mib", "256", "--user", "7:8"];
    let mut given = world.pyro(given);
    given.args([
        "--",
        "/busybox",
        "sh",
        "-c",
        "/busybox id; echo $HOME $USER",
    ]);
    let given = Running::start(&mut given).wait_within(MAKING);
    assert_eq!(ok(given), "uid=7 gid=8\n/\n");
    // A line of words alone is a program, too.
    assert_eq!(ok(words(&["/busybox pwd"])), "/app/work\n");
    let given = [
        "run",
        &environment,
        "--mem-mib",
        "256",
        "--env",
        "MODE=given",
        "--cwd",
        "/",
    ];
    let mut given = world.pyro(given);
    given.args(["--", "/busybox", "sh", "-c", "echo $MODE; pwd"]);
    assert_eq!(
        ok(Running::start(&mut given).wait_within(MAKING)),
        "given\n/\n"
    );
    let shell = words(&["echo $MODE"]);
    assert_eq!(shell.code(), 127, "{}", shell.err());
    assert!(
        shell.err().contains("this guest has no shell"),
        "{}",
        shell.err()
    );

    let told = finish(&mut world.pyro(["env", "inspect", &environment, "--json"])).json();
    assert_eq!(told["distribution"], "oci");
    assert_eq!(told["oci_reference"], environment.as_str());
    assert_eq!(told["version"], told["image"]["digest"]);
    assert_eq!(told["image"]["exposed_ports"], json!(["8080/tcp"]));
    assert_eq!(told["image"]["labels"], json!({ "maker": "a test" }));
    world.assert_empty();
}

#[test]
fn a_vm_of_one_program_needs_no_shell() {
    a_guest_of_one_program_needs_no_shell(Backend::Vm);
}

#[test]
fn a_sandbox_of_one_program_needs_no_shell() {
    a_guest_of_one_program_needs_no_shell(Backend::Gvisor);
}

/// A link where the workspace is to be, a pipe where users are looked up, and nothing that says what runs.
#[test]
fn an_odd_image_works_as_far_as_it_can() {
    let Some(world) = world(Backend::Gvisor) else {
        return;
    };
    let layout = layout(&world);
    let busybox = fs::read(BUSYBOX).expect("BusyBox: `scripts/setup tests`");
    let layer = Layer::default()
        .file("bin/busybox", &busybox, 0o755)
        .file("srv/file", b"", 0o644)
        .link(EntryType::Symlink, "workspace", "/srv")
        .add(EntryType::Fifo, "etc/passwd", b"", "", 0o644)
        .link(EntryType::Symlink, "etc/resolv.conf", "/run/elsewhere")
        .archive();
    write_layout(&layout, &[(layer.clone(), layer)], &json!({}));
    let environment = format!("oci:{}", layout.display());
    let run = |flags: &[&str], command: &[&str]| {
        let mut run = world.pyro(["run", &environment, "--mem-mib", "256"]);
        run.args(flags).args(command);
        Running::start(&mut run).wait_within(MAKING)
    };
    let listed = run(&["--user", "5:6"], &["--", "/bin/busybox", "ls"]);
    assert_eq!(ok(listed), "file\n");
    let refused = |ran: Ran, words: [&str; 2]| {
        assert_eq!(ran.code(), 1, "{}", ran.err());
        for words in words {
            assert!(ran.err().contains(words), "{}", ran.err());
        }
    };
    let nobody = run(&["--user", "app"], &["--", "/bin/busybox", "ls"]);
    let why = "there is no user `app` in the guest's /etc/passwd, which is empty or missing";
    refused(
        nobody,
        [
            why,
            "hint: Give a name of the guest's `/etc/passwd`, or UID:GID",
        ],
    );
    let why = "has neither `Entrypoint` nor `Cmd`";
    refused(run(&[], &[]), [why, "hint: Give one after `--`"]);
    let mut create = world.pyro(["workspace", "create", &environment]);
    let why = "/workspace cannot be used: it is not a folder";
    refused(
        finish(&mut create),
        [why, "in which `/workspace` is a folder, or is missing"],
    );
    world.assert_empty();
}

#[test]
fn what_is_no_image_is_told_and_leaves_nothing() {
    let Some(world) = world(Backend::Vm) else {
        return;
    };
    let layout = layout(&world);
    let mut broken = layers();
    // Another archive than the configuration is about.
    broken[2].0 = Layer::default()
        .file("data/top", b"changed\n", 0o644)
        .archive();
    write_layout(&layout, &broken, &json!({}));
    let environment = format!("oci:{}", layout.display());
    let refused = |environment: &str, why: &str| {
        let ran = run(&world, environment, ["true"]);
        assert_ne!(ran.code(), 0);
        assert!(ran.err().contains(why), "{}", ran.err());
    };
    refused(&environment, "layer 3 is not what its digest says");
    // Where no record can be kept, nothing is unpacked.
    let mut run = world.pyro(["run", &environment, "--", "true"]);
    let ran = finish(run.env("PYRO_STATE_DIR", "/proc/nowhere"));
    assert!(
        ran.err().contains("The state folder cannot be used"),
        "{}",
        ran.err()
    );
    refused("oci:nowhere", "there is no image at");
    refused("oci:", "names no path after `oci:`");
    refused(
        "./image.tar",
        "hint: Name a file as `oci-archive:./image.tar`",
    );
    refused(
        "oci-archve:/image.tar",
        "hint: Did you mean `oci-archive:`?",
    );
    refused("Python:3.13", "its repository `Python` has capitals");
    refused("debian:12-bild", "hint: Did you mean `debian:12-build`?");
    let file = world.folder().join("text");
    fs::write(&file, "no archive").unwrap();
    refused(
        &format!("docker-archive:{}", file.display()),
        "no tar archive",
    );
    File::create(&file).unwrap();
    refused(&format!("oci-archive:{}", file.display()), "no tar archive");

    let cache = world.folder().join("cache/linux-x86_64");
    let left: Vec<String> = fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".partial") || name.starts_with("image-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    world.assert_empty();
}

/// A registry on this host, with nothing in it at first.
struct Registry {
    process: std::process::Child,
    address: String,
}

impl Registry {
    fn start(world: &World) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let folder = world.folder().join("registry");
        let settings = world.folder().join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            folder.display()
        );
        fs::write(&settings, text).unwrap();
        let mut registry = std::process::Command::new("docker-registry");
        registry.arg("serve").arg(settings);
        registry
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let process = registry
            .spawn()
            .expect("docker-registry: `scripts/setup tests`");
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the registry does not listen"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, address }
    }

    fn take(&self, layout: &Path, name: &str) {
        let mut skopeo = std::process::Command::new("skopeo");
        skopeo.args([
            "copy",
            "--quiet",
            "--insecure-policy",
            "--dest-tls-verify=false",
        ]);
        skopeo.arg(format!("oci:{}", layout.display()));
        skopeo.arg(format!("docker://{}/{name}", self.address));
        ok(finish(&mut skopeo));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_registry_is_asked_once_and_again_by_a_pull() {
    let Some(world) = world(Backend::Vm) else {
        return;
    };
    let layout = layout(&world);
    let busybox = fs::read(BUSYBOX).expect("BusyBox: `scripts/setup tests`");
    let base = Layer::default().file("busybox", &busybox, 0o755).archive();
    let with = |text: &[u8]| Layer::default().file("text", text, 0o644).archive();
    let image = |text: &[u8]| {
        let layers = [(gzip(&base), base.clone()), (gzip(&with(text)), with(text))];
        let _ = fs::remove_dir_all(&layout);
        write_layout(&layout, &layers, &json!({}));
    };
    let registry = Registry::start(&world);
    image(b"one\n");
    registry.take(&layout, "org/app:1.0");
    // As whoever means Docker Hub names it.
    let world = world.with("PYRO_DOCKER_MIRROR", &registry.address);
    let environment = "org/app:1.0";
    let text = || ok(run(&world, environment, ["/busybox", "cat", "/text"]));
    assert_eq!(text(), "one\n");

    image(b"two\n");
    registry.take(&layout, "org/app:1.0");
    assert_eq!(text(), "one\n");
    let mut pull = world.pyro(["env", "pull", environment, "--json"]);
    let pulled = Running::start(&mut pull).wait_within(MAKING).json();
    assert_eq!(pulled["oci_registry"], "docker.io");
    assert_eq!(pulled["oci_reference"], "docker.io/org/app:1.0");
    assert_eq!(pulled["oci_repository"], "org/app");
    assert_eq!(text(), "two\n");
    let missing = run(
        &world,
        &format!("{}/org/app:1.1", registry.address),
        ["/busybox"],
    );
    assert!(
        missing.err().contains("its tags are 1.0"),
        "{}",
        missing.err()
    );
    // What is here needs no registry.
    drop(registry);
    assert_eq!(text(), "two\n");
    world.assert_empty();
}
