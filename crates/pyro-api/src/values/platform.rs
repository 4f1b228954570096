//! The one platform that is built so far.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::InvalidValue;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Platform {
    #[default]
    #[serde(rename = "linux-x86_64")]
    LinuxX86_64,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("linux-x86_64")
    }
}

impl FromStr for Platform {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "linux-x86_64" => Ok(Self::LinuxX86_64),
            other => Err(InvalidValue::Unknown {
                name: "platform",
                expected: "`linux-x86_64`",
                given: other.to_owned(),
            }),
        }
    }
}
