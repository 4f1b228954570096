//! What pyro does when something is killed, full, missing, broken, crowded or hostile.
//!
//! Each story ends with nothing left behind. Stories that need a mount of their own make it in a
//! private namespace ([`mounts`]), so they run for root and for an ordinary user alike.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod crowds;
mod debris;
mod fence;
mod full_disks;
mod guests;
mod kills;
mod missing;
mod sandboxes;
mod templates;
mod users;
mod workspaces;

mod background_command;
mod error;
mod memory;
mod mounts;
mod processes;
mod records;
mod unprivileged_user;

use pyro_tests::{Backend, World};

/// Plays a story in a world, then looks for what it left behind.
fn play(backend: Backend, story: fn(&World)) {
    let world = World::new(backend);
    if !world.can_be_played() {
        return;
    }
    story(&world);
    world.assert_empty();
}

/// Makes a test of each story.
macro_rules! stories {
    ($backend:ident: $($story:ident),* $(,)?) => {
        mod stories {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::$backend, super::$story);
            })*
        }
    };
}
use stories;

/// Makes two tests of each story: on host processes and on real VMs.
macro_rules! stories_of_both_backends {
    ($($story:ident),* $(,)?) => {
        mod process {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Process, super::$story);
            })*
        }
        mod vm {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Vm, super::$story);
            })*
        }
    };
}
use stories_of_both_backends;

/// Makes two tests of each story: on real VMs and on sandboxes.
macro_rules! stories_of_guests {
    ($($story:ident),* $(,)?) => {
        mod vm {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Vm, super::$story);
            })*
        }
        mod gvisor {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Gvisor, super::$story);
            })*
        }
    };
}
use stories_of_guests;

/// Makes two tests of each story: on host processes and on sandboxes, which both are quick to start.
macro_rules! stories_of_quick_backends {
    ($($story:ident),* $(,)?) => {
        mod process {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Process, super::$story);
            })*
        }
        mod gvisor {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Gvisor, super::$story);
            })*
        }
    };
}
use stories_of_quick_backends;

/// Makes a test of each story on host processes, on real VMs, and on sandboxes.
macro_rules! stories_of_all_backends {
    ($($story:ident),* $(,)?) => {
        crate::stories_of_both_backends![$($story),*];
        mod gvisor {
            $(#[test]
            fn $story() {
                crate::play(pyro_tests::Backend::Gvisor, super::$story);
            })*
        }
    };
}
use stories_of_all_backends;
