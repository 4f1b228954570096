//! `pyro demo ollama`: a model on this machine is asked a question that it can answer only by running a VM.
//!
//! ```text
//! question ──▶ model_server ──▶ a call? ──▶ tools of the profile `vm-run` ──▶ its result, and again
//!                    └────────▶ words? ──▶ the end
//! ```
//!
//! Any server of the Chat Completions protocol does. Every line, errors included, goes to standard
//! output, as the contract has it for this command.

mod conversation;
mod model_server;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use pyro_api::{Error, ErrorCode};
use pyro_engine::{Config, Engine};
use tokio::time::timeout;

use self::conversation::Conversation;
use self::model_server::ModelServer;
use crate::failure::no_threads;
use crate::render;
use crate::shutdown::{SHUTDOWN_TIMEOUT, termination_signal};

/// The operation whose command this one stands below.
const GROUP: &str = "demo";
const OLLAMA: &str = "ollama";
const BASE_URL: &str = "base-url";
const MODEL: &str = "model";
const VERBOSE: &str = "verbose";

const FAILED: u8 = 1;

/// Adds the command below `pyro demo`, which stays a command of its own.
pub(crate) fn below_demo(root: Command) -> Command {
    root.mut_subcommand(GROUP, |demo| {
        demo.subcommand(command())
            .disable_help_subcommand(true)
            // A flag of `pyro demo` would have no effect here.
            .args_conflicts_with_subcommands(true)
    })
}

fn command() -> Command {
    Command::new(OLLAMA)
        .about("Let a local Ollama model run a command in a VM")
        .arg(
            Arg::new(BASE_URL)
                .long(BASE_URL)
                .value_name("URL")
                .help("Base URL of a server with the Chat Completions API, over HTTP")
                .default_value("http://localhost:11434/v1"),
        )
        .arg(
            Arg::new(MODEL)
                .long(MODEL)
                .help("The model to use; it must support tools")
                .default_value("llama3.2:3b"),
        )
        .arg(
            Arg::new(VERBOSE)
                .short('v')
                .long(VERBOSE)
                .help("Also show the question and full results")
                .action(ArgAction::SetTrue),
        )
}

/// Plays the demonstration when that was typed; `None` when it was something else.
pub(crate) fn run(matches: &ArgMatches) -> Option<ExitCode> {
    let (GROUP, below) = matches.subcommand()? else {
        return None;
    };
    let (OLLAMA, typed) = below.subcommand()? else {
        return None;
    };
    let server = ModelServer::at(
        typed.get_one::<String>(BASE_URL)?,
        typed.get_one::<String>(MODEL)?,
    );
    let played = server.and_then(|server| play(server, typed.get_flag(VERBOSE)));
    Some(played.unwrap_or_else(|error| {
        // Where nobody can read it, the status must do.
        let _ = render::bytes(format!("[error] {}", error.in_words()).as_bytes());
        ExitCode::from(FAILED)
    }))
}

fn play(server: ModelServer, verbose: bool) -> Result<ExitCode, Error> {
    let engine = Arc::new(Engine::new(Config::from_environment()?));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(no_threads)?;
    let played = runtime.block_on(async {
        let conversation = Conversation::new(engine, server, verbose)?;
        let mut conversation = tokio::spawn(conversation.hold());
        tokio::select! {
            ended = &mut conversation => match ended {
                Ok(outcome) => outcome.map(|()| ExitCode::SUCCESS),
                Err(broken) => Err(Error::new(ErrorCode::Internal, "Internal error in pyro").caused_by(&broken)),
            },
            number = termination_signal() => {
                conversation.abort();
                let _ = timeout(SHUTDOWN_TIMEOUT, conversation).await;
                Ok(ExitCode::from(128 + number))
            }
        }
    });
    // A thread may still wait for a slow model, whose answer nobody wants any more.
    runtime.shutdown_background();
    played
}
