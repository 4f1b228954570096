//! `errors.py`: one exception for each code.

use std::fmt::Write;

use anyhow::{Context, Result};
use pyro_api::ErrorCode;
use schemars::schema_for;
use serde_json::Value;

use super::text::{capitals, docstring_begin};

const HEAD: &str = "\
# Written by `cargo xtask python` from the declarations in pyro-api. Change those instead.
\"\"\"One exception for each code of an error.

All are a `PyroError`. What was asked wrongly is a `ValueError` as well, everything else a
`RuntimeError`.
\"\"\"

from __future__ import annotations

from ._error import PyroError
";

/// How the codes begin that say that something was asked wrongly, or of something that is not
/// there.
const ASKED_WRONGLY: &[&str] = &["usage", "invalid_", "unknown_", "ambiguous_", "bad_"];

pub(crate) fn file() -> Result<String> {
    let schema = schema_for!(ErrorCode).to_value();
    let choices = schema["oneOf"].as_array().context("codes with words")?;
    let mut codes: Vec<(&str, &str)> = Vec::new();
    for choice in choices {
        let words = choice["description"].as_str().unwrap_or_default();
        let several = choice["enum"].as_array().into_iter().flatten();
        for code in several.chain(choice.get("const")).filter_map(Value::as_str) {
            codes.push((code, words));
        }
    }
    let mut text = HEAD.to_owned();
    for (code, words) in &codes {
        let wrongly = ASKED_WRONGLY.iter().any(|begin| code.starts_with(begin));
        let kind = if wrongly {
            "ValueError"
        } else {
            "RuntimeError"
        };
        let doc = docstring_begin(words, 4);
        let _ = write!(
            text,
            "\n\nclass {}(PyroError, {kind}):\n{doc}\"\"\"\n\n    code = {code:?}\n",
            class(code)
        );
    }
    text.push_str("\n\nCODES: dict[str, type[PyroError]] = {\n");
    for (code, _) in &codes {
        let _ = writeln!(text, "    {code:?}: {},", class(code));
    }
    text.push_str(
        "}\n\n\n\
         def from_facts(message: str, code: str, causes: list[str], hint: str | None) -> PyroError:\n    \
             \"\"\"Makes the exception of a code.\"\"\"\n    \
             return CODES.get(code, PyroError)(message, code=code, causes=causes, hint=hint)\n\
         \n\n__all__ = [\"PyroError\", *sorted(kind.__name__ for kind in CODES.values())]\n",
    );
    Ok(text)
}

fn class(code: &str) -> String {
    format!("{}Error", capitals(code))
}
