//! Templates that are killed while they are made, damaged, of another QEMU, without room, or taken
//! away. Each story has a template cache of its own beside the images of the others.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::{self, Running, eventually, finish};
use pyro_tests::{Backend, Ran, Surface, World, cache};
use serde_json::{Value, json};

use crate::background_command::{AT_ONCE, BackgroundCommand};
use crate::error;
use crate::missing::script;
use crate::mounts::Mounts;

/// How long a build may take until the guest's memory is there.
const BEGUN: Duration = Duration::from_secs(60);

const BOOTS: &str = "[note] the template could not be resumed (";

/// A world whose cache has the images of the warm one, and no template.
fn world() -> World {
    let world = World::new(Backend::Vm);
    let (warm, cache) = (cache::shared(), own_cache(&world));
    fs::create_dir(&cache).unwrap();
    std::os::unix::fs::symlink(warm.join("linux-x86_64"), cache.join("linux-x86_64")).unwrap();
    // Whether KVM runs guests here is known already, or found out anew.
    let _ = fs::copy(warm.join("kvm-probe.json"), cache.join("kvm-probe.json"));
    world.with("PYRO_ENVIRONMENT_CACHE_DIR", cache)
}

/// The same with a template for `run`, which it resumes: a copy of the one that other stories resume.
/// What becomes of one takes less time than making it, which has stories of its own.
fn world_with_template() -> World {
    let world = world();
    let warm = warm_template("mounted", || {
        assert!(resumes(&mut run(&World::new(Backend::Vm), &["--json"])));
    });
    let templates = own_cache(&world).join("templates");
    DirBuilder::new().mode(0o700).create(&templates).unwrap();
    copy_template(&warm, &templates);
    world
}

/// Gives the world a copy of the bare template, too, which VMs of other stories resume.
fn add_bare_template(world: &World) {
    let warm = warm_template("bare", || {
        let other = World::new(Backend::Vm);
        let library = Library::new(&other);
        let vm = Vm::create(&library);
        assert_eq!(vm.start().unwrap(), "mounted");
        vm.call("vm_stop").unwrap();
        assert_eq!(vm.start().unwrap(), "bare");
        vm.call("vm_delete").unwrap();
    });
    copy_template(&warm, &own_cache(world).join("templates"));
}

/// A template of this kind in the cache of all worlds, which was resumed for the first who asked.
fn warm_template(kind: &'static str, resume: impl FnOnce()) -> PathBuf {
    static WARM: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    // The cache has a limit.
    let known = warm.get(kind).filter(|folder| folder.exists());
    known.cloned().unwrap_or_else(|| {
        resume();
        let found = last_resumed(kind);
        warm.insert(kind, found.clone());
        found
    })
}

/// Copies a template's folder into or to another one.
fn copy_template(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--sparse=always", "--reflink=auto"])
        .args([from, to]);
    let copied = finish(&mut copy);
    assert_eq!(copied.code(), 0, "{}", copied.err());
}

