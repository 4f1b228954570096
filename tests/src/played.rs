//! Tests that need what not every machine has: the right of root, registries that can be reached.

/// Set where every test is to be played.
const PLAY_ALL: &str = "PYRO_TESTS_PLAY_ALL";

/// What a test needs, where it is there. Otherwise the test says why it is not played, and fails where
/// all of them must be.
#[track_caller]
pub fn played<T>(needed: Option<T>, why: &str) -> Option<T> {
    if needed.is_none() {
        let must = std::env::var_os(PLAY_ALL).is_some_and(|value| !value.is_empty());
        assert!(!must, "not played although {PLAY_ALL} is set: {why}");
        println!("NOT PLAYED: {why}");
    }
    needed
}
