//! `pyro env`: what is installed, what is damaged, what is in the way.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::{Running, finish};
use pyro_tests::{Backend, Surface, World, cache};
use serde_json::{Value, json};

crate::stories! { [vm] [command_line, library]:
    the_catalog_says_what_is_installed,
    pulling_what_is_installed_checks_it,
}

crate::stories! { [vm]: environments_are_told_in_words }

fn the_catalog_says_what_is_installed(_: &World, surface: &dyn Surface) {
    let listed = surface.call("vm_list_environments", json!({})).unwrap();
    let entries = listed["environments"].as_array().unwrap();
    let named = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap();
    let installed = named("debian:12");
    assert_eq!(installed["installed"], true);
    assert_eq!(installed["platform"], "linux-x86_64");
    assert_eq!(installed["source_digest"].as_str().unwrap().len(), 64);
    assert_eq!(installed.get("problem"), None);

    let inspected = surface
        .call("env_inspect", json!({ "environment": "debian:12" }))
        .unwrap();
    assert_eq!(inspected, *installed);
    let unknown = surface
        .call("env_inspect", json!({ "environment": "debian:11" }))
        .unwrap_err();
    assert_eq!(unknown["code"], "unknown_environment");
    assert_eq!(
        unknown["hint"],
        "Did you mean `debian:12`? The image of Docker Hub is `docker.io/debian:11`"
    );
}

fn pulling_what_is_installed_checks_it(_: &World, surface: &dyn Surface) {
    let inspect = || {
        surface
            .call("env_inspect", json!({ "environment": "debian:12" }))
            .unwrap()
    };
    let before = inspect();
    let pulled = surface
        .call("env_pull", json!({ "environment": "debian:12" }))
        .unwrap();
    assert_eq!(pulled["source_digest"], before["source_digest"]);
    for image in ["kernel_image", "rootfs_image"] {
        assert!(
            Path::new(pulled[image].as_str().unwrap()).is_file(),
            "{pulled}"
        );
    }
    assert_eq!(inspect(), before);
}

fn environments_are_told_in_words(world: &World) {
    let ran = finish(&mut world.pyro(["env", "list"]));
    let lines: Vec<String> = ran.out().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "Catalog version: 4.1.0");
    assert!(
        lines[1].starts_with("debian:12 [installed] Debian 12 with git"),
        "{}",
        lines[1]
    );
    // Beside what somebody may have kept.
    let of_list = lines.iter().filter(|line| line.starts_with("debian:"));
    assert_eq!(of_list.count(), 6);

    let ran = finish(&mut world.pyro(["env", "inspect", "debian:12"]));
    assert!(
        ran.out().starts_with("Environment: debian:12\nVersion: "),
        "{}",
        ran.out()
    );
    assert!(ran.out().contains("\nInstalled: yes\n"), "{}", ran.out());

    let ran = finish(&mut world.pyro(["env", "pull", "debian:12"]));
    assert!(
        ran.out().starts_with("Pulled: debian:12\n"),
        "{}",
        ran.out()
    );
    assert!(ran.err().contains("checking debian:12"), "{}", ran.err());
}

/// A world with a copy of the cache, which it may spoil. It makes no templates: they are most of the
/// work of a pull that has nothing else to do.
fn world_with_its_own_cache() -> World {
    world_with_templates_of_its_own().with("PYRO_TEMPLATES", "off")
}

fn world_with_templates_of_its_own() -> World {
    let world = World::new(Backend::Vm);
    let copy = cache::copy(&world);
    world.with("PYRO_ENVIRONMENT_CACHE_DIR", copy)
}

fn platform_folder(world: &World) -> PathBuf {
    world.folder().join("cache/linux-x86_64")
}

fn install_folder(world: &World) -> PathBuf {
    platform_folder(world).join("debian_12-4.1.0")
}

