//! What docs/install.md says about removing pyro, done as it stands there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use pyro_tests::World;
use pyro_tests::tree::look;
use pyro_tests::world::{finish, pyro};

crate::stories! { [process]: nothing_remains_of_what_was_installed }

/// What a host had before pyro came.
const CONFIGURED: &str = "{\n  \"theme\": \"dark\"\n}\n";

/// The commands of the page.
fn commands(page: &str) -> String {
    let section = page.split_once("\n## Remove\n").unwrap().1;
    let block = section.split_once("```console\n").unwrap().1;
    let block = block.split_once("```").unwrap().0;
    let lines = block.lines().map(|line| line.strip_prefix("$ ").unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn nothing_remains_of_what_was_installed(world: &World) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/install.md")).unwrap();
    // The world's own in place of the folder that the settings name.
    let state = world.state_dir();
    let commands = commands(&page).replace("~/.local/state/pyro", state.to_str().unwrap());
    let home = world.folder().join("home");
    let bin = home.join(".local/bin");
    for folder in [&bin, &home.join(".cache"), &home.join(".config")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(home.join(".claude.json"), CONFIGURED).unwrap();
    let names = || look(&home).into_keys().collect::<Vec<_>>();
    let before = names();
    symlink(pyro(), bin.join("pyro")).unwrap();
    symlink(pyro().with_file_name("pyro-agent"), bin.join("pyro-agent")).unwrap();
    let set = |command: &mut Command| {
        command
            .envs(world.variables())
            .env("HOME", &home)
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("PYRO_BIN", pyro())
            .env_remove("PYRO_ENVIRONMENT_CACHE_DIR")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CODEX_HOME")
            .env_remove("CLAUDE_CONFIG_DIR")
            .env_remove("PREFIX")
            .current_dir(&root);
    };
    let used = "pyro host connect claude-code && pyro host connect codex && pyro host connect zed \
                && for n in 1 2; do pyro workspace create debian:12 --allow-host-compat --name n$n; done \
                && pyro workspace exec n1 -- 'echo kept > file' && mkdir -p ~/.cache/pyro/environments";
    for script in [used, &commands] {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]);
        set(&mut shell);
        let ran = finish(&mut shell);
        assert_eq!(ran.code(), 0, "{script}\n{ran:?}");
    }
    assert_eq!(names(), before);
    assert_eq!(
        fs::read_to_string(home.join(".claude.json")).unwrap(),
        CONFIGURED
    );
    assert!(!state.exists());
}
