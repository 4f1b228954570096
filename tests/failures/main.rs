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
mod jail;
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

/// Makes tests of stories: `stories![Vm: a, b]` on one backend, `stories![[process, vm]: a, b]` one on
/// each of several, in a module of the backend's name.
macro_rules! stories {
    ($backend:ident: $($story:ident),* $(,)?) => {
        mod stories {
            crate::stories! { @play $backend super ($($story),*) }
        }
    };
    ([$($backend:ident),*]: $($story:ident),* $(,)?) => {
        crate::stories! { @each [$($backend),*] ($($story),*) }
    };
    (@each [$($backend:ident),*] $stories:tt) => {
        $(crate::stories! { @one $backend $stories })*
    };
    (@one process $stories:tt) => { mod process { crate::stories! { @play Process super $stories } } };
    (@one vm $stories:tt) => { mod vm { crate::stories! { @play Vm super $stories } } };
    (@one gvisor $stories:tt) => { mod gvisor { crate::stories! { @play Gvisor super $stories } } };
    (@play $backend:ident $from:ident ($($story:ident),*)) => {
        $(#[test]
        fn $story() {
            crate::play(pyro_tests::Backend::$backend, $from::$story);
        })*
    };
}
use stories;