/// The root image, made writable for a fault.
fn image(world: &World) -> File {
    let path = install_folder(world).join("rootfs.ext4");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// How long a pull may take that builds: a Debian is downloaded and installed, which takes minutes
/// beside guests that have the processors.
const BUILD: Duration = Duration::from_secs(600);

fn env(world: &World, command: &[&str]) -> Value {
    let running = Running::start(world.pyro(["env"]).args(command).arg("--json"));
    let ran = running.wait_within(BUILD);
    assert_eq!(ran.code(), 0, "{}", ran.out());
    ran.json()
}

#[test]
fn a_cache_that_was_copied_is_checked_and_used() {
    let world = world_with_its_own_cache();
    let before = fs::metadata(install_folder(&world))
        .unwrap()
        .modified()
        .unwrap();
    let pulled = env(&world, &["pull", "debian:12"]);
    assert_eq!(pulled["installed"], true);
    assert_eq!(env(&world, &["inspect", "debian:12"])["installed"], true);
    // Checked, not built anew.
    let image = install_folder(&world).join("rootfs.ext4");
    assert!(fs::metadata(image).unwrap().modified().unwrap() <= before);
    world.assert_empty();
}

#[test]
fn a_changed_byte_is_found_by_a_look_and_mended_by_a_pull() {
    let world = world_with_its_own_cache();
    let whole = env(&world, &["pull", "debian:12"]);

    // One byte of the volume's label, which no boot would stumble over.
    let spoiled = image(&world);
    let modified = spoiled.metadata().unwrap().modified().unwrap();
    spoiled.write_all_at(b"!", 1024 + 0x78).unwrap();
    spoiled.set_modified(modified).unwrap();
    drop(spoiled);
    let told = env(&world, &["inspect", "debian:12"]);
    assert_eq!(told["installed"], false);
    let problem = told["problem"].as_str().unwrap();
    assert!(
        problem.contains(whole["source_digest"].as_str().unwrap()),
        "{problem}"
    );

    let mended = env(&world, &["pull", "debian:12"]);
    assert_eq!(mended["installed"], true);
    let looked_at = env(&world, &["inspect", "debian:12"]);
    assert_eq!(looked_at["installed"], true);
    assert_eq!(looked_at["source_digest"], mended["source_digest"]);
    let ran = finish(&mut world.run(&["--mem-mib", "256"], ["git", "--version"]));
    assert_eq!(ran.code(), 0, "{}", ran.err());
    world.assert_empty();
}

#[test]
fn a_truncated_image_is_told_everywhere() {
    let world = world_with_its_own_cache();
    env(&world, &["pull", "debian:12"]);
    image(&world).set_len(1 << 20).unwrap();
    let told = env(&world, &["inspect", "debian:12"]);
    assert_eq!(told["installed"], false);
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains("1048576 bytes"), "{problem}");

    let listed = finish(&mut world.pyro(["env", "list"]));
    assert!(
        listed.out().contains("\ndebian:12 [damaged] "),
        "{}",
        listed.out()
    );
    let doctor = finish(&mut world.pyro(["doctor"]));
    assert!(
        doctor.out().contains("[warn] environment: "),
        "{}",
        doctor.out()
    );
    assert!(
        doctor.out().contains("fix: pyro env pull debian:12\n"),
        "{}",
        doctor.out()
    );
    world.assert_empty();
}

#[test]
fn pruning_removes_debris_and_tells_the_room_it_gave_back() {
    let world = world_with_its_own_cache();
    env(&world, &["pull", "debian:12"]);
    // What the copied cache itself no longer needs.
    env(&world, &["prune"]);
    let debris = [
        ".partial-debian_12-1-0",
        "debian_12-3.0.0",
        "kernel-5.10.0-1-deadbeef",
    ];
    for name in debris {
        let folder = platform_folder(&world).join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), vec![1; 3 << 20]).unwrap();
    }
    let pruned = env(&world, &["prune"]);
    assert_eq!(pruned["deleted_environment_dirs"], json!(debris));
    assert_eq!(pruned["count"], 3);
    let freed = pruned["freed_bytes"].as_u64().unwrap();
    assert!((9 << 20..10 << 20).contains(&freed), "{freed}");
    assert!(
        debris
            .iter()
            .all(|name| !platform_folder(&world).join(name).exists())
    );

    assert_eq!(env(&world, &["inspect", "debian:12"])["installed"], true);
    let again = finish(&mut world.pyro(["env", "prune"]));
    assert_eq!(
        again.out(),
        "Deleted 0 cached environment entries.\nFreed: 0.0 MiB\n"
    );
    world.assert_empty();
}

#[test]
fn pruning_spares_what_a_running_vm_uses() {
    let world = world_with_templates_of_its_own();
    env(&world, &["pull", "debian:12"]);
    // What the copied cache itself no longer needs.
    env(&world, &["prune"]);
    let library = Library::new(&world);
    // As large as VMs are by default, for which the pull has made a template.
    let created = library.call("vm_create", json!({ "environment": "debian:12" }));
    let vm_id = created.unwrap()["vm_id"].clone();
    library.call("vm_start", json!({ "vm_id": vm_id })).unwrap();
    // No longer an install that anybody would start from.
    fs::remove_file(install_folder(&world).join("environment.json")).unwrap();

    // Templates that no VM can be made from any more go, except the running one's own.
    let pruned = env(&world, &["prune"]);
    let names = pruned["deleted_environment_dirs"].as_array().unwrap();
    let template = |name: &Value| name.as_str().unwrap().starts_with("templates/");
    assert!(names.iter().all(template), "{pruned}");
    assert!(install_folder(&world).join("rootfs.ext4").exists());
    let result = library.call(
        "vm_exec",
        json!({ "vm_id": vm_id, "command": "git --version" }),
    );
    assert_eq!(result.unwrap()["exit_code"], 0);

    let pruned = env(&world, &["prune"]);
    assert_eq!(pruned["deleted_environment_dirs"][0], "debian_12-4.1.0");
    assert!(!install_folder(&world).exists());
    drop(library);
    world.assert_empty();
}
