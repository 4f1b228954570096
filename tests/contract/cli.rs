//! The command tree: commands, flags, defaults, choices, exclusions, positionals.

use std::collections::{BTreeMap, BTreeSet};

use clap::error::ErrorKind;
use clap::{ArgAction, Command};
use serde_json::Value;

use crate::contract;

/// Commands of the contract that later issues build, by the first word or words of their path.
const PENDING: &[&str] = &[];

/// Flags of the contract that later issues build.
const PENDING_FLAGS: &[(&str, &str)] = &[];

/// Flags beyond the contract.
pub(crate) const OUR_FLAGS: &[(&str, &str)] = &[
    ("run", "--allow-net"),
    ("run", "--cwd"),
    ("run", "--env"),
    ("run", "--interactive"),
    ("run", "--isolation"),
    ("run", "--tty"),
    ("run", "--no-tty"),
    ("run", "--user"),
    ("workspace create", "--allow-net"),
    ("workspace create", "--exclude"),
    ("workspace create", "--gitignore"),
    ("workspace create", "--isolation"),
    ("workspace diff", "--binary"),
    ("workspace diff", "--commits"),
    ("workspace diff", "--max-bytes"),
    ("workspace diff", "--prefix"),
    ("workspace diff", "--skip"),
    ("workspace disk list", "--max-entries"),
    ("workspace disk list", "--skip"),
    ("workspace disk read", "--encoding"),
    ("workspace disk read", "--offset"),
    ("workspace exec", "--background"),
    ("workspace exec", "--cwd"),
    ("workspace exec", "--env"),
    ("workspace exec", "--interactive"),
    ("workspace exec", "--no-tty"),
    ("workspace exec", "--stdin"),
    ("workspace exec", "--stop"),
    ("workspace exec", "--tty"),
    ("workspace exec", "--user"),
    ("workspace exec", "--wait-seconds"),
    ("workspace export", "--overwrite"),
    ("workspace file list", "--max-entries"),
    ("workspace file list", "--skip"),
    ("workspace file read", "--encoding"),
    ("workspace file read", "--line-count"),
    ("workspace file read", "--offset"),
    ("workspace file read", "--start-line"),
    ("workspace file write", "--encoding"),
    ("workspace file write", "--user"),
    ("workspace list", "--skip"),
    ("workspace logs", "--encoding"),
    ("workspace logs", "--last"),
    ("workspace logs", "--max-bytes"),
    ("workspace logs", "--offset"),
    ("workspace logs", "--sequence"),
    ("workspace logs", "--skip"),
    ("workspace logs", "--stderr-offset"),
    ("workspace logs", "--wait-seconds"),
    ("workspace service list", "--skip"),
    ("workspace service logs", "--encoding"),
    ("workspace service logs", "--follow"),
    ("workspace service logs", "--max-bytes"),
    ("workspace service logs", "--skip-lines"),
    ("workspace service start", "--env"),
    ("workspace service start", "--user"),
    ("workspace shell open", "--env"),
    ("workspace shell open", "--user"),
    ("workspace sync push", "--exclude"),
    ("workspace sync push", "--gitignore"),
];

/// Commands beyond the contract.
pub(crate) const OURS: &[&str] = &[
    "bench",
    "completions",
    "env build",
    "env create",
    "env delete",
    "env export",
    "env import",
    "host",
    "host connect",
    "host disconnect",
    "host doctor",
    "host print-config",
    "host repair",
    "man",
    "try",
    "workspace shell attach",
];

pub(crate) fn tree() -> BTreeMap<String, Command> {
    fn walk(prefix: &str, command: &Command, into: &mut BTreeMap<String, Command>) {
        // `pyro help` repeats the whole tree.
        let own = |below: &&Command| below.get_name() != "help";
        for below in command.get_subcommands().filter(own) {
            let path = format!("{prefix} {}", below.get_name()).trim().to_owned();
            walk(&path, below, into);
            into.insert(path, below.clone());
        }
    }
    let mut root = pyro_cli::command();
    root.build();
    let mut commands = BTreeMap::new();
    walk("", &root, &mut commands);
    commands
}

fn is_pending(path: &str) -> bool {
    PENDING
        .iter()
        .any(|pending| path == *pending || path.starts_with(&format!("{pending} ")))
}

#[test]
fn every_command_of_the_contract_is_built_or_pending() {
    let contract = contract("cli.json");
    let listed: BTreeSet<String> = contract["commands"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| !is_pending(path))
        .cloned()
        .collect();
    let built: BTreeSet<String> = tree()
        .into_keys()
        .filter(|path| !OURS.contains(&path.as_str()))
        .collect();
    assert_eq!(built, listed);
}

