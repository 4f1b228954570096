//! The contract as stories, played through the surfaces and on the backends where they mean
//! something: by default through every surface and on both backends.

// In a story an error that nobody expected is the end of the test.
#![allow(clippy::unwrap_used)]

mod builds;
mod command_line;
mod doctor;
mod ending;
mod environments;
mod guest;
mod hosts;
mod images;
mod isolation;
mod kept;
mod life_cycle;
mod limits;
mod mcp;
mod network;
mod no_qemu;
mod one_command;
mod pty;
mod releases;
mod removal;
mod sandbox_limits;
mod standby;
mod standby_sandboxes;
mod timings;
mod workspaces;

use pyro_tests::surfaces::{Surface, cli::CommandLine, engine::Library, mcp::Tools};
use pyro_tests::{Backend, World};

/// Plays a story in a fresh world, then looks for what it left behind.
fn play(backend: Backend, story: fn(&World)) {
    let world = World::new(backend);
    if !world.can_be_played() {
        return;
    }
    story(&world);
    world.assert_empty();
}

/// Plays a story on a surface of a fresh world, then looks for what it left behind.
fn play_through(backend: Backend, surface: SurfaceKind, story: fn(&World, &dyn Surface)) {
    let world = World::new(backend);
    if !world.can_be_played() {
        return;
    }
    match surface {
        SurfaceKind::CommandLine => story(&world, &CommandLine(&world)),
        SurfaceKind::Library => story(&world, &Library::new(&world)),
        SurfaceKind::Mcp => story(&world, &Tools::new(&world)),
    }
    world.assert_empty();
}

#[derive(Clone, Copy)]
enum SurfaceKind {
    CommandLine,
    Library,
    Mcp,
}

/// Makes tests of stories, one for each backend and surface:
///
/// - `stories![a, b]`: two backends, every surface;
/// - `stories! { [process, vm] [library]: a, b }`: these backends, these surfaces;
/// - `stories! { [vm]: a, b }`: these backends, and the story opens its own surfaces.
///
/// On `gvisor` a story is played through the first of its surfaces only: what a surface does with an
/// answer does not depend on what the guest is, and there is time for each kind of guest once.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        crate::stories! { [process, vm] [command_line, library, mcp]: $($story),* }
    };
    ($backends:tt: $($story:ident),* $(,)?) => {
        $(crate::stories! { @alone $backends $story })*
    };
    ($backends:tt $surfaces:tt: $($story:ident),* $(,)?) => {
        $(crate::stories! { @backends $backends $surfaces $story })*
    };
    (@alone [$($backend:ident),*] $story:ident) => {
        mod $story {
            $(#[test]
            fn $backend() {
                crate::play(crate::stories!(@backend $backend), super::$story);
            })*
        }
    };
    (@backends [$($backend:ident),*] $surfaces:tt $story:ident) => {
        mod $story {
            $(mod $backend {
                crate::stories! { @surfaces $surfaces $backend $story }
            })*
        }
    };
    (@surfaces [$first:ident, $($more:ident),+] gvisor $story:ident) => {
        crate::stories! { @surfaces [$first] gvisor $story }
    };
    (@surfaces [$($surface:ident),*] $backend:ident $story:ident) => {
        $(#[test]
        fn $surface() {
            let backend = crate::stories!(@backend $backend);
            let surface = crate::stories!(@surface $surface);
            crate::play_through(backend, surface, super::super::$story);
        })*
    };
    (@backend process) => { pyro_tests::Backend::Process };
    (@backend vm) => { pyro_tests::Backend::Vm };
    (@backend gvisor) => { pyro_tests::Backend::Gvisor };
    (@surface command_line) => { crate::SurfaceKind::CommandLine };
    (@surface library) => { crate::SurfaceKind::Library };
    (@surface mcp) => { crate::SurfaceKind::Mcp };
}
use stories;
