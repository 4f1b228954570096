//! The archive as it comes from the asking side, for somebody who reads it on another thread.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

/// How many chunks are taken ahead of whoever unpacks them. A sender puts 256 KiB into one.
pub(crate) const AHEAD: usize = 4;

pub(crate) enum Piece {
    Data(Vec<u8>),
    /// All of it has come. Without this, the asking side has gone in the middle.
    End,
}

pub(crate) struct Input {
    pieces: mpsc::Receiver<Piece>,
    current: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Input {
    pub(crate) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self {
            pieces,
            current: Vec::new(),
            taken: 0,
            ended: false,
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken >= self.current.len() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => {
                    self.current = data;
                    self.taken = 0;
                }
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(self.current.get(self.taken..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
