//! A program that answers at once, or is killed.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// These look something up, at worst in a directory of the network.
const DEADLINE: Duration = Duration::from_secs(10);

/// How much of what is said is kept.
const KEPT: usize = 16 * 1024;

/// Runs it to its end; with what it said, on standard output and error.
pub(crate) fn run(mut command: Command) -> io::Result<(ExitStatus, String)> {
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = Killed(command.spawn()?);
    // It holds the ends for writing.
    drop(command);
    let said = listen(reader, Instant::now() + DEADLINE)?;
    let status = child.0.wait()?;
    Ok((status, said))
}

/// What is said until the last end for writing is closed. Only the beginning is kept of what is long.
pub(crate) fn listen(mut reader: PipeReader, deadline: Instant) -> io::Result<String> {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Ok(0) if Instant::now() < deadline => continue,
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&said).trim().to_owned());
        }
        let kept = count.min(KEPT - said.len());
        said.extend_from_slice(&buffer[..kept]);
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
