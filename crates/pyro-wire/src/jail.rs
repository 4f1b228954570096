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
    /// The kernel bounds what it takes of the host's memory, processors and processes.
    ControlGroup,
    #[serde(other)]
    Unknown,
}

impl Wall {
    pub const ALL: [Self; 6] = [
        Self::Namespaces,
        Self::Ids,
        Self::Landlock,
        Self::SystemCalls,
        Self::Gate,
        Self::ControlGroup,
    ];

    /// Whether a host that is set up as usual has it: few give their users a branch of control groups.
    pub fn is_demanded(self) -> bool {
        self != Self::ControlGroup
    }

    /// As it is called on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Ids => "ids",
            Self::Landlock => "landlock",
            Self::SystemCalls => "system_calls",
            Self::Gate => "gate",
            Self::ControlGroup => "control_group",
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

    /// One of them does not stand, if that is not known yet.
    pub fn lack(&mut self, missing: MissingWall) {
        if self.missing.iter().all(|known| known.wall != missing.wall) {
            self.standing.retain(|wall| *wall != missing.wall);
            self.missing.push(missing);
        }
    }

    /// The names of those that stand, in one line.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.standing.iter().map(|wall| wall.name()).collect();
        names.join(", ")
    }

    /// Those that are missing and why, in one line; empty when none is.
    pub fn gaps(&self) -> String {
        let gap = |missing: &MissingWall| format!("{} ({})", missing.wall.name(), missing.reason);
        let gaps: Vec<String> = self.missing.iter().map(gap).collect();
        gaps.join(", ")
    }

    /// Whether a program that was taken over is kept from the files of whoever runs it.
    pub fn keep_files(&self) -> bool {
        let keeps = |wall: &Wall| matches!(wall, Wall::Namespaces | Wall::Landlock);
        self.standing.iter().any(keeps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_and_files_are_kept_by_one_of_two_walls() {
        let missing = |wall| MissingWall {
            wall,
            reason: "it is off".into(),
            fix: None,
        };
        let whole = Walls::without(Vec::new());
        assert_eq!(
            whole.names(),
            "namespaces, ids, landlock, system_calls, gate, control_group"
        );
        assert_eq!((whole.gaps().as_str(), whole.keep_files()), ("", true));
        let one = Walls::without(vec![missing(Wall::Namespaces)]);
        assert_eq!(one.gaps(), "namespaces (it is off)");
        assert!(one.keep_files());
        let both = Walls::without(vec![missing(Wall::Namespaces), missing(Wall::Landlock)]);
        assert!(!both.keep_files());
        assert_eq!(both.names(), "ids, system_calls, gate, control_group");
        let mut late = Walls::without(vec![missing(Wall::Gate)]);
        late.lack(missing(Wall::Ids));
        // It is told once.
        late.lack(missing(Wall::Gate));
        assert_eq!(
            late.names(),
            "namespaces, landlock, system_calls, control_group"
        );
        assert_eq!(late.gaps(), "gate (it is off), ids (it is off)");
    }
}
