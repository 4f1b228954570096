//! Names of one word: letters, digits, `.`, `_` and `-`, at most 64.

/// A type whose values are such names; `what` is how errors call it.
macro_rules! word {
    ($(#[$about:meta])* $name:ident, $what:literal) => {
        $(#[$about])*
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::values::InvalidText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::values::word::checked($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::values::InvalidText;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str(&self.0)
            }
        }

        $crate::values::inline_schema::inline_schema!($name, {
            "type": "string", "pattern": $crate::values::word::PATTERN,
        });
    };
}

pub(super) use word;

use super::invalid_text::InvalidText;

pub(super) const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// One word that can be part of a file's name, trimmed.
pub(super) fn checked(what: &'static str, text: &str) -> Result<String, InvalidText> {
    let given = text.trim().to_owned();
    let mut chars = given.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if first && rest && given.len() <= 64 {
        Ok(given)
    } else {
        Err(InvalidText::Pattern { what, given })
    }
}
