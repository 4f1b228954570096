//! The link: frames on a byte stream, as QEMU's `stream` network device speaks it. A length of four
//! bytes, most significant first, and then so many bytes. Or a device, which takes and gives a frame
//! at each call: then the length is put before it here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::limits::{WAITING_BYTES, WAITING_FRAMES};

pub(crate) const LENGTH: usize = 4;

/// No packet is longer; QEMU takes no longer one either.
const MAX_FRAME: usize = 68 * 1024;

/// Read at once.
const CHUNK: usize = 256 * 1024;

/// Takes a stream apart. What is too long to be a frame is skipped.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    unread: Vec<u8>,
    begin: usize,
    /// Bytes of an overlong frame that are still to come.
    skip: usize,
}

impl Frames {
    /// The next whole frame, if there is one.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let waiting = self.unread.len() - self.begin;
            if self.skip > 0 {
                let now = self.skip.min(waiting);
                self.begin += now;
                self.skip -= now;
                if self.skip > 0 {
                    return None;
                }
                continue;
            }
            let rest = &self.unread[self.begin..];
            let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_FRAME {
                self.begin += LENGTH;
                self.skip = length;
                continue;
            }
            if rest.len() < length {
                return None;
            }
            let from = self.begin + LENGTH;
            self.begin = from + length;
            return Some(&self.unread[from..from + length]);
        }
    }

    /// Where the next bytes of the stream go.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        self.unread.drain(..self.begin);
        self.begin = 0;
        self.unread.reserve(CHUNK);
        &mut self.unread
    }
}

/// Where frames of the guest come from.
pub(crate) enum Reader {
    Stream(OwnedReadHalf),
    Device(Arc<AsyncFd<OwnedFd>>),
}

/// Where frames for the guest go.
pub(crate) enum Writer {
    Stream(OwnedWriteHalf),
    Device(Arc<AsyncFd<OwnedFd>>),
}

/// Takes the two directions of a descriptor that does not block: a Unix stream, or a device such as
/// a tap interface.
pub(crate) fn open(link: OwnedFd) -> io::Result<(Reader, Writer)> {
    let socket = getsockname::<SockaddrStorage>(link.as_raw_fd());
    if socket.is_ok_and(|name| name.family() == Some(AddressFamily::Unix)) {
        let stream = UnixStream::from_std(net::UnixStream::from(link))?;
        let (reader, writer) = stream.into_split();
        return Ok((Reader::Stream(reader), Writer::Stream(writer)));
    }
    // SAFETY: the descriptor is owned here, and nobody else closes it or puts another in its place.
    let device = Arc::new(unsafe { AsyncFd::register(link) }?);
    Ok((Reader::Device(Arc::clone(&device)), Writer::Device(device)))
}

