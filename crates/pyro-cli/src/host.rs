//! `pyro host`: the entry for pyro in the configuration of an MCP host.
//!
//! Reads the words and shows the answers; `pyro-hosts` does the rest.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, value_parser};
use pyro_api::{Error, Profile, Report, Text};
use pyro_hosts::{Context, HOSTS, Host, HostError, Options, Scope};
use serde::Serialize;

use crate::failure::{fail, not_written};
use crate::render;

const GROUP: &str = "host";
const CONNECT: &str = "connect";
const PRINT_CONFIG: &str = "print-config";
const DISCONNECT: &str = "disconnect";
const DOCTOR: &str = "doctor";
const REPAIR: &str = "repair";

const HOST: &str = "host";
const NAME: &str = "name";
const SCOPE: &str = "scope";
const CONFIG: &str = "config";
const PROFILE: &str = "profile";
const COMMAND: &str = "command";
const ENV: &str = "env";
const REPLACE: &str = "replace";
const DRY_RUN: &str = "dry-run";
const ALL: &str = "all";
const PURGE: &str = "purge";
const MOVE_ASIDE: &str = "move-aside";
const JSON: &str = "json";

pub(crate) fn command() -> Command {
    Command::new(GROUP)
        .about("Connect pyro to Claude Code, Codex, OpenCode and other MCP hosts")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            verb(CONNECT, "Add pyro's entry to the configuration of a host")
                .args(entry())
                .args(change()),
        )
        .subcommand(verb(PRINT_CONFIG, "Print pyro's entry for a host, to paste").args(entry()))
        .subcommand(
            verb(
                DISCONNECT,
                "Remove the entries that start pyro from the configuration of one host, or of all",
            )
            .mut_arg(HOST, |host| {
                host.required(false)
                    .required_unless_present(ALL)
                    .help("The MCP host that starts pyro")
            })
            .mut_arg(NAME, |name| {
                name.help("Only the entry with this name [default: each that starts pyro]")
            })
            .mut_arg(CONFIG, |config| config.conflicts_with(ALL))
            .args([
                switch(ALL, "From every host that pyro knows").conflicts_with(HOST),
                switch(
                    PURGE,
                    "Also remove the backups of configurations that pyro has kept, and keep none",
                ),
                switch(DRY_RUN, "Show what would be done, and do nothing"),
            ])
            .override_usage("pyro host disconnect [OPTIONS] <HOST|--all>"),
        )
        .subcommand(verb(
            DOCTOR,
            "Check that a host's entry exists, starts, and offers its tools",
        ))
        .subcommand(
            verb(REPAIR, "Check a host's entry and fix what is wrong with it")
                .args(entry())
                .args(change())
                .arg(switch(
                    MOVE_ASIDE,
                    "Rename a configuration that cannot be parsed, and start a new one",
                )),
        )
}

fn verb(name: &'static str, about: &'static str) -> Command {
    let hosts = HOSTS.iter().map(|host| PossibleValue::new(host.id));
    Command::new(name)
        .about(about)
        .arg(
            Arg::new(HOST)
                .value_name("HOST")
                .help("The MCP host that starts pyro")
                .required(true)
                .value_parser(hosts.collect::<Vec<_>>()),
        )
        .arg(
            Arg::new(NAME)
                .long(NAME)
                .help("Name of the entry [default: pyro]"),
        )
        .arg(
            Arg::new(SCOPE)
                .long(SCOPE)
                .help(
                    "Your own configuration, or that of the project in this folder [default: user]",
                )
                .value_parser(["user", "project"]),
        )
        .arg(
            Arg::new(CONFIG)
                .long(CONFIG)
                .value_name("PATH")
                .help("Use this file instead of the host's own")
                .conflicts_with(SCOPE)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(switch(
            JSON,
            "Print the result, or the error, as one JSON document",
        ))
}

/// What the entry says.
fn entry() -> [Arg; 3] {
    [
        Arg::new(PROFILE)
            .long(PROFILE)
            .help("Which tools to offer [default: workspace-core]")
            .value_parser(value_parser!(Profile)),
        Arg::new(COMMAND).long(COMMAND).help(
            "The command that starts pyro [default: `pyro` if the host finds it, else its full \
             path]",
        ),
        Arg::new(ENV)
            .long(ENV)
            .value_name("NAME[=VALUE]")
            .help("An environment variable for the server; without VALUE, the value it has here")
            .action(ArgAction::Append),
    ]
}

/// How the file is changed.
fn change() -> [Arg; 2] {
    [
        switch(
            REPLACE,
            "Overwrite an entry of this name that is not pyro's",
        ),
        switch(DRY_RUN, "Show what would be done, and do nothing"),
    ]
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::SetTrue)
}

