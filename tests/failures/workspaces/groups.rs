//! A guest that takes away the control group which is made ahead of its next command.

use std::time::Duration;

use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::eventually;
use pyro_tests::{Workspace, World};
use serde_json::json;

crate::stories![[vm, gvisor]: a_group_that_a_guest_removes_is_made_anew];

/// How many empty groups were removed, in the background, after the end of the command.
const REMOVE: &str = r#"(
sleep 1
removed=0
for group in /sys/fs/cgroup/pyro/* /sys/fs/cgroup/pids/pyro/*; do
    rmdir "$group" 2>/dev/null && removed=$((removed + 1))
done
echo $removed > removing
mv removing removed
) >/dev/null 2>&1 &"#;

const PATIENCE: Duration = Duration::from_secs(60);

fn a_group_that_a_guest_removes_is_made_anew(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.output(REMOVE);
    let removed = || workspace.call("file_read", json!({ "path": "removed" }));
    eventually("the group is gone", PATIENCE, || removed().is_ok());
    assert_eq!(removed().unwrap()["content"], "1\n");
    for _ in 0..2 {
        assert_eq!(workspace.output("echo runs"), "runs\n");
    }
}
