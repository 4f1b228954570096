//! The files of a chain of folders, by a process that answers what is asked of them.

use std::io::{self, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

use pyro_api::Error;
use pyro_disk::Tree;
use pyro_namespace::Child;

use super::helper::{Helper, SILENCE};
use super::inside::SERVE;
use super::report::Report;
use crate::error::namespaces_refused;

impl Helper {
    /// Folders on one another, top first, as one tree; its paths begin at `root`, an absolute path in there.
    /// Blocks. The process ends with the tree, and with the calling thread.
    pub(crate) fn serve<'a>(
        &self,
        folders: impl IntoIterator<Item = &'a Path>,
        root: &'a Path,
    ) -> Result<Tree, Error> {
        let line = || {
            let (own, other) = UnixStream::pair()?;
            own.set_read_timeout(Some(SILENCE))?;
            own.set_write_timeout(Some(SILENCE))?;
            Ok((own.try_clone()?, own, other.try_clone()?, other))
        };
        let (to, from, stdin, stdout) = line().map_err(|error| self.failed(&error))?;
        let mut program = self.program(SERVE, std::iter::once(root).chain(folders));
        program.stdin(stdin).stdout(stdout);
        let child = program.start(&self.ids).map_err(namespaces_refused)?;
        // It holds the other end.
        drop(program);
        let mut from = BufReader::new(from);
        match self.next(&mut from, SERVE, || false)? {
            Report::Ready => Ok(Tree::served(
                to,
                Answers {
                    from,
                    _child: child,
                },
            )),
            _ => Err(self.garbled()),
        }
    }
}

/// What comes from the process, which is killed and collected when this is dropped.
struct Answers {
    from: BufReader<UnixStream>,
    _child: Child,
}

impl Read for Answers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.read(buffer)
    }
}
