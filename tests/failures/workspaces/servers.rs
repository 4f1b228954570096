//! `kill -9` of `pyro mcp serve` in the middle of what it does to a workspace. What must be so
//! afterwards is what must be so when a command is killed.

use pyro_tests::World;

use super::kill_points::Worker::Server;
use super::kills;

crate::stories![[process, vm, gvisor]:
        one_that_creates_leaves_all_or_nothing,
    one_that_pushes_has_done_it_whole_or_not_at_all,
];

mod of_both_backends {
    use super::*;
    crate::stories![[process, vm]:
        one_that_patches_has_done_it_whole_or_not_at_all,
        one_that_exports_leaves_nothing_beside_it,
        one_that_resets_leaves_a_workspace_that_works,
    ];
}

fn one_that_creates_leaves_all_or_nothing(world: &World) {
    kills::create_is_killed(world, Server);
}

fn one_that_pushes_has_done_it_whole_or_not_at_all(world: &World) {
    kills::push_is_killed(world, Server);
}

fn one_that_patches_has_done_it_whole_or_not_at_all(world: &World) {
    kills::patch_is_killed(world, Server);
}

fn one_that_exports_leaves_nothing_beside_it(world: &World) {
    kills::export_is_killed(world, Server);
}

fn one_that_resets_leaves_a_workspace_that_works(world: &World) {
    kills::reset_is_killed(world, Server);
}
