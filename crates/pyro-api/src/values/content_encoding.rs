//! How the content of a file travels where only text can.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

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

impl JsonSchema for ContentEncoding {
    fn schema_name() -> Cow<'static, str> {
        "ContentEncoding".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["utf-8", "base64"] })
    }
}
