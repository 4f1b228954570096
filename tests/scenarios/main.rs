//! The contract as stories, each played through every door and on both backends.

mod one_command;

use pyro_tests::surfaces::{Surface, cli::CommandLine, engine::Library};
use pyro_tests::{Backend, World};

/// Plays a story on a door of a fresh world, then looks for what it left behind.
fn play(backend: Backend, door: Door, story: fn(&World, &dyn Surface)) {
    let world = World::new(backend);
    match door {
        Door::CommandLine => story(&world, &CommandLine(&world)),
        Door::Library => story(&world, &Library::new(&world)),
    }
    world.assert_empty();
}

#[derive(Clone, Copy)]
enum Door {
    CommandLine,
    Library,
}

/// Makes four tests of each story: two doors, two backends.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod process {
            $(mod $story {
                use pyro_tests::Backend::Process;
                #[test]
                fn command_line() {
                    crate::play(Process, crate::Door::CommandLine, super::super::$story);
                }
                #[test]
                fn library() {
                    crate::play(Process, crate::Door::Library, super::super::$story);
                }
            })*
        }
        mod vm {
            $(mod $story {
                use pyro_tests::Backend::Vm;
                #[test]
                fn command_line() {
                    crate::play(Vm, crate::Door::CommandLine, super::super::$story);
                }
                #[test]
                fn library() {
                    crate::play(Vm, crate::Door::Library, super::super::$story);
                }
            })*
        }
    };
}
use stories;
