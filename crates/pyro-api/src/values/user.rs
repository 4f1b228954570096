//! Who runs a command in a guest.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::inline_schema::inline_schema;

/// No name of a user and a group together is longer.
const LONGEST: usize = 256;

/// A user of the guest: `NAME` or `UID`, with `:GROUP` or `:GID` behind it or not. What is empty names
/// nobody. Whether there is one of that name only the guest knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct User(String);

/// Why a text can be no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUser {
    #[error(
        "`{given}` is not a user: give NAME or UID, and a group after one colon, such as `app`, \
         `1000:1000` or `app:staff`"
    )]
    Form { given: String },
    #[error("a user has at most {LONGEST} bytes, not {given}")]
    Length { given: usize },
}

impl User {
    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for User {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(InvalidUser::Length { given: text.len() });
        }
        let colons = text.matches(':').count();
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || c == '/';
        if colons > 1 || text.contains(is_odd) || text == ":" {
            return Err(InvalidUser::Form {
                given: text.escape_debug().to_string(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for User {
    type Error = InvalidUser;

    fn try_from(text: String) -> Result<Self, InvalidUser> {
        text.parse()
    }
}

impl From<User> for String {
    fn from(user: User) -> Self {
        user.0
    }
}

inline_schema!(User, { "type": "string" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_a_number_and_a_group() {
        for (given, user) in [
            ("app", "app"),
            (" 1000:1000 ", "1000:1000"),
            ("app:staff", "app:staff"),
            (":50", ":50"),
            ("", ""),
        ] {
            assert_eq!(given.parse::<User>().unwrap().as_str(), user);
        }
        let long = "x".repeat(LONGEST + 1);
        for refused in ["a:b:c", "a b", "a\nb", "a\0", "a/b", ":", &long] {
            let error = refused.parse::<User>().unwrap_err().to_string();
            assert!(!error.contains(['\n', '\0']), "{error}");
        }
    }
}