/// Does what was typed; `None` when it was something else.
pub(crate) fn run(matches: &ArgMatches) -> Option<ExitCode> {
    let (GROUP, below) = matches.subcommand()? else {
        return None;
    };
    let (verb, matches) = below.subcommand()?;
    let host = matches
        .get_one::<String>(HOST)
        .and_then(|host| pyro_hosts::find(host));
    let json = matches.get_flag(JSON);
    let done = Context::from_process().and_then(|context| {
        let options = options(matches);
        match host {
            Some(host) => execute(verb, host, &options, matches, &context),
            // One verb takes none, and then it takes them all.
            None => {
                let purge = matches.get_flag(PURGE);
                pyro_hosts::disconnect_all(&options, purge, &context).map(|done| Answer::of(&done))
            }
        }
    });
    Some(match done {
        Ok(answer) => show(&answer, json),
        Err(error) => fail(&Error::from(error), json),
    })
}

struct Answer {
    document: serde_json::Result<serde_json::Value>,
    text: Text,
    exit_code: u8,
}

impl Answer {
    fn of(result: &(impl Report + Serialize)) -> Self {
        let mut text = Text::default();
        result.report(&mut text);
        Self {
            document: serde_json::to_value(result),
            text,
            exit_code: result.exit_code(),
        }
    }
}

fn execute(
    verb: &str,
    host: &'static Host,
    options: &Options,
    matches: &ArgMatches,
    context: &Context,
) -> Result<Answer, HostError> {
    Ok(match verb {
        CONNECT => Answer::of(&pyro_hosts::connect(host, options, context)?),
        PRINT_CONFIG => Answer::of(&pyro_hosts::print_config(host, options, context)?),
        DISCONNECT => {
            let purge = matches.get_flag(PURGE);
            Answer::of(&pyro_hosts::disconnect(host, options, purge, context)?)
        }
        REPAIR => {
            let aside = matches.get_flag(MOVE_ASIDE);
            Answer::of(&pyro_hosts::repair(host, options, aside, context)?)
        }
        _ => Answer::of(&pyro_hosts::doctor(host, options, context)?),
    })
}

fn options(matches: &ArgMatches) -> Options {
    // Some of the verbs do not have some of the flags.
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let flag = |name: &str| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
    let profile = matches.try_get_one::<Profile>(PROFILE).ok().flatten();
    let env = matches.try_get_many::<String>(ENV).ok().flatten();
    Options {
        name: text(NAME),
        scope: text(SCOPE).map(|scope| match scope.as_str() {
            "project" => Scope::Project,
            _ => Scope::User,
        }),
        config: matches.get_one::<PathBuf>(CONFIG).cloned(),
        profile: profile
            .and_then(Profile::to_possible_value)
            .map(|profile| profile.get_name().to_owned()),
        command: text(COMMAND),
        env: env.into_iter().flatten().cloned().collect(),
        replace: flag(REPLACE),
        dry_run: flag(DRY_RUN),
    }
}

fn show(answer: &Answer, json: bool) -> ExitCode {
    let shown = match (json, &answer.document) {
        (false, _) => render::text(&answer.text),
        (true, Ok(document)) => render::document(document.clone()),
        (true, Err(broken)) => {
            let error = Error::new(pyro_api::ErrorCode::Internal, "The result is not JSON");
            return fail(&error.because(broken), json);
        }
    };
    match shown {
        Ok(()) => ExitCode::from(answer.exit_code),
        Err(failure) => fail(&not_written(&failure), false),
    }
}
