//! `pyro mcp serve`: the operations as tools, over standard input and output.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command, value_parser};
use pyro_api::{Error, ErrorCode, Profile};
use pyro_engine::{Config, Engine, Standby};
use pyro_mcp::{Ended, Settings, Stdio};

use crate::failure::{fail, no_threads};
use crate::shutdown::{SHUTDOWN_TIMEOUT, termination_signal};

const MCP: &str = "mcp";
const SERVE: &str = "serve";
const PROFILE: &str = "profile";

/// Set to anything: tell of every call on standard error.
const LOG: &str = "PYRO_MCP_LOG";

/// The environment of VMs that are kept waiting for `vm_run`.
const DEFAULT_ENVIRONMENT: &str = "debian:12";

/// One works for each of a few calls, as a handler may keep its thread for a moment.
const WORKERS: usize = 4;

pub(crate) fn command() -> Command {
    Command::new(MCP)
        .about("Serve pyro over the Model Context Protocol (MCP)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new(SERVE)
                .about("Serve over standard input and output, until the input ends")
                .arg(
                    Arg::new(PROFILE)
                        .long(PROFILE)
                        .help("Which tools to offer")
                        .default_value("workspace-core")
                        .value_parser(value_parser!(Profile)),
                ),
        )
}

/// Serves when that was typed; `None` when it was something else.
pub(crate) fn run(matches: &ArgMatches) -> Option<ExitCode> {
    let (MCP, below) = matches.subcommand()? else {
        return None;
    };
    let (SERVE, serve) = below.subcommand()? else {
        return None;
    };
    let profile = *serve.get_one::<Profile>(PROFILE)?;
    Some(serve_profile(profile).unwrap_or_else(|error| fail(&error, false)))
}

fn serve_profile(profile: Profile) -> Result<ExitCode, Error> {
    let stdio = Stdio::take().map_err(|error| {
        Error::new(
            ErrorCode::HostIo,
            "Standard input and output cannot be used",
        )
        .caused_by(&error)
    })?;
    let config = Config::from_environment()?;
    let standby = Standby::usual(DEFAULT_ENVIRONMENT, config.standby);
    let engine = Arc::new(Engine::new(config));
    let settings = Settings {
        profile,
        version: env!("CARGO_PKG_VERSION"),
        log: std::env::var_os(LOG).is_some(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(no_threads)?;
    let ended = runtime.block_on(async {
        if standby.count > 0 {
            engine.keep_standby(standby)?;
        }
        let mut signal = 0;
        let told = async { signal = termination_signal().await };
        let ended = pyro_mcp::serve(Arc::clone(&engine), settings, stdio, told).await;
        ended.map(|ended| match ended {
            Ended::ByClient => ExitCode::SUCCESS,
            Ended::Stopped => ExitCode::from(128 + signal),
        })
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended
}
