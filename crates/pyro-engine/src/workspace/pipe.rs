//! Between a thread that packs or unpacks and the task that talks to the guest: a short queue of
//! chunks, so that the faster side waits for the slower one.
//!
//! A side that is dropped is noticed by the other: the packing thread fails with `BrokenPipe` at
//! its next chunk, the unpacking one sees the end of its input. Neither says whether the work was
//! complete; the result of the thread does.

use std::io::{self, Read, Write};

use pyro_wire::frame::BULK_CHUNK;
use tokio::sync::mpsc;

/// Chunks under way. A few are enough to keep both sides busy.
const QUEUE: usize = 4;

pub(crate) struct ChunkWriter {
    chunk: Vec<u8>,
    chunks: mpsc::Sender<Vec<u8>>,
}

impl ChunkWriter {
    /// The end for the thread that packs, and the one for the task that sends.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (chunks, queue) = mpsc::channel(QUEUE);
        let chunk = Vec::with_capacity(BULK_CHUNK);
        (Self { chunk, chunks }, queue)
    }
}

/// Blocks: not for a thread that runs tasks. What is not flushed is not sent.
impl Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = data.len().min(BULK_CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&data[..count]);
        if self.chunk.len() == BULK_CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(BULK_CHUNK));
        self.chunks
            .blocking_send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

pub(crate) struct ChunkReader {
    chunk: Vec<u8>,
    at: usize,
    chunks: mpsc::Receiver<Vec<u8>>,
}

impl ChunkReader {
    /// The end for the task that receives, and the one for the thread that unpacks.
    pub(crate) fn new() -> (mpsc::Sender<Vec<u8>>, Self) {
        let (queue, chunks) = mpsc::channel(QUEUE);
        let chunk = Vec::new();
        let at = 0;
        (queue, Self { chunk, at, chunks })
    }
}

/// Blocks: not for a thread that runs tasks.
impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.chunks.blocking_recv() {
                Some(chunk) => (self.chunk, self.at) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_a_gone_side_is_noticed() {
        let data: Vec<u8> = (0..3 * BULK_CHUNK + 5).map(|at| at as u8).collect();

        let (mut writer, mut queue) = ChunkWriter::new();
        let sent = data.clone();
        let packing = tokio::task::spawn_blocking(move || {
            writer.write_all(&sent)?;
            writer.flush()
        });
        let (onward, mut reader) = ChunkReader::new();
        let unpacking = tokio::task::spawn_blocking(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).map(|_| received)
        });
        while let Some(chunk) = queue.recv().await {
            onward.send(chunk).await.unwrap();
        }
        drop(onward);
        packing.await.unwrap().unwrap();
        assert_eq!(unpacking.await.unwrap().unwrap(), data);

        let (mut writer, queue) = ChunkWriter::new();
        drop(queue);
        let failed = tokio::task::spawn_blocking(move || writer.write_all(&data)).await;
        assert_eq!(
            failed.unwrap().unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
