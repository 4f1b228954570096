//! How the content of a file travels where only text can.

use serde::{Deserialize, Serialize};

use super::inline_schema::inline_schema;

/// What a read answers with as `content_encoding`, a write takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum ContentEncoding {
    /// Text as it is
    #[default]
    #[serde(rename = "utf-8")]
    #[value(name = "utf-8")]
    Utf8,
    /// Base64, for any bytes
    #[serde(rename = "base64")]
    #[value(name = "base64")]
    Base64,
}

inline_schema!(ContentEncoding, { "type": "string", "enum": ["utf-8", "base64"] });