/// The template of this kind in the cache of all worlds that such a guest resumed last.
fn last_resumed(kind: &str) -> PathBuf {
    let images = fs::read_dir(cache::shared().join("linux-x86_64")).unwrap();
    let image = images
        .filter_map(|entry| fs::read(entry.unwrap().path().join("environment.json")).ok())
        .map(|manifest| serde_json::from_slice::<Value>(&manifest).unwrap())
        .find(|manifest| manifest["name"] == "debian:12")
        .unwrap();
    let pyro = fs::canonicalize(world::pyro()).unwrap();
    let is_of_run = |folder: &PathBuf| {
        let Ok(manifest) = fs::read(folder.join("template.json")) else {
            return false;
        };
        let identity = serde_json::from_slice::<Value>(&manifest).unwrap()["identity"].take();
        identity["kind"] == kind
            && (kind == "bare" || identity["rootfs_digest"] == image["rootfs_digest"])
            && identity["mem_mib"] == 256
            && identity["vcpu_count"] == 1
            && identity["network"].is_null()
            && identity["pyro"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{} ", pyro.display()))
    };
    let used = |folder: &PathBuf| {
        let manifest = fs::metadata(folder.join("template.json"));
        manifest.and_then(|found| found.accessed()).unwrap()
    };
    let templates = fs::read_dir(cache::shared().join("templates")).unwrap();
    templates
        .map(|entry| entry.unwrap().path())
        .filter(is_of_run)
        .max_by_key(used)
        .unwrap()
}

fn own_cache(world: &World) -> PathBuf {
    world.folder().join("cache")
}

fn run(world: &World, flags: &[&str]) -> Command {
    let flags: Vec<&str> = flags.iter().copied().chain(["--mem-mib", "256"]).collect();
    world.run(&flags, ["echo fine"])
}

/// Whether a run, which goes well, resumed a template.
#[track_caller]
fn resumes(command: &mut Command) -> bool {
    resumed(&finish(command))
}

#[track_caller]
fn resumed(ran: &Ran) -> bool {
    error::none(ran);
    let result = ran.json();
    assert_eq!(result["stdout"], "fine\n");
    result["resumed"].as_bool().unwrap()
}

/// Names of what the cache holds, beside the locks of builders.
fn cached(world: &World) -> Vec<String> {
    let entries = fs::read_dir(own_cache(world).join("templates"));
    let names = entries.into_iter().flatten().map(|entry| entry.unwrap());
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with(".lock-"))
        .collect();
    names.sort();
    names
}

/// The folder of the only template of a kind.
#[track_caller]
fn template(world: &World, kind: &str) -> PathBuf {
    let folders = cached(world)
        .into_iter()
        .map(|name| own_cache(world).join("templates").join(name));
    let mut found: Vec<PathBuf> = folders
        .filter(|folder| manifest(folder)["identity"]["kind"] == kind)
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("template.json")).unwrap()).unwrap()
}

/// Makes the manifest say that the files are as they were published: such a template is found, and
/// what is wrong with it shows when it is resumed.
fn hide_damage(folder: &Path) {
    let mut manifest = manifest(folder);
    let files = manifest["files"].as_object_mut().unwrap();
    files.retain(|name, stamp| {
        let paths = [folder.join(name), folder.join("guest").join(name)];
        let Some(found) = paths.iter().find_map(|path| fs::metadata(path).ok()) else {
            return false;
        };
        *stamp = json!({
            "size": found.size(),
            "mtime": found.mtime(),
            "mtime_nsec": found.mtime_nsec(),
        });
        true
    });
    fs::write(folder.join("template.json"), manifest.to_string()).unwrap();
}

fn change_facts(guest: &Path, change: impl FnOnce(&mut Value)) {
    let path = guest.join("facts.json");
    let mut facts = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut facts);
    fs::write(path, facts.to_string()).unwrap();
}

/// A way to spoil the folder of a guest, and what is said of it.
type Damage = (fn(&Path), &'static str);

const DAMAGES: [Damage; 4] = [
    (
        |guest| {
            let memory = fs::OpenOptions::new()
                .write(true)
                .open(guest.join("memory"));
            memory.unwrap().set_len(1 << 20).unwrap();
        },
        "memory has 1048576 bytes instead of 268435456",
    ),
    (
        |guest| {
            let devices = guest.join("devices");
            let mut state = fs::read(&devices).unwrap();
            let middle = state.len() / 2;
            state[middle..].fill(0xa5);
            fs::write(devices, state).unwrap();
        },
        "load of migration failed",
    ),
    (
        |guest| fs::remove_file(guest.join("facts.json")).unwrap(),
        "facts.json cannot be read",
    ),
    (
        |guest| change_facts(guest, |facts| facts["vmm_version"] = json!("6.0.0")),
        "the template of 6.0.0",
    ),
];

/// A one-shot VM of the library, step by step.
struct Vm<'a> {
    library: &'a Library,
    id: String,
}

impl<'a> Vm<'a> {
    fn create(library: &'a Library) -> Self {
        let arguments = json!({ "environment": "debian:12", "mem_mib": 256 });
        let record = library.call("vm_create", arguments).unwrap();
        let id = record["vm_id"].as_str().unwrap().to_owned();
        Self { library, id }
    }

