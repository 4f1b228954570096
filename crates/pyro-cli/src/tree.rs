//! The command tree, made from the list of operations.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use pyro_api::{
    Caller, Error, Handle, HandleAll, JsonFlag, Listed, Only, Report, Text, Visit, visit,
};

use crate::{demo_ollama, documents, host, mcp};

/// The identifier of the flag that every command with a JSON answer has.
const JSON: &str = "json";

/// What the commands with subcommands are for.
const GROUPS: &[(&str, &str)] = &[
    ("env", "List, install, inspect and prune environments"),
    (
        "workspace",
        "Work in VMs or sandboxes that keep their files",
    ),
    ("sync", "Copy later changes from the host"),
    ("file", "List, read and write files"),
    (
        "patch",
        "Change files with patches: unified diffs, or `*** Begin Patch`",
    ),
    ("shell", "Use interactive shells"),
    ("service", "Run long-lived commands, and reach their ports"),
    ("snapshot", "Save states, and go back to them"),
    ("disk", "Read the disk of a stopped workspace"),
];

/// A result, ready to be shown either way.
pub(crate) struct Answer {
    pub(crate) json: Result<serde_json::Value, Error>,
    pub(crate) text: Text,
    /// What a flag such as `--id-only` prints.
    pub(crate) only: Vec<u8>,
    /// What is said beside that, on standard error.
    pub(crate) notes: Vec<String>,
    pub(crate) exit_code: u8,
}

type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;
type Call<E> = Box<dyn FnOnce(Arc<E>, Caller) -> AnswerFuture + Send>;
type Parse<E> = fn(&ArgMatches) -> Result<Call<E>, clap::Error>;

struct Entry<E> {
    path: &'static [&'static str],
    json: JsonFlag,
    only: Option<Only>,
    parse: Parse<E>,
}

/// The commands, and what to do for each.
pub(crate) struct Tree<E> {
    pub(crate) command: Command,
    entries: Vec<Entry<E>>,
}

/// A command as it was typed: an operation with its arguments, ready to be called.
pub(crate) struct Invocation<E> {
    pub(crate) call: Call<E>,
    pub(crate) form: OutputForm,
}

/// How the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputForm {
    Text,
    Json,
    Only,
}

impl<E: HandleAll> Tree<E> {
    pub(crate) fn build() -> Self {
        let root = Command::new("pyro")
            .version(env!("CARGO_PKG_VERSION"))
            .about("Run commands in disposable Linux virtual machines")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .infer_long_args(true)
            .propagate_version(false);
        let mut tree = Self {
            command: root,
            entries: Vec::new(),
        };
        visit(&mut tree);
        tree.command = demo_ollama::below_demo(tree.command)
            .subcommand(mcp::command())
            .subcommand(host::command())
            .subcommands(documents::commands());
        tree
    }

    /// Finds the operation that was typed; `None` for commands that are not operations.
    pub(crate) fn invocation(
        &self,
        matches: &ArgMatches,
    ) -> Option<Result<Invocation<E>, clap::Error>> {
        let mut path = Vec::new();
        let mut matches = matches;
        while let Some((name, below)) = matches.subcommand() {
            path.push(name);
            matches = below;
        }
        let entry = self.entries.iter().find(|entry| entry.path == path)?;
        let json = match entry.json {
            JsonFlag::Offered => matches.get_flag(JSON),
            JsonFlag::Implied => true,
        };
        let form = match entry.only {
            _ if json => OutputForm::Json,
            Some(only) if matches.get_flag(only.flag) => OutputForm::Only,
            _ => OutputForm::Text,
        };
        Some((entry.parse)(matches).map(|call| Invocation { call, form }))
    }
}

impl<E: HandleAll> Visit<E> for Tree<E> {
    fn operation<O: Listed>(&mut self)
    where
        E: Handle<O>,
    {
        let Some(cli) = O::NAMES.cli else {
            return;
        };
        let Some((name, groups)) = cli.path.split_last() else {
            return;
        };
        let mut command = O::augment_args(Command::new(*name));
        if cli.json == JsonFlag::Offered {
            command = command.arg(
                Arg::new(JSON)
                    .long(JSON)
                    .action(ArgAction::SetTrue)
                    .help("Print the result, or the error, as one JSON document"),
            );
        }
        if let Some(only) = cli.only {
            command = command.arg(
                Arg::new(only.flag)
                    .long(only.flag)
                    .action(ArgAction::SetTrue)
                    .conflicts_with(JSON)
                    .help(only.help),
            );
        }
        self.command = insert(std::mem::take(&mut self.command), groups, command);
        self.entries.push(Entry {
            path: cli.path,
            json: cli.json,
            only: cli.only,
            parse: parse::<O, E>,
        });
    }
}

fn insert(parent: Command, groups: &[&'static str], command: Command) -> Command {
    let Some((group, below)) = groups.split_first() else {
        return parent.subcommand(command);
    };
    if parent.find_subcommand(group).is_some() {
        return parent.mut_subcommand(group, |found| insert(found, below, command));
    }
    let about = GROUPS
        .iter()
        .find(|(name, _)| name == group)
        .map_or("", |(_, about)| about);
    let made = Command::new(*group)
        .about(about)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    parent.subcommand(insert(made, below, command))
}

fn parse<O: Listed, E: Handle<O> + Send + Sync + 'static>(
    matches: &ArgMatches,
) -> Result<Call<E>, clap::Error> {
    let operation = O::from_arg_matches(matches)?;
    Ok(Box::new(move |engine, caller| {
        Box::pin(async move {
            operation.check()?;
            let output = engine.handle(operation, &caller).await?;
            let mut text = Text::default();
            output.report(&mut text);
            Ok(Answer {
                json: O::write(&output),
                only: output.only(),
                notes: output.notes(),
                exit_code: output.exit_code(),
                text,
            })
        })
    }))
}
