//! Whole numbers with a smallest, a largest and a default value.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::inline_schema::inline_schema;

/// A value that its own parser refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// The text is not of the form at all: a fault in how the command was typed.
    #[error("{name} must be a whole number, not `{given}`")]
    NotANumber { name: &'static str, given: String },
    /// The value is understood and refused.
    #[error("{name} must be {allowed}, not {given}")]
    OutOfRange {
        name: &'static str,
        allowed: String,
        given: String,
    },
    #[error("{name} must be {expected}, not `{given}`")]
    Unknown {
        name: &'static str,
        expected: &'static str,
        given: String,
    },
}

pub(super) fn between(min: u32, max: u32) -> String {
    format!("between {min} and {max}")
}

macro_rules! bounded {
    ($(#[$doc:meta])* $type:ident, $name:literal, $min:literal..=$max:expr, default $default:literal $(, allowed $allowed:literal)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $type(u32);

        impl $type {
            pub const MIN: u32 = $min;
            pub const MAX: u32 = $max;

            pub fn new(value: i128) -> Result<Self, InvalidValue> {
                match u32::try_from(value) {
                    Ok(value) if (Self::MIN..=Self::MAX).contains(&value) => Ok(Self(value)),
                    _ => Err(Self::out_of_range(value.to_string())),
                }
            }

            fn out_of_range(given: String) -> InvalidValue {
                let in_words: &[&str] = &[$($allowed)?];
                InvalidValue::OutOfRange {
                    name: $name,
                    allowed: match in_words {
                        [allowed] => (*allowed).to_owned(),
                        _ => between(Self::MIN, Self::MAX),
                    },
                    given,
                }
            }

            pub fn get(self) -> u32 {
                self.0
            }
        }

        impl Default for $type {
            fn default() -> Self {
                Self($default)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(to)
            }
        }

        impl FromStr for $type {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                let given = text.trim();
                let digits = given.strip_prefix('-').unwrap_or(given);
                match given.parse::<i128>() {
                    Ok(number) => Self::new(number),
                    // More digits than any bound has.
                    Err(_) if !digits.is_empty() && digits.bytes().all(|d| d.is_ascii_digit()) => {
                        Err(Self::out_of_range(given.to_owned()))
                    }
                    Err(_) => Err(InvalidValue::NotANumber {
                        name: $name,
                        given: given.to_owned(),
                    }),
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_u32(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(WholeNumber($name))
                    .and_then(|number| Self::new(number).map_err(de::Error::custom))
            }
        }

        inline_schema!($type, { "type": "integer", "minimum": $min, "maximum": Self::MAX });
    };
}

bounded! {
    /// Virtual CPUs of a VM.
    VcpuCount, "vcpu_count", 1..=8, default 1
}
bounded! {
    /// Memory of a VM, in MiB.
    MemMib, "mem_mib", 256..=32_768, default 1024
}
bounded! {
    /// How long a command may run, in seconds. Beyond a century nothing is waited for.
    TimeoutSeconds, "timeout_seconds", 1..=u32::MAX, default 30
}
bounded! {
    /// How long a step of a build may take, in seconds.
    StepTimeoutSeconds, "timeout_seconds", 1..=u32::MAX, default 3600
}
bounded! {
    /// How long a call waits for a command that goes on behind it, in seconds.
    WaitSeconds, "wait_seconds", 0..=u32::MAX, default 0
}
bounded! {
    /// How long a one-shot VM lives, in seconds.
    TtlSeconds, "ttl_seconds", 60..=3600, default 600
}

bounded! {
    /// How much of a file is read, in bytes.
    ReadBytes, "max_bytes", 1..=1_048_576, default 65_536
}
bounded! {
    /// How much of a file on a stopped disk is read, in bytes.
    DiskReadBytes, "max_bytes", 1..=u32::MAX, default 65_536
}
bounded! {
    /// How many entries a listing shows.
    MaxEntries, "max_entries", 1..=1_000_000, default 10_000
}
bounded! {
    /// How much text of patches a diff shows, in bytes.
    PatchBytes, "max_bytes", 1..=67_108_864, default 67_108_864
}
bounded! {
    /// How long nobody may use a workspace before its VM is stopped, in seconds; 0 is for ever.
    /// The first minute is not on offer.
    IdleSeconds, "ttl_seconds", 0..=2_592_000, default 600,
    allowed "0 (never) or between 60 and 2592000"
}

bounded! {
    /// Width of a shell's terminal, in columns.
    ShellCols, "cols", 1..=500, default 120
}
bounded! {
    /// Height of a shell's terminal, in rows.
    ShellRows, "rows", 1..=500, default 30
}
bounded! {
    /// How much of a shell's output is read, in characters.
    MaxChars, "max_chars", 1..=u32::MAX, default 65_536
}
bounded! {
    /// How long a shell has to be silent, in milliseconds.
    WaitForIdleMs, "wait_for_idle_ms", 1..=10_000, default 300
}

impl IdleSeconds {
    /// `None`: for ever.
    pub fn limit(self) -> Option<u32> {
        (self.0 > 0).then_some(self.0)
    }

    pub fn check(self) -> Result<(), crate::Error> {
        match self.0 {
            1..60 => {
                let refused = Self::out_of_range(self.to_string());
                Err(crate::Error::invalid(refused.to_string()))
            }
            _ => Ok(()),
        }
    }
}

bounded! {
    /// How long a service may take to be ready, in seconds.
    ReadyTimeoutSeconds, "ready_timeout_seconds", 1..=u32::MAX, default 30
}
bounded! {
    /// The longest pause between two looks whether a service is ready, in milliseconds.
    ReadyIntervalMs, "ready_interval_ms", 1..=u32::MAX, default 500
}
bounded! {
    /// How many lines of a log are shown, from its end.
    TailLines, "tail_lines", 1..=u32::MAX, default 200
}

bounded! {
    /// How often something is measured.
    BenchRounds, "rounds", 1..=1000, default 10
}
bounded! {
    /// How many VMs wait for a command.
    StandbyCount, "standby", 1..=16, default 1
}

/// Accepts a whole number as a number or, as some models send it, as text.
struct WholeNumber(&'static str);

impl Visitor<'_> for WholeNumber {
    type Value = i128;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a whole number for {}", self.0)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<i128, E> {
        if value.fract() == 0.0 && value.abs() < 1e15 {
            Ok(value as i128)
        } else {
            Err(E::custom(InvalidValue::NotANumber {
                name: self.0,
                given: value.to_string(),
            }))
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<i128, E> {
        value.trim().parse().map_err(|_| {
            E::custom(InvalidValue::NotANumber {
                name: self.0,
                given: value.to_owned(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_on_every_way_in() {
        assert_eq!("4".parse::<VcpuCount>().unwrap().get(), 4);
        assert_eq!(
            "0".parse::<VcpuCount>().unwrap_err().to_string(),
            "vcpu_count must be between 1 and 8, not 0"
        );
        let never_or = "ttl_seconds must be 0 (never) or between 60 and 2592000, not ";
        let below = "-1".parse::<IdleSeconds>().unwrap_err().to_string();
        assert_eq!(below, format!("{never_or}-1"));
        let first_minute = "5".parse::<IdleSeconds>().unwrap().check().unwrap_err();
        assert_eq!(first_minute.error, format!("{never_or}5"));
        assert!(matches!(
            "9".repeat(50).parse::<VcpuCount>(),
            Err(InvalidValue::OutOfRange { .. })
        ));
        assert_eq!(
            "many".parse::<MemMib>().unwrap_err().to_string(),
            "mem_mib must be a whole number, not `many`"
        );
        assert_eq!(
            serde_json::from_str::<MemMib>("\"512\"").unwrap().get(),
            512
        );
        assert_eq!(serde_json::from_str::<MemMib>("512.0").unwrap().get(), 512);
        for refused in ["512.5", "-1", "99999999999999999999", "true", "null"] {
            assert!(
                serde_json::from_str::<MemMib>(refused).is_err(),
                "{refused}"
            );
        }
    }

    #[test]
    fn defaults_are_within_bounds() {
        assert!(VcpuCount::new(VcpuCount::default().get().into()).is_ok());
        assert!(MemMib::new(MemMib::default().get().into()).is_ok());
        assert!(TimeoutSeconds::new(TimeoutSeconds::default().get().into()).is_ok());
        assert!(TtlSeconds::new(TtlSeconds::default().get().into()).is_ok());
    }
}