#[test]
fn flags_and_positionals_are_those_of_the_contract() {
    let contract = contract("cli.json");
    for (path, command) in tree() {
        if OURS.contains(&path.as_str()) {
            continue;
        }
        let wanted = &contract["commands"][&path];
        let without = |flags: BTreeSet<String>, left_out: &[(&str, &str)]| -> BTreeSet<String> {
            let named = |flag: &str| {
                let name = flag.split(' ').next().unwrap_or_default();
                left_out.contains(&(path.as_str(), name))
            };
            flags.into_iter().filter(|flag| !named(flag)).collect()
        };
        assert_eq!(
            without(flags(&command), OUR_FLAGS),
            without(wanted_flags(wanted), PENDING_FLAGS),
            "flags of `pyro {path}`"
        );
        assert_eq!(
            positionals(&command),
            wanted_positionals(wanted),
            "positionals of `pyro {path}`"
        );
        assert_exclusions(&path, &command, wanted);
        let needs_subcommand = wanted["subcommand_required"].as_bool().unwrap_or(false);
        assert_eq!(
            command.is_subcommand_required_set(),
            needs_subcommand,
            "`pyro {path}`"
        );
    }
}

/// Tries every pair that must not be given together, and every group of which one must be given.
fn assert_exclusions(path: &str, command: &Command, wanted: &Value) {
    let groups = wanted["mutually_exclusive"].as_array().cloned();
    for group in groups.unwrap_or_default() {
        let flags: Vec<&str> = group["flags"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let kind_of = |given: &[&str]| {
            let mut words = vec![command.get_name().to_owned()];
            words.extend(command.get_positionals().map(|_| "x".to_owned()));
            for flag in given {
                words.push((*flag).to_owned());
                let found = command
                    .get_arguments()
                    .find(|arg| arg.get_long() == flag.strip_prefix("--"))
                    .unwrap_or_else(|| panic!("`pyro {path}` has no {flag}"));
                if !matches!(found.get_action(), ArgAction::SetTrue | ArgAction::SetFalse) {
                    words.push("x".to_owned());
                }
            }
            let tried = command.clone().try_get_matches_from(words);
            tried.err().map(|error| error.kind())
        };
        assert_eq!(
            kind_of(&flags),
            Some(ErrorKind::ArgumentConflict),
            "`pyro {path}` takes {flags:?} together"
        );
        if group["required"] == true {
            assert_eq!(
                kind_of(&[]),
                Some(ErrorKind::MissingRequiredArgument),
                "`pyro {path}` takes none of {flags:?}"
            );
        }
    }
}

#[test]
fn the_root_is_that_of_the_contract() {
    let contract = contract("cli.json");
    let root = pyro_cli::command();
    assert_eq!(root.get_name(), contract["program"].as_str().unwrap());
    assert!(root.is_subcommand_required_set());
    assert_eq!(
        root.render_version(),
        format!("pyro {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// A flag in words: `--mem-mib value default=1024`.
fn flags(command: &Command) -> BTreeSet<String> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .filter(|arg| !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version))
        .map(|arg| {
            let name = format!("--{}", arg.get_long().unwrap_or_default());
            if matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse) {
                return format!("{name} switch");
            }
            let default = arg
                .get_default_values()
                .first()
                .map(|value| value.to_string_lossy().into_owned());
            format!("{name} value default={}", default.unwrap_or_default())
        })
        .collect()
}

fn wanted_flags(command: &Value) -> BTreeSet<String> {
    let flags = command["flags"].as_array().cloned().unwrap_or_default();
    flags
        .iter()
        .map(|flag| {
            let name = flag["flags"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .find(|name| name.starts_with("--"))
                .unwrap();
            if flag["kind"] == "switch" {
                return format!("{name} switch");
            }
            let default = match &flag["default"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                // Nothing given is an empty list.
                Value::Array(none) if none.is_empty() => String::new(),
                other => other.to_string(),
            };
            format!("{name} value default={default}")
        })
        .collect()
}

fn positionals(command: &Command) -> Vec<String> {
    command
        .get_positionals()
        .map(|arg| {
            let variadic = arg
                .get_num_args()
                .is_some_and(|range| range.max_values() > 1);
            format!(
                "{} required={} variadic={variadic}",
                arg.get_id(),
                arg.is_required_set()
            )
        })
        .collect()
}

fn wanted_positionals(command: &Value) -> Vec<String> {
    let positionals = command["positionals"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    positionals
        .iter()
        .map(|positional| {
            format!(
                "{} required={} variadic={}",
                positional["name"].as_str().unwrap(),
                positional["required"].as_bool().unwrap_or(false),
                positional["variadic"].as_bool().unwrap_or(false)
            )
        })
        .collect()
}
