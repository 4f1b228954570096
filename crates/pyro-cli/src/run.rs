//! From the arguments to the exit status.
//!
//! ```text
//! arguments ──▶ tree ──▶ engine, while events go to the terminal ──▶ answer or error ──▶ status
//!                           ▲
//!           a signal ends what waits for its end, or drops the call, which ends what it had started
//! ```

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use pyro_api::values::{InvalidText, InvalidValue};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_engine::timings::reached;
use pyro_engine::{Config, Engine};
use tokio::time::timeout;

use crate::event_printer::{EventPrinter, Telling, say};
use crate::failure::{fail, no_threads, not_written};
use crate::interruption::{Interrupt, Signals};
use crate::shutdown::SHUTDOWN_TIMEOUT;
use crate::timings::Timings;
use crate::tree::{Answer, Invocation, OutputForm, Tree};
use crate::tty::Tty;
use crate::{demo_ollama, documents, host, mcp, render, stdin, tty};

/// How much of each output stream a JSON document holds, in bytes, head and tail together.
const KEPT_FOR_JSON: usize = 32 * 1024 * 1024;

const USAGE: u8 = 2;

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    let timings = Timings::wanted();
    let status = dispatch(args);
    if let Some(timings) = timings {
        timings.print();
    }
    status
}

fn dispatch(args: Vec<OsString>) -> ExitCode {
    let tree = Tree::<Engine>::build();
    let matches = match tree.command.clone().try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, &tree.command, &args),
    };
    if let Some(printed) = documents::print(&tree.command, &matches) {
        return printed;
    }
    if let Some(served) = mcp::run(&matches) {
        return served;
    }
    if let Some(done) = host::run(&matches) {
        return done;
    }
    if let Some(played) = demo_ollama::run(&matches) {
        return played;
    }
    match tree.invocation(&matches) {
        Some(Ok(invocation)) => execute(invocation),
        Some(Err(error)) => refuse(&error, &tree.command, &args),
        None => refuse(
            &tree.command.clone().error(
                ErrorKind::InvalidSubcommand,
                "this command is not built yet",
            ),
            &tree.command,
            &args,
        ),
    }
}

fn execute(invocation: Invocation<Engine>) -> ExitCode {
    let json = invocation.form == OutputForm::Json;
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(error) => return fail(&error, json),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One works for the call, one listens for signals while the first is held up by a
        // terminal that takes no more output.
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&no_threads(error), json);
        }
    };
    reached("arguments understood");
    let status = runtime.block_on(call(Arc::new(Engine::new(config)), invocation));
    reached("answer printed");
    // Work on threads, such as clearing up after a pull, gets a moment to end.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    reached("threads ended");
    status
}

async fn call(engine: Arc<Engine>, invocation: Invocation<Engine>) -> ExitCode {
    let form = invocation.form;
    let json = form == OutputForm::Json;
    let printer = Arc::new(EventPrinter::new(match form {
        OutputForm::Text => Telling::Everything,
        OutputForm::Only => Telling::Notes,
        OutputForm::Json => Telling::Nothing,
    }));
    let mut caller = Caller::new().with_events(printer.clone());
    if json {
        caller = caller.keeping_output(KEPT_FOR_JSON);
    }
    if !io::stdin().is_terminal() {
        caller = caller
            .with_input(Box::new(io::stdin()))
            .seeing_input(stdin::has_data);
    }
    if let Some(tty) = Tty::open() {
        caller = caller.with_terminal(tty);
    }
    let interrupt = Arc::new(Interrupt::default());
    caller = caller.with_interruption(interrupt.clone());
    let mut signals = Signals::listen();
    let mut call = tokio::spawn((invocation.call)(engine, caller));
    let mut interrupted_by = None;
    let signalled = async {
        let number = signals.next().await;
        if !interrupt.pass_on() {
            return number;
        }
        interrupted_by = Some(number);
        signals.another().await
    };
    tokio::select! {
        answer = &mut call => {
            printer.settle();
            let status = match (answer, printer.failure()) {
                (_, Some(failure)) => fail(&not_written(&failure), json),
                (Ok(Ok(answer)), None) => show(answer, form),
                (Ok(Err(error)), None) => fail(&error, json),
                (Err(broken), None) => fail(
                    &Error::new(ErrorCode::Internal, "Internal error in pyro").caused_by(&broken),
                    json,
                ),
            };
            interrupted_by.map_or(status, |number| ExitCode::from(128 + number))
        }
        number = signalled => {
            printer.settle();
            call.abort();
            let _ = timeout(SHUTDOWN_TIMEOUT, call).await;
            // Also where the call hangs in a terminal that takes nothing more.
            tty::restore();
            ExitCode::from(128 + number)
        }
    }
}

