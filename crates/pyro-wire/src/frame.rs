//! One frame: four bytes of length (little endian), one byte of kind, then the body.
//!
//! Reading never trusts the length: a frame above [`MAX_FRAME`] is an error before anything is
//! allocated for it.

use std::io::{self, IoSlice};
use std::slice::Chunks;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// The largest body of a frame, in bytes. Longer data is sent as several frames.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// How much raw data a sender puts into one frame, in bytes.
pub const DATA_CHUNK: usize = 64 * 1024;

/// How much of an archive a sender puts into one frame, in bytes: fewer hops, and still what a
/// processor's cache holds.
pub const BULK_CHUNK: usize = 256 * 1024;

const HEADER: usize = 5;

/// What the body of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A CBOR message.
    Message = 0,
    /// Bytes for the standard input of a guest process.
    Input = 1,
    /// Bytes from its standard output.
    Output = 2,
    /// Bytes from its standard error.
    ErrorOutput = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(Self::Message),
            1 => Ok(Self::Input),
            2 => Ok(Self::Output),
            3 => Ok(Self::ErrorOutput),
            other => Err(FrameError::UnknownKind { kind: other }),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection failed")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("the connection ended in the middle of a frame")]
    CutOff,
    #[error("the connection ended where a message was expected")]
    Ended,
    #[error("a frame of {length} bytes is above the limit of {MAX_FRAME}")]
    TooLarge { length: usize },
    #[error("a frame has the unknown kind {kind}")]
    UnknownKind { kind: u8 },
    #[error("raw data arrived where a message was expected")]
    NotAMessage,
    #[error("a message could not be understood: {reason}")]
    BadMessage { reason: String },
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub body: Vec<u8>,
}

impl Frame {
    /// Reads the body as a message.
    pub fn message<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        if self.kind != Kind::Message {
            return Err(FrameError::NotAMessage);
        }
        decode(&self.body)
    }
}

/// Reads one frame; `None` when the other side ended the connection between two frames.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, FrameError> {
    let mut header = [0_u8; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match from.read(&mut header[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(FrameError::CutOff),
            count => filled += count,
        }
    }
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge { length });
    }
    let kind = Kind::from_byte(header[4])?;
    let mut body = Vec::with_capacity(length);
    let mut rest = from.take(length as u64);
    while body.len() < length {
        if rest.read_buf(&mut body).await? == 0 {
            return Err(FrameError::CutOff);
        }
    }
    Ok(Some(Frame { kind, body }))
}

/// Reads one message, which must come.
pub async fn read_message<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<T, FrameError> {
    read(from).await?.ok_or(FrameError::Ended)?.message()
}

/// Writes one message.
pub async fn write_message<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    let body = encode(message)?;
    write_frame(to, Kind::Message, &body).await
}

/// Writes one message that holds secrets: no copy of it stays in this process's memory.
pub async fn write_wiped<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    let body = encode_wiped(message)?;
    let whole = Zeroizing::new(framed(Kind::Message, &body)?);
    to.write_all(&whole).await?;
    to.flush().await?;
    Ok(())
}

/// A message as bytes that are overwritten when they are dropped.
pub fn encode_wiped<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut length = Length(0);
    write_to(message, &mut length)?;
    // A buffer that grows leaves its content behind where it was before.
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    write_to(message, &mut *body)?;
    within_limit(&body)?;
    Ok(body)
}

/// A message from bytes.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    ciborium::from_reader(body).map_err(|error| FrameError::BadMessage {
        reason: error.to_string(),
    })
}

/// Counts what is written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes raw data, as several frames when it is long.
pub async fn write_data(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    data: &[u8],
) -> Result<(), FrameError> {
    write_chunks(to, kind, data.chunks(DATA_CHUNK)).await
}

/// The same for an archive.
pub async fn write_bulk(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    data: &[u8],
) -> Result<(), FrameError> {
    write_chunks(to, kind, data.chunks(BULK_CHUNK)).await
}

async fn write_chunks(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    chunks: Chunks<'_, u8>,
) -> Result<(), FrameError> {
    for chunk in chunks {
        write_frame(to, kind, chunk).await?;
    }
    Ok(())
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut body = Vec::new();
    write_to(message, &mut body)?;
    within_limit(&body)?;
    Ok(body)
}

fn write_to<T: Serialize>(message: &T, to: &mut impl io::Write) -> Result<(), FrameError> {
    ciborium::into_writer(message, to).map_err(|error| FrameError::BadMessage {
        reason: error.to_string(),
    })
}

fn within_limit(body: &[u8]) -> Result<(), FrameError> {
    match body.len() {
        0..=MAX_FRAME => Ok(()),
        length => Err(FrameError::TooLarge { length }),
    }
}

async fn write_frame(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    body: &[u8],
) -> Result<(), FrameError> {
    if !to.is_write_vectored() {
        to.write_all(&framed(kind, body)?).await?;
        to.flush().await?;
        return Ok(());
    }
    let header = header(kind, body)?;
    let mut sent = 0;
    while sent < HEADER {
        let parts = [IoSlice::new(&header[sent..]), IoSlice::new(body)];
        match to.write_vectored(&parts).await? {
            0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            count => sent += count,
        }
    }
    to.write_all(&body[sent - HEADER..]).await?;
    to.flush().await?;
    Ok(())
}

fn header(kind: Kind, body: &[u8]) -> Result<[u8; HEADER], FrameError> {
    let length =
        u32::try_from(body.len()).map_err(|_| FrameError::TooLarge { length: body.len() })?;
    let [one, two, three, four] = length.to_le_bytes();
    Ok([one, two, three, four, kind as u8])
}

/// Header and body in one, for one write: on the guest channel every write is an exit of the guest.
fn framed(kind: Kind, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut whole = Vec::with_capacity(HEADER + body.len());
    whole.extend_from_slice(&header(kind, body)?);
    whole.extend_from_slice(body);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_and_data_arrive_as_sent() {
        let mut wire = Vec::new();
        write_message(&mut wire, &("hello", 7)).await.unwrap();
        let data = vec![0xff; DATA_CHUNK + 1];
        write_data(&mut wire, Kind::Output, &data).await.unwrap();

        let mut reader = wire.as_slice();
        let message: (String, u32) = read_message(&mut reader).await.unwrap();
        assert_eq!(message, ("hello".into(), 7));
        let first = read(&mut reader).await.unwrap().unwrap();
        let second = read(&mut reader).await.unwrap().unwrap();
        assert_eq!((first.kind, first.body.len()), (Kind::Output, DATA_CHUNK));
        assert_eq!(second.body, [0xff]);
        assert!(read(&mut reader).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nonsense_is_refused_before_it_is_believed() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0];
        assert!(matches!(
            read(&mut huge.as_slice()).await,
            Err(FrameError::TooLarge { .. })
        ));
        let unknown = [0, 0, 0, 0, 9];
        assert!(matches!(
            read(&mut unknown.as_slice()).await,
            Err(FrameError::UnknownKind { kind: 9 })
        ));
        let cut = [5, 0, 0, 0, 2, b'a'];
        assert!(matches!(
            read(&mut cut.as_slice()).await,
            Err(FrameError::CutOff)
        ));
        let not_cbor = [2, 0, 0, 0, 0, 0xff, 0xff];
        assert!(matches!(
            read_message::<u32>(&mut not_cbor.as_slice()).await,
            Err(FrameError::BadMessage { .. })
        ));
    }
}
