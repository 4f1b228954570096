//! The walls around a VMM, or the process of a network, beside what it does itself.

use serde::{Deserialize, Serialize};

/// Which walls there are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JailChoice {
    /// Those that this host has.
    #[default]
    Auto,
    /// All of them, or the guest does not start.
    Strict,
}

/// One of the walls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wall {
    /// Namespaces of its own, with a root folder that holds what it needs.
    Namespaces,
    /// It has no capability, and is nobody where root runs pyro.
    Ids,
    Landlock,
    /// A list of the system calls that there are.
    SystemCalls,
    /// It executes nothing, and opens nothing to be written to, after its start.
    Gate,
    #[serde(other)]
    Unknown,
}

impl Wall {
    pub const ALL: [Self; 5] = [
        Self::Namespaces,
        Self::Ids,
        Self::Landlock,
        Self::SystemCalls,
        Self::Gate,
    ];

    /// As it is called on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Ids => "ids",
            Self::Landlock => "landlock",
            Self::SystemCalls => "system_calls",
            Self::Gate => "gate",
            Self::Unknown => "unknown",
        }
    }
}

/// A wall that does not stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingWall {
    pub wall: Wall,
    /// In one sentence.
    pub reason: String,
    /// A command or a step that helps, where one is known.
    #[serde(default)]
    pub fix: Option<String>,
}

/// What stands around a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    pub standing: Vec<Wall>,
    pub missing: Vec<MissingWall>,
}

impl Walls {
    /// All but those that are missing.
    pub fn without(missing: Vec<MissingWall>) -> Self {
        let stands = |wall: &Wall| missing.iter().all(|missing| missing.wall != *wall);
        Self {
            standing: Wall::ALL.into_iter().filter(stands).collect(),
            missing,
        }
    }
}