fn show(answer: Answer, form: OutputForm) -> ExitCode {
    let shown = match form {
        OutputForm::Json => match answer.json {
            Ok(value) => render::document(value),
            Err(error) => return fail(&error, true),
        },
        OutputForm::Only => {
            for note in &answer.notes {
                say(&format!("[note] {note}"));
            }
            render::content(&answer.only)
        }
        OutputForm::Text => render::text(&answer.text),
    };
    match shown {
        Ok(()) => ExitCode::from(answer.exit_code),
        // A document could not be written there either.
        Err(failure) => fail(&not_written(&failure), false),
    }
}

const AFTER_DASHES: &str = "Put the command after `--`, as in `… -- git --version`";

/// Whether the typed command is one that runs another, which stands after `--`.
fn takes_a_command(root: &clap::Command, args: &[OsString]) -> bool {
    let mut command = root;
    for word in &args[1..] {
        match command.find_subcommand(word) {
            Some(below) => command = below,
            None => break,
        }
    }
    command.get_arguments().any(clap::Arg::is_last_set)
}

/// Tells what is wrong with the arguments. A value out of its bounds is a refused operation, as
/// it would be on every other surface; anything else is a usage error.
fn refuse(error: &clap::Error, root: &clap::Command, args: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = args
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg == "--json");
    let source = std::error::Error::source(error);
    if let Some(invalid @ InvalidValue::OutOfRange { .. }) =
        source.and_then(|source| source.downcast_ref())
    {
        return fail(&Error::invalid(invalid.to_string()), json);
    }
    if let Some(invalid) = source.and_then(|source| source.downcast_ref::<InvalidText>()) {
        return fail(&Error::invalid(invalid.to_string()), json);
    }
    let misplaced = error.kind() == ErrorKind::UnknownArgument && takes_a_command(root, args);
    if json {
        let mut told = in_one_error(error);
        if misplaced {
            let more = told.hint.unwrap_or_default();
            told.hint = Some(format!("{AFTER_DASHES}. {more}"));
        }
        render::error(&told, json);
    } else {
        let _ = error.print();
        if misplaced {
            say(&format!("hint: {AFTER_DASHES}"));
        }
    }
    ExitCode::from(USAGE)
}

/// What clap writes in paragraphs (what is wrong, tips, the usage), in the form of every other
/// error.
fn in_one_error(error: &clap::Error) -> Error {
    let words = error.render().to_string();
    let mut paragraphs = words
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty());
    let first = paragraphs.next().unwrap_or_default();
    let what = first.strip_prefix("error: ").unwrap_or(&first);
    let hint: Vec<String> = paragraphs.collect();
    let told = Error::new(ErrorCode::Usage, what);
    match hint.is_empty() {
        true => told.hint("See the command's `--help`"),
        false => told.hint(hint.join(". ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_told_whole() {
        let words = ["pyro", "workspace", "disk", "read"];
        let error = crate::command().try_get_matches_from(words).unwrap_err();
        let told = in_one_error(&error);
        assert_eq!(
            told.error,
            "the following required arguments were not provided: <WORKSPACE_ID> <PATH>"
        );
        let hint = told.hint.unwrap();
        assert!(
            hint.starts_with("Usage: pyro workspace disk read <WORKSPACE_ID> <PATH>. For more"),
            "{hint}"
        );
    }
}