impl Reader {
    /// Reads more; false at the end. May be dropped and asked again.
    pub(crate) async fn read(&mut self, frames: &mut Frames) -> io::Result<bool> {
        match self {
            Self::Stream(stream) => Ok(stream.read_buf(frames.room()).await? > 0),
            Self::Device(device) => {
                let room = frames.room();
                let read = device.async_io(Interest::READABLE, |device| {
                    read_frames(device.as_fd(), room)
                });
                match read.await {
                    Ok(()) => Ok(true),
                    // The interface has gone, and the guest with it.
                    Err(error) if is_gone(&error) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Appends what a device has now, as a stream would bring it. Blocks only if there is nothing.
fn read_frames(device: BorrowedFd<'_>, room: &mut Vec<u8>) -> io::Result<()> {
    let mut any = false;
    while room.len() + LENGTH + MAX_FRAME <= CHUNK {
        let begin = room.len();
        room.resize(begin + LENGTH + MAX_FRAME, 0);
        let read = nix::unistd::read(device, &mut room[begin + LENGTH..]);
        let length = *read.as_ref().unwrap_or(&0);
        room.truncate(begin + if length > 0 { LENGTH + length } else { 0 });
        match read {
            Ok(0) => {
                return if any {
                    Ok(())
                } else {
                    Err(Errno::ENETDOWN.into())
                };
            }
            Ok(length) => {
                let length = u32::try_from(length).unwrap_or_default();
                room[begin..begin + LENGTH].copy_from_slice(&length.to_be_bytes());
                any = true;
            }
            Err(Errno::EINTR) => {}
            Err(_) if any => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [
        Errno::ENETDOWN,
        Errno::ENODEV,
        Errno::ENXIO,
        Errno::EBADFD,
        Errno::EIO,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| gone.contains(&Errno::from_raw(code)))
}

/// The way back to the guest. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Link {
    frames: mpsc::Sender<Vec<u8>>,
}

impl Link {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (frames, outgoing) = mpsc::channel(WAITING_FRAMES);
        (Self { frames }, outgoing)
    }

    /// Sends a frame, [`LENGTH`] bytes of room at its beginning, when its turn comes.
    pub(crate) async fn send(&self, frame: Vec<u8>) {
        // Without anybody to write it the process is ending.
        let _ = self.frames.send(with_length(frame)).await;
    }

    /// Sends a frame that may get lost when the link is busy.
    pub(crate) fn send_or_drop(&self, frame: Vec<u8>) {
        let _ = self.frames.try_send(with_length(frame));
    }
}

pub(crate) fn with_length(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len().saturating_sub(LENGTH)).unwrap_or_default();
    if let Some(room) = frame.first_chunk_mut::<LENGTH>() {
        *room = length.to_be_bytes();
    }
    frame
}

/// Writes what was sent, until the guest has gone.
pub(crate) async fn write(to: Writer, mut outgoing: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut batch = Vec::with_capacity(WAITING_FRAMES);
    while outgoing.recv_many(&mut batch, WAITING_FRAMES).await > 0 {
        match &to {
            Writer::Stream(stream) => write_all(stream, &batch).await?,
            Writer::Device(device) => write_each(device, &batch).await?,
        }
        batch.clear();
    }
    Ok(())
}

/// A frame at each call. One that the device has no room for, or finds no frame, is lost, as on any
/// network.
async fn write_each(device: &AsyncFd<OwnedFd>, batch: &[Vec<u8>]) -> io::Result<()> {
    for frame in batch {
        let frame = frame.get(LENGTH..).unwrap_or_default();
        let written = device.async_io(Interest::WRITABLE, |device| {
            Ok(nix::unistd::write(device, frame)?)
        });
        match written.await {
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

async fn write_all(to: &OwnedWriteHalf, batch: &[Vec<u8>]) -> io::Result<()> {
    let mut slices: Vec<io::IoSlice<'_>> = batch.iter().map(|f| io::IoSlice::new(f)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => io::IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Packets on their way to one flow, counted with those of all others.
pub(crate) struct Inbox {
    packets: mpsc::Receiver<Waiting>,
}

#[derive(Clone)]
pub(crate) struct InboxSender {
    packets: mpsc::Sender<Waiting>,
    budget: Budget,
}

/// How many bytes wait for all flows together.
#[derive(Clone, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

struct Waiting {
    bytes: Vec<u8>,
    budget: Budget,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.budget
            .0
            .fetch_sub(self.bytes.capacity(), Ordering::Relaxed);
    }
}

impl Inbox {
    pub(crate) fn new(packets: usize, budget: &Budget) -> (InboxSender, Self) {
        let (sender, receiver) = mpsc::channel(packets);
        let sender = InboxSender {
            packets: sender,
            budget: budget.clone(),
        };
        (sender, Self { packets: receiver })
    }

    /// The next packet. `None` when the guest has gone. May be dropped and asked again.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.packets.recv().await.map(taken)
    }

    pub(crate) fn next_now(&mut self) -> Option<Vec<u8>> {
        self.packets.try_recv().ok().map(taken)
    }
}

fn taken(mut waiting: Waiting) -> Vec<u8> {
    waiting
        .budget
        .0
        .fetch_sub(waiting.bytes.capacity(), Ordering::Relaxed);
    // What is dropped here counts nothing any more.
    std::mem::take(&mut waiting.bytes)
}

impl InboxSender {
    /// Puts a packet into the box, or loses it where there is no room.
    pub(crate) fn put(&self, packet: &[u8]) {
        let Ok(place) = self.packets.try_reserve() else {
            return;
        };
        let bytes = packet.to_vec();
        let size = bytes.capacity();
        let before = self.budget.0.fetch_add(size, Ordering::Relaxed);
        let waiting = Waiting {
            bytes,
            budget: self.budget.clone(),
        };
        if before + size <= WAITING_BYTES {
            place.send(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend((frame.len() as u32).to_be_bytes());
            bytes.extend(frame);
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_they_arrive(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cuts in prop::collection::vec(1..50usize, 1..200),
        ) {
            let bytes = stream(&frames);
            let mut parser = Frames::default();
            let (mut found, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                parser.room().extend(now);
                rest = later;
                while let Some(frame) = parser.next() {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(found, frames);
        }
    }

    #[test]
    fn an_overlong_frame_is_skipped() {
        let frames = [vec![1; 10], vec![2; 300_000], vec![3; 10]];
        let bytes = stream(&frames);
        let mut parser = Frames::default();
        let mut found = Vec::new();
        for chunk in bytes.chunks(70_000) {
            parser.room().extend(chunk);
            while let Some(frame) = parser.next() {
                found.push(frame.to_vec());
            }
        }
        assert_eq!(found, [frames[0].clone(), frames[2].clone()]);
    }

    /// A connected UDP socket takes and gives a message at each call, as a tap interface does.
    #[tokio::test]
    async fn a_device_gives_and_takes_a_frame_at_a_time() {
        let ends = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let [guest, ours] = &ends;
        guest.connect(ours.local_addr().unwrap()).unwrap();
        ours.connect(guest.local_addr().unwrap()).unwrap();
        for end in &ends {
            end.set_nonblocking(true).unwrap();
        }
        let (mut reader, writer) = open(ours.try_clone().unwrap().into()).unwrap();
        let sent: Vec<Vec<u8>> = (1..=9u8).map(|n| vec![n; usize::from(n) * 100]).collect();
        for frame in &sent {
            assert_eq!(guest.send(frame).unwrap(), frame.len());
        }
        let (mut parser, mut found) = (Frames::default(), Vec::new());
        while found.len() < sent.len() {
            assert!(reader.read(&mut parser).await.unwrap());
            while let Some(frame) = parser.next() {
                found.push(frame.to_vec());
            }
        }
        assert_eq!(found, sent);

        let (link, outgoing) = Link::new();
        let writer = tokio::spawn(write(writer, outgoing));
        let long = vec![0; MAX_FRAME];
        for frame in sent.iter().chain([&long]) {
            link.send([&[0; LENGTH], &frame[..]].concat()).await;
        }
        drop(link);
        // What is too long for it is lost, and nothing else.
        writer.await.unwrap().unwrap();
        let mut frame = vec![0; MAX_FRAME];
        for sent in &sent {
            let length = guest.recv(&mut frame).unwrap();
            assert_eq!(&frame[..length], sent);
        }
        assert!(guest.recv(&mut frame).is_err());
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let budget = Budget::default();
        let (sender, mut inbox) = Inbox::new(4096, &budget);
        for _ in 0..4096 {
            sender.put(&[0; 65_536]);
        }
        assert_eq!(budget.0.load(Ordering::Relaxed), WAITING_BYTES);
        assert_eq!(inbox.next().await.map(|packet| packet.len()), Some(65_536));
        drop(inbox);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