    fn call(&self, operation: &str) -> Result<Value, Value> {
        self.library.call(operation, json!({ "vm_id": self.id }))
    }

    /// Starts it; the kind of the template that it resumed.
    #[track_caller]
    fn start(&self) -> Option<String> {
        let facts = self.call("vm_start").unwrap()["metadata"].take();
        let kind = facts.get("resumed_template");
        assert_eq!(facts["resumed"], kind.is_some().to_string());
        kind.map(|kind| kind.as_str().unwrap().to_owned())
    }

    /// Its disk is a whole Debian without errors. Ends the VM.
    #[track_caller]
    fn works(&self) {
        let command = "git --version >/dev/null && dmesg | grep -ci 'ext4-fs.*error'; echo $?";
        let arguments = json!({ "vm_id": self.id, "command": command });
        let result = self.library.call("vm_exec", arguments).unwrap();
        assert_eq!(result["stdout"], "0\n1\n", "{result}");
    }
}

#[test]
fn a_killed_build_leaves_nothing_and_the_next_run_has_its_template() {
    let world = world();
    let killed = BackgroundCommand::start(&world, &mut run(&world, &[]));
    wait_for_build(&world);
    killed.signal(SIGKILL);
    killed.ends_at_once();
    eventually("no process is left", AT_ONCE, || {
        processes(&own_cache(&world)).is_empty()
    });
    crate::records::age_all(&world);
    assert!(resumes(&mut run(&world, &["--json"])));
    assert_eq!(cached(&world).len(), 1);
    world.assert_empty();
}

#[test]
fn a_run_whose_builder_is_killed_boots() {
    let world = world();
    let run_on = BackgroundCommand::start(&world, &mut run(&world, &[]));
    wait_for_build(&world);
    let mut builders = processes(&own_cache(&world));
    builders.retain(|process| process.command.contains("shim --template"));
    kill(Pid::from_raw(builders[0].pid), SIGKILL).unwrap();
    let ran = run_on.ends_within(Duration::from_secs(120));
    assert_eq!(error::none(&ran), "fine\n");
    let note = "[note] booting without a template: ";
    assert!(ran.err().contains(note), "{}", ran.err());
    assert_eq!(cached(&world), [""; 0]);

    assert!(resumes(&mut run(&world, &["--json"])));
    assert_eq!(cached(&world).len(), 1);
    world.assert_empty();
}

/// Waits until QEMU has begun to fill the memory of a template.
fn wait_for_build(world: &World) {
    let begun = || {
        let guests = cached(world).into_iter().map(|name| {
            let folder = own_cache(world).join("templates").join(name);
            folder.join("guest/memory")
        });
        guests
            .filter_map(|memory| fs::metadata(memory).ok())
            .any(|memory| memory.blocks() > 0)
    };
    eventually("a template is being made", BEGUN, begun);
}

#[test]
fn builders_at_once_make_one_template() {
    let world = world();
    let runs: Vec<Running> = (0..3)
        .map(|_| Running::start(&mut run(&world, &["--json"])))
        .collect();
    for run in runs {
        assert!(resumed(&run.wait()));
    }
    assert_eq!(cached(&world).len(), 1);
    world.assert_empty();
}

#[test]
fn a_template_cache_without_room_means_a_boot() {
    let world = world();
    let cache = own_cache(&world).join("templates");
    let mounts = Mounts::new().tmpfs(&cache, "size=32m");
    let look = "find \"$PYRO_ENVIRONMENT_CACHE_DIR/templates\" -type f -size +0 >&2";
    let ran = finish(&mut mounts.then(&run(&world, &[]), look));
    assert_eq!(error::none(&ran), "fine\n");
    let told = "[note] booting without a template: A template could not be built: ";
    assert!(ran.err().contains(told), "{}", ran.err());
    assert!(ran.err().contains("is full"), "{}", ran.err());
    let left = cache.to_str().unwrap();
    assert!(
        !ran.err().lines().any(|line| line.starts_with(left)),
        "{}",
        ran.err()
    );
    world.assert_empty();
}

