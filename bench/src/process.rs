//! Contenders that are processes, timed from their start to their end.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::contender::{Turn, Work};

/// A process that takes longer has hung.
pub(crate) const HUNG: Duration = Duration::from_secs(60);

/// A command line, run anew in each turn.
pub(crate) struct Process(Vec<String>);

impl Process {
    pub(crate) fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }
}

impl Work for Process {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let mut command = Command::new(&self.0[0]);
            Ok(run(command.args(&self.0[1..])).await?.0)
        })
    }
}

/// Runs a process to its end, which must be a good one. Dropping the future kills it.
pub(crate) async fn run(command: &mut Command) -> Result<(Duration, Output)> {
    run_within(command, HUNG).await
}

/// The same with another limit.
pub(crate) async fn run_within(
    command: &mut Command,
    limit: Duration,
) -> Result<(Duration, Output)> {
    run_fed(command, limit, Stdio::null()).await
}

/// The same with something on its standard input.
pub(crate) async fn run_fed(
    command: &mut Command,
    limit: Duration,
    input: Stdio,
) -> Result<(Duration, Output)> {
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let started = Instant::now();
    let output = timeout(limit, command.output()).await;
    let took = started.elapsed();
    let name = format!("{:?}", command.as_std());
    let output = output
        .with_context(|| format!("{name} hung: it did not end within {limit:?}"))?
        .with_context(|| format!("starting {name}"))?;
    ensure!(
        output.status.success(),
        "{name}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((took, output))
}

/// What a process prints on its standard output.
pub(crate) async fn text(program: &str, args: &[&str]) -> Result<String> {
    let (_, output) = run(Command::new(program).args(args)).await?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
