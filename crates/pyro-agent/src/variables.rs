//! The variables that an image says its programs have: of every command, shell and service.

use std::sync::Mutex;

use pyro_wire::Bytes;

use crate::lock::lock;

#[derive(Default)]
pub(crate) struct Variables(Mutex<Vec<(Bytes, Bytes)>>);

impl Variables {
    /// Those of a guest that is being set up. What could be no variable of a process is left out.
    pub(crate) fn set(&self, all: &[(Bytes, Bytes)]) {
        let sound = |(name, value): &&(Bytes, Bytes)| {
            !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0)
        };
        *lock(&self.0) = all.iter().filter(sound).cloned().collect();
    }

    pub(crate) fn all(&self) -> Vec<(Bytes, Bytes)> {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_no_variable_is_left_out() {
        let pair =
            |name: &str, value: &str| (Bytes::from(name.as_bytes()), Bytes::from(value.as_bytes()));
        let variables = Variables::default();
        variables.set(&[
            pair("A", "1=2"),
            pair("", "x"),
            pair("B=", "x"),
            pair("C", "x\0y"),
        ]);
        assert_eq!(variables.all(), [pair("A", "1=2")]);
    }
}