#[test]
fn a_template_that_changed_is_made_anew() {
    let world = world_with_template();
    assert!(resumes(&mut run(&world, &["--json"])));
    // All of them at once, as one that is made replaces each: builds of one template, and none of use.
    let whole = template(&world, "mounted");
    for (number, (damage, _)) in DAMAGES.iter().enumerate() {
        let name = whole.file_name().unwrap().to_str().unwrap();
        let key = name.split('-').next().unwrap();
        let build = whole.with_file_name(format!("{key}-{number}"));
        copy_template(&whole, &build);
        damage(&build.join("guest"));
    }
    let damaged = cached(&world);
    fs::remove_dir_all(&whole).unwrap();
    assert!(resumes(&mut run(&world, &["--json"])));
    assert!(!damaged.contains(&cached(&world)[0]));
    assert_eq!(cached(&world).len(), 1);
    world.assert_empty();
}

#[test]
fn a_template_that_cannot_be_resumed_means_a_boot_and_another_template() {
    let worlds = DAMAGES.map(|(damage, words)| {
        let world = world_with_template();
        let folder = template(&world, "mounted");
        damage(&folder.join("guest"));
        hide_damage(&folder);
        // It tries that one, whose damage it tells.
        let ran = finish(&mut run(&world, &[]));
        assert_eq!(error::none(&ran), "fine\n");
        assert!(ran.err().contains(BOOTS), "{}", ran.err());
        assert!(ran.err().contains(words), "no `{words}` in {}", ran.err());
        assert!(!folder.join("guest").exists());
        world
    });
    // It was forgotten in the same way each time, and each costs a build.
    assert!(resumes(&mut run(&worlds[0], &["--json"])));
    assert_eq!(cached(&worlds[0]).len(), 1);
    for world in worlds {
        world.assert_empty();
    }
}

#[test]
fn a_template_whose_layer_is_damaged_costs_one_run() {
    let world = world_with_template();
    assert!(resumes(&mut run(&world, &["--json"])));
    let folder = template(&world, "mounted");
    let mut layer = fs::read(folder.join("disk.qcow2")).unwrap();
    layer[..4096].fill(b'x');
    fs::write(folder.join("disk.qcow2"), layer).unwrap();
    hide_damage(&folder);
    // A boot stands on that layer too.
    let ran = finish(&mut run(&world, &[]));
    assert_eq!(ran.code(), 1, "{}", ran.err());
    assert!(ran.err().contains("template was dropped"), "{}", ran.err());

    assert!(resumes(&mut run(&world, &["--json"])));
    assert_eq!(cached(&world).len(), 1);
    world.assert_empty();
}

#[test]
fn a_bare_template_that_cannot_be_resumed_means_a_boot_and_another_template() {
    let world = world_with_template();
    add_bare_template(&world);
    let library = Library::new(&world);
    let vm = Vm::create(&library);
    assert_eq!(vm.start().unwrap(), "mounted");
    // The other ways are played on the mounted one, and each costs two boots.
    for (damage, _) in &DAMAGES[..2] {
        vm.call("vm_stop").unwrap();
        assert_eq!(vm.start().unwrap(), "bare");
        vm.call("vm_stop").unwrap();
        let folder = template(&world, "bare");
        damage(&folder.join("guest"));
        hide_damage(&folder);
        assert_eq!(vm.start(), None);
        assert!(!folder.exists());
    }
    vm.works();
    drop(library);
    world.assert_empty();
}

/// What makes the state of a guest is QEMU, so another one means another template.
#[test]
fn a_template_of_another_qemu_is_not_used() {
    let world = world_with_template();
    assert!(resumes(&mut run(&world, &["--json"])));
    let first = cached(&world);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let qemu = std::env::split_paths(&path)
        .map(|folder| folder.join("qemu-system-x86_64"))
        .find(|path| path.exists())
        .unwrap();
    let other = script(
        &world,
        "qemu-system-x86_64",
        &format!("exec {} \"$@\"", qemu.display()),
    );
    let folders = [other.parent().unwrap().to_owned()];
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)));
    let mut run = run(&world, &["--json"]);
    assert!(resumes(run.env("PATH", path.unwrap())));
    let both = cached(&world);
    assert_eq!(both.len(), 2);
    assert!(both.contains(&first[0]));
    world.assert_empty();
}

