//! Text that comes as an argument, or on the command line also from a file.

use std::path::PathBuf;

use clap::{Arg, ArgGroup, ArgMatches, value_parser};
use serde::Deserialize;

use super::inline_schema::inline_schema;

macro_rules! text_source {
    ($(#[$doc:meta])* $type:ident, $flag:literal, $file_flag:literal, $what:literal,
     $file_what:literal, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(from = "String")]
        pub enum $type {
            Inline(String),
            File(PathBuf),
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self::Inline(text)
            }
        }

        inline_schema!($type, $schema);

        impl clap::Args for $type {
            fn augment_args(command: clap::Command) -> clap::Command {
                command
                    .arg(
                        Arg::new($flag)
                            .long($flag)
                            .value_name("TEXT")
                            .allow_hyphen_values(true)
                            .help(concat!("The ", $what, " itself")),
                    )
                    .arg(
                        Arg::new($file_flag)
                            .long($file_flag)
                            .value_name("PATH")
                            .value_parser(value_parser!(PathBuf))
                            .help(concat!(
                                "A file of this host with the ",
                                $file_what,
                                "; `-` is standard input"
                            )),
                    )
                    .group(
                        ArgGroup::new(concat!($flag, "-source"))
                            .args([$flag, $file_flag])
                            .required(true),
                    )
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                match (
                    matches.get_one::<String>($flag),
                    matches.get_one::<PathBuf>($file_flag),
                ) {
                    (Some(text), _) => Ok(Self::Inline(text.clone())),
                    (None, Some(path)) => Ok(Self::File(path.clone())),
                    (None, None) => Err(clap::Error::new(
                        clap::error::ErrorKind::MissingRequiredArgument,
                    )),
                }
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

text_source! {
    /// The new content of a file.
    FileText, "text", "text-file", "text", "content, text or binary",
    // For surfaces whose callers have bytes at hand.
    { "type": "string", "contentMediaType": "application/octet-stream" }
}
text_source! {
    /// A patch, in one of the forms that `workspace_patch_apply` takes.
    PatchText, "patch", "patch-file", "patch", "patch",
    { "type": "string" }
}
