//! Takes standard input and output away from everything but the protocol.
//!
//! Whatever prints to standard output afterwards reaches standard error, and whatever reads
//! standard input finds it empty: neither a library nor a child process can break the stream.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{dup2_stdin, dup2_stdout};

/// The two ends of the connection to the client.
#[derive(Debug)]
pub struct Stdio {
    pub(crate) input: BlockingFile,
    pub(crate) output: BlockingFile,
}

impl Stdio {
    /// To be called before anything else uses the standard streams.
    pub fn take() -> io::Result<Self> {
        // The copies are closed in every program that is started from here.
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        dup2_stdin(File::open("/dev/null")?)?;
        dup2_stdout(io::stderr())?;
        Ok(Self {
            input: BlockingFile(input.into()),
            output: BlockingFile(output.into()),
        })
    }
}

/// A stream that waits, even where the client has set its end of it not to.
#[derive(Debug)]
pub(crate) struct BlockingFile(File);

impl BlockingFile {
    fn when_ready<T>(
        &mut self,
        wanted: PollFlags,
        mut attempt: impl FnMut(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(
                        &mut [PollFd::new(self.0.as_fd(), wanted)],
                        PollTimeout::NONE,
                    )?;
                }
                other => return other,
            }
        }
    }
}

impl Read for BlockingFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::POLLIN, |file| file.read(into))
    }
}

impl Write for BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::POLLOUT, |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
