//! The contract as stories, played through the doors and on the backends where they mean
//! something: by default through every door and on both backends.

// In a story an error that nobody expected is the end of the test.
#![allow(clippy::unwrap_used)]

mod command_line;
mod doctor;
mod ending;
mod environments;
mod guest;
mod hosts;
mod life_cycle;
mod limits;
mod mcp;
mod network;
mod no_qemu;
mod one_command;
mod pty;
mod removal;
mod standby;
mod timings;
mod workspaces;

use pyro_tests::surfaces::{Surface, cli::CommandLine, engine::Library, mcp::Tools};
use pyro_tests::{Backend, World};

/// Plays a story in a fresh world, then looks for what it left behind.
fn play(backend: Backend, story: fn(&World)) {
    let world = World::new(backend);
    story(&world);
    world.assert_empty();
}

/// Plays a story on a door of a fresh world, then looks for what it left behind.
fn play_through(backend: Backend, door: Door, story: fn(&World, &dyn Surface)) {
    let world = World::new(backend);
    match door {
        Door::CommandLine => story(&world, &CommandLine(&world)),
        Door::Library => story(&world, &Library::new(&world)),
        Door::Mcp => story(&world, &Tools::new(&world)),
    }
    world.assert_empty();
}

#[derive(Clone, Copy)]
enum Door {
    CommandLine,
    Library,
    Mcp,
}

/// Makes tests of stories, one for each backend and door:
///
/// - `stories![a, b]`: two backends, every door;
/// - `stories! { [process, vm] [library]: a, b }`: these backends, these doors;
/// - `stories! { [vm]: a, b }`: these backends, and the story opens its own doors.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        crate::stories! { [process, vm] [command_line, library, mcp]: $($story),* }
    };
    ($backends:tt: $($story:ident),* $(,)?) => {
        $(crate::stories! { @alone $backends $story })*
    };
    ($backends:tt $doors:tt: $($story:ident),* $(,)?) => {
        $(crate::stories! { @backends $backends $doors $story })*
    };
    (@alone [$($backend:ident),*] $story:ident) => {
        mod $story {
            $(#[test]
            fn $backend() {
                crate::play(crate::stories!(@backend $backend), super::$story);
            })*
        }
    };
    (@backends [$($backend:ident),*] $doors:tt $story:ident) => {
        mod $story {
            $(mod $backend {
                crate::stories! { @doors $doors $backend $story }
            })*
        }
    };
    (@doors [$($door:ident),*] $backend:ident $story:ident) => {
        $(#[test]
        fn $door() {
            let backend = crate::stories!(@backend $backend);
            let door = crate::stories!(@door $door);
            crate::play_through(backend, door, super::super::$story);
        })*
    };
    (@backend process) => { pyro_tests::Backend::Process };
    (@backend vm) => { pyro_tests::Backend::Vm };
    (@door command_line) => { crate::Door::CommandLine };
    (@door library) => { crate::Door::Library };
    (@door mcp) => { crate::Door::Mcp };
}
use stories;