#[test]
fn the_limit_of_the_cache_spares_what_vms_stand_on() {
    let world = world_with_template();
    let library = Library::new(&world);
    let vm = Vm::create(&library);
    assert_eq!(vm.start().unwrap(), "mounted");
    let own = template(&world, "mounted");
    add_bare_template(&world);
    let other = template(&world, "bare");

    let with_limit = |mem_mib: &str| {
        let mut run = world.run(&["--json", "--mem-mib", mem_mib], ["echo fine"]);
        assert!(resumes(run.env("PYRO_TEMPLATE_LIMIT_MIB", "1")));
    };
    with_limit("300");
    assert_eq!(cached(&world).len(), 2, "the VM's own and the newest");
    assert!(!other.exists(), "the least used one has gone");
    assert!(own.join("guest/memory").exists());

    add_bare_template(&world);
    vm.call("vm_stop").unwrap();
    assert_eq!(vm.start().unwrap(), "bare");
    vm.works();
    with_limit("320");
    assert_eq!(
        cached(&world).len(),
        1,
        "nobody stands on anything any more"
    );
    drop(library);
    world.assert_empty();
}

#[test]
fn a_useless_template_stays_below_the_disks_that_lie_on_it() {
    let world = world_with_template();
    let prune = || finish(&mut world.pyro(["env", "prune", "--json"])).json()["count"].take();
    // What the cache held of older versions.
    prune();
    add_bare_template(&world);
    let library = Library::new(&world);
    let [waiting, starting] = [Vm::create(&library), Vm::create(&library)];
    let folder = template(&world, "mounted");
    DAMAGES[1].0(&folder.join("guest"));
    hide_damage(&folder);
    assert_eq!(starting.start(), None);
    assert!(!folder.join("guest").exists());

    // Its successor has the same key and another layer.
    let next = Vm::create(&library);
    assert_eq!(next.start().unwrap(), "mounted");
    assert!(folder.join("disk.qcow2").exists());
    assert_eq!(waiting.start().unwrap(), "bare");
    starting.call("vm_stop").unwrap();
    assert_eq!(starting.start().unwrap(), "bare");
    assert_eq!(prune(), 0);
    for vm in [waiting, starting, next] {
        vm.works();
    }
    assert_eq!(prune(), 1);
    assert!(!folder.exists());
    drop(library);
    world.assert_empty();
}

#[test]
fn a_vm_whose_layer_was_removed_says_so() {
    let world = world_with_template();
    let library = Library::new(&world);
    let vm = Vm::create(&library);
    assert_eq!(vm.start().unwrap(), "mounted");
    vm.call("vm_stop").unwrap();
    let folder = template(&world, "mounted");
    fs::remove_dir_all(&folder).unwrap();
    let told = vm.call("vm_start").unwrap_err();
    assert_eq!(told["code"], "damaged", "{told}");
    assert!(
        told.to_string().contains(folder.to_str().unwrap()),
        "{told}"
    );
    assert_eq!(vm.call("vm_delete").unwrap()["deleted"], true);

    // Of another build the layer is another one, though everything that shaped it is the same.
    let vm = Vm::create(&library);
    assert_eq!(vm.start().unwrap(), "mounted");
    vm.works();
    drop(library);
    world.assert_empty();
}

/// A guest may have written to the disk of a VM whose start failed half-way, which the page cache
/// of a mounted template knows nothing of.
#[test]
fn a_vm_that_was_started_in_vain_resumes_no_mounted_template() {
    let world = world_with_template();
    add_bare_template(&world);
    let library = Library::new(&world);
    let vm = Vm::create(&library);
    let folder = world.state_dir().join("vms").join(&vm.id);
    fs::write(folder.join("launch.json"), "{}").unwrap();
    assert_eq!(vm.start().unwrap(), "bare");
    vm.works();
    drop(library);
    world.assert_empty();
}
