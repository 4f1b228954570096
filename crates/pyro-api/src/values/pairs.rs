//! Pairs of a name and something for it, given with one flag many times.

/// Whether a text is letters, digits and `_`, does not begin with a digit, and is not too long.
pub(super) fn is_name(text: &str, longest: usize) -> bool {
    let mut bytes = text.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && rest && text.len() <= longest
}

/// Makes a type that holds pairs the arguments of a command line. `$pair` reads one of them and
/// refuses nothing: an error of clap would repeat what may be a secret.
macro_rules! pairs {
    ($name:ident, $flag:expr, $value_name:literal, $help:literal, $pair:expr) => {
        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.arg(
                    clap::Arg::new($flag)
                        .long($flag)
                        .value_name($value_name)
                        .help($help)
                        .action(clap::ArgAction::Append),
                )
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                let given = matches.get_many::<String>($flag).unwrap_or_default();
                Ok(Self(given.map(String::as_str).map($pair).collect()))
            }

            fn update_from_arg_matches(
                &mut self,
                matches: &clap::ArgMatches,
            ) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

pub(super) use pairs;
