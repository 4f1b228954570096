//! What keeps a command apart from the host that it runs on.

use serde::{Deserialize, Serialize};

use super::inline_schema::inline_schema;

/// What keeps a command apart from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(try_from = "String", rename_all = "snake_case")]
pub enum Isolation {
    /// What suits this host: a VM where KVM works, else gVisor where that runs, else a VM under emulation
    #[default]
    Auto,
    /// A virtual machine with a Linux kernel of its own
    Vm,
    /// A gVisor sandbox: without KVM it is several times as fast as a VM, but its kernel is not all of
    /// Linux
    Gvisor,
}

impl TryFrom<String> for Isolation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "vm" => Ok(Self::Vm),
            "gvisor" => Ok(Self::Gvisor),
            _ => Err(format!(
                "`{text}` is not an isolation: use `auto`, `vm` or `gvisor`"
            )),
        }
    }
}

inline_schema!(Isolation, { "type": "string", "enum": ["auto", "vm", "gvisor"] });

impl std::fmt::Display for Isolation {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_as_those_of_other_choices_are() {
        let read = |text: &str| Isolation::try_from(text.to_owned());
        for (text, isolation) in [
            ("auto", Isolation::Auto),
            (" VM ", Isolation::Vm),
            ("gVisor", Isolation::Gvisor),
        ] {
            assert_eq!(read(text), Ok(isolation), "{text}");
            assert_eq!(read(&isolation.to_string()), Ok(isolation));
        }
        let refused = read("docker").unwrap_err();
        assert_eq!(
            refused,
            "`docker` is not an isolation: use `auto`, `vm` or `gvisor`"
        );
        assert!(read("").is_err());
    }
}
