//! One connection of the guest's: here is its other end, and behind it a socket of the host.
//!
//! ```text
//! first segment ▶ policy ▶ connect() ▶ handshake with the guest ▶ bytes both ways ▶ over
//!                   │          │
//!                   ▼          ▼
//!               prohibited   refused, no route, nobody there: the guest hears which
//! ```
//!
//! The guest's handshake waits for the host's: a guest sees of the outside what the host sees.
//! Each connection has a TCP/IP stack for itself (smoltcp), so that what one of them does costs the
//! others nothing, however many there are; and each waits for its two ends by itself, so that a slow
//! reader on one end slows its own other end and nobody else.
//!
//! A guest that closes looks like one that has no more to say and goes on listening. So it is asked
//! every now and then, and its kernel answers with a reset where nobody listens any more. The other
//! side is asked by keep-alive.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use pyro_wire::connection::keep_alive;
use pyro_wire::network::MTU;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpCidr, IpListenEndpoint};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::dns::{self, Dns};
use crate::icmp::{self, Reason};
use crate::link::{Inbox, Link};
use crate::packet::{Content, HEADER, Packet, Segment, parse_packet, write_header};
use crate::policy::Policy;

/// How long a host may take to answer; the guest's own patience is often shorter.
const CONNECT: Duration = Duration::from_secs(60);

/// How long the guest may take to finish its handshake, and to close when both ends are done.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Packets of the guest that may wait for one connection.
pub(crate) const INBOX: usize = 256;

/// Packets taken from the inbox before their effects are looked at.
const BATCH: usize = 32;

/// So that a stack which believes that it has something to do at once does not keep the processor.
const SHORT: Duration = Duration::from_millis(1);

/// What every flow shares.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) link: Link,
    pub(crate) policy: Arc<Policy>,
    pub(crate) dns: Dns,
}

/// Since when nothing has moved on a connection that the guest has half closed.
#[derive(Clone, Default)]
pub(crate) struct HalfClosed(Arc<Mutex<Option<Instant>>>);

impl HalfClosed {
    fn set(&self, since: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of this process one connection may take.
#[derive(Clone)]
pub(crate) struct Options {
    /// Bytes from the guest, bytes to the guest.
    pub(crate) buffers: (usize, usize),
    pub(crate) probe: Duration,
    pub(crate) half_closed: HalfClosed,
}

/// Serves one connection to its end. `begin` is the packet that it began with.
pub(crate) async fn run(
    begin: Vec<u8>,
    to: SocketAddr,
    mut inbox: Inbox,
    options: Options,
    context: Context,
) {
    let remote = tokio::select! {
        remote = reach(to, &context) => remote,
        () = aborted(&mut inbox) => return,
    };
    let remote = match remote {
        Ok(remote) => remote,
        Err(why) => return tell(&begin, why, &context.link),
    };
    let Some(mut connection) = Connection::new(to.ip(), to.port(), options, remote) else {
        return;
    };
    connection.device.incoming.push_back(begin);
    connection.serve(&mut inbox, &context.link).await;
}

/// Refuses a packet that belongs to no connection, as TCP does.
pub(crate) fn refuse(packet: &[u8], to: IpAddr, link: &Link) {
    let mut device = QueueDevice::default();
    let Some(mut interface) = interface(to, &mut device) else {
        return;
    };
    device.incoming.push_back(packet.to_vec());
    interface.poll(
        now(Instant::now()),
        &mut device,
        &mut SocketSet::new(Vec::new()),
    );
    for frame in device.outgoing {
        link.send_or_drop(frame);
    }
}

/// The stack of one connection, by itself.
#[cfg(any(feature = "fuzzing", test))]
pub(crate) struct Stack(QueueDevice, Interface);

#[cfg(any(feature = "fuzzing", test))]
impl Stack {
    pub(crate) fn new(address: IpAddr) -> Option<Self> {
        let mut device = QueueDevice::default();
        let interface = interface(address, &mut device)?;
        Some(Self(device, interface))
    }

    /// Takes packets in, and gives the frames that it answers or has to send besides.
    #[cfg(test)]
    pub(crate) fn turn(
        &mut self,
        packets: Vec<Vec<u8>>,
        sockets: &mut SocketSet<'_>,
    ) -> Vec<Vec<u8>> {
        let Self(device, interface) = self;
        device.incoming.extend(packets);
        interface.poll(now(Instant::now()), device, sockets);
        std::mem::take(&mut device.outgoing)
    }

    #[cfg(test)]
    pub(crate) fn connect(&mut self, socket: &mut Socket<'_>, to: SocketAddr, from: u16) {
        socket.connect(self.1.context(), to, from).unwrap();
    }

    /// Takes a packet in, and throws away what it answers.
    pub(crate) fn take(&mut self, packet: Vec<u8>, sockets: &mut SocketSet<'_>) {
        let Self(device, interface) = self;
        device.incoming.push_back(packet);
        interface.poll(now(Instant::now()), device, sockets);
        device.outgoing.clear();
    }
}

/// The host's end of a connection.
enum Remote {
    Host(TcpStream),
    /// The name server, which is in this process.
    Dns(UnixStream),
}

enum Failed {
    Refused,
    Unreachable(Reason),
}

async fn reach(to: SocketAddr, context: &Context) -> Result<Remote, Failed> {
    if is_name_server(to) {
        let (ours, theirs) = UnixStream::pair().map_err(|_| Failed::Refused)?;
        let dns = context.dns.clone();
        tokio::spawn(async move { dns.serve(theirs).await });
        return Ok(Remote::Dns(ours));
    }
    let target = context.policy.authorize(to).await;
    let target = target.map_err(|_| Failed::Unreachable(Reason::Prohibited))?;
    match timeout(CONNECT, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            // The guest's own stack has thought about how to cut its bytes already.
            let _ = stream.set_nodelay(true);
            let _ = keep_alive(&stream);
            Ok(Remote::Host(stream))
        }
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::NetworkUnreachable => Failed::Unreachable(Reason::NoRoute),
            io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => {
                Failed::Unreachable(Reason::NoHost)
            }
            _ => Failed::Refused,
        }),
        Err(_) => Err(Failed::Unreachable(Reason::NoHost)),
    }
}

pub(crate) fn is_name_server(to: SocketAddr) -> bool {
    to.ip() == IpAddr::V4(pyro_wire::network::GATEWAY_V4) && to.port() == dns::PORT
}

/// Resolves when the guest wants the connection no more. What else it says before there is one is
/// a repetition.
async fn aborted(inbox: &mut Inbox) {
    while let Some(packet) = inbox.next().await {
        let content = parse_packet(&packet).map(|packet: Packet<'_>| packet.content);
        if let Some(Content::Tcp {
            kind: Segment::Rst, ..
        }) = content
        {
            return;
        }
    }
}

fn tell(begin: &[u8], why: Failed, link: &Link) {
    match why {
        Failed::Refused => {
            if let Some(packet) = parse_packet(begin) {
                refuse(begin, packet.to, link);
            }
        }
        Failed::Unreachable(why) => {
            if let Some(frame) = icmp::unreachable(begin, why) {
                link.send_or_drop(frame);
            }
        }
    }
}

struct Connection {
    device: QueueDevice,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    remote: Remote,
    probe: Duration,
    half_closed: HalfClosed,
    /// The host will send no more.
    host_done: bool,
    /// The host was told that the guest will send no more.
    guest_done: bool,
    began: Instant,
}

/// What came of moving bytes.
enum Moved {
    Some,
    None,
    /// The host broke the connection off.
    Broken,
}

impl Connection {
    fn new(address: IpAddr, port: u16, options: Options, remote: Remote) -> Option<Self> {
        let mut device = QueueDevice::default();
        let interface = interface(address, &mut device)?;
        let (from_guest, to_guest) = options.buffers;
        let buffer = |size| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(buffer(from_guest), buffer(to_guest));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let endpoint = IpListenEndpoint {
            addr: Some(address.into()),
            port,
        };
        socket.listen(endpoint).ok()?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        Some(Self {
            device,
            interface,
            sockets,
            socket,
            remote,
            probe: options.probe,
            half_closed: options.half_closed,
            host_done: false,
            guest_done: false,
            began: Instant::now(),
        })
    }

    async fn serve(&mut self, inbox: &mut Inbox, link: &Link) {
        let mut handshake_until = Some(self.began + HANDSHAKE);
        loop {
            self.interface
                .poll(now(self.began), &mut self.device, &mut self.sockets);
            let spoke = !self.device.outgoing.is_empty();
            for frame in self.device.outgoing.drain(..) {
                // Here a guest that does not read slows the host down.
                link.send(frame).await;
            }
            let moved = self.exchange();
            let socket = self.socket();
            match socket.state() {
                // Whatever the guest refused, it is over; `Listen` is what comes of a handshake
                // that was broken off.
                State::Closed | State::Listen => {
                    if !(self.host_done && self.guest_done) {
                        self.reset_host();
                    }
                    return;
                }
                State::TimeWait => return,
                State::SynReceived => {}
                _ if self.host_done && self.guest_done => {
                    handshake_until.get_or_insert_with(|| Instant::now() + HANDSHAKE);
                }
                _ => handshake_until = None,
            }
            match moved {
                Moved::Some => continue,
                Moved::None => {}
                Moved::Broken => {
                    self.socket().abort();
                    continue;
                }
            }
            let delay = self.interface.poll_delay(now(self.began), &self.sockets);
            let delay = delay.map(|delay| Duration::from_micros(delay.total_micros()));
            let next = match delay {
                Some(Duration::ZERO) if spoke => continue,
                Some(delay) => Some(Instant::now() + delay.max(SHORT)),
                None => None,
            };
            let (wants_input, wants_output) = (self.wants_input(), self.wants_output());
            let at = |until: Option<Instant>| async move {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                packet = inbox.next() => match packet {
                    Some(packet) => {
                        self.device.incoming.push_back(packet);
                        while self.device.incoming.len() < BATCH
                            && let Some(packet) = inbox.next_now()
                        {
                            self.device.incoming.push_back(packet);
                        }
                    }
                    // The guest has gone.
                    None => return,
                },
                broken = self.remote.ready(wants_input, wants_output, self.host_done) => {
                    if broken {
                        self.socket().abort();
                    }
                }
                () = at(next) => {}
                () = at(handshake_until) => {
                    self.socket().abort();
                    handshake_until = None;
                }
            }
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn wants_input(&mut self) -> bool {
        !self.host_done && self.socket().can_send()
    }

    fn wants_output(&mut self) -> bool {
        !self.guest_done && self.socket().can_recv()
    }

    /// Moves what can be moved at once.
    fn exchange(&mut self) -> Moved {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let mut moved = Moved::None;
        while !self.guest_done && socket.can_recv() {
            let written = socket.recv(|bytes| match self.remote.try_write(bytes) {
                Ok(written) => (written, Ok(written)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(1..)) => moved = Moved::Some,
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => return Moved::Broken,
            }
        }
        let finished = !matches!(
            socket.state(),
            State::Listen | State::SynReceived | State::Closed
        ) && !socket.may_recv();
        if finished && !self.guest_done {
            self.guest_done = true;
            self.remote.end();
            self.half_closed.set(Instant::now());
            socket.set_keep_alive(Some(self.probe.into()));
        }
        while !self.host_done && socket.can_send() {
            let read = socket.send(|room| match self.remote.try_read(room) {
                Ok(read) => (read, Ok(read)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    self.host_done = true;
                    socket.close();
                    moved = Moved::Some;
                }
                Ok(Ok(_)) => moved = Moved::Some,
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => return Moved::Broken,
            }
        }
        if self.guest_done && matches!(moved, Moved::Some) {
            self.half_closed.set(Instant::now());
        }
        moved
    }

    /// The guest broke off, so the host hears the same.
    fn reset_host(&self) {
        if let Remote::Host(stream) = &self.remote {
            let _ = stream.set_zero_linger();
        }
    }
}

impl Remote {
    fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Host(stream) => stream.try_read(room),
            Self::Dns(stream) => stream.try_read(room),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Host(stream) => stream.try_write(bytes),
            Self::Dns(stream) => stream.try_write(bytes),
        }
    }

    /// No more bytes will come from the guest.
    fn end(&self) {
        let socket = match self {
            Self::Host(stream) => stream.as_raw_fd(),
            Self::Dns(stream) => stream.as_raw_fd(),
        };
        // A host that has gone meanwhile is noticed by reading.
        let _ = shutdown(socket, Shutdown::Write);
    }

    /// Resolves when there may be something to do; says whether the host has broken off. Where there is
    /// still something to read, reading tells that, after what came before.
    async fn ready(&self, input: bool, output: bool, all_read: bool) -> bool {
        let wanted = [
            (input, Interest::READABLE),
            (output, Interest::WRITABLE),
            (all_read, Interest::ERROR),
        ];
        let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
        let Some(interest) = wanted.map(|(_, one)| one).reduce(Interest::add) else {
            return std::future::pending().await;
        };
        let ready = match self {
            Self::Host(stream) => stream.ready(interest).await,
            Self::Dns(stream) => stream.ready(interest).await,
        };
        // What else is wrong, if something is, the next attempt tells.
        all_read && ready.is_ok_and(|ready| ready.is_error())
    }
}

fn interface(address: IpAddr, device: &mut QueueDevice) -> Option<Interface> {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = RandomState::new().hash_one(0);
    let mut interface = Interface::new(config, device, now(Instant::now()));
    let mut added = false;
    // Every address is near: there is only the guest at the other end.
    interface.update_ip_addrs(|addresses| {
        added = addresses.push(IpCidr::new(address.into(), 0)).is_ok();
    });
    added.then_some(interface)
}

fn now(since: Instant) -> smoltcp::time::Instant {
    let micros = since.elapsed().as_micros();
    smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The network device of one connection: packets of the guest in, frames to it out.
#[derive(Default)]
struct QueueDevice {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

struct Incoming(Vec<u8>);

struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl Device for QueueDevice {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(MTU);
        // Nothing on the link changes a bit; the guest looks anyway.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; HEADER + length];
        let result = fill(&mut frame[HEADER..]);
        let is_v4 = frame.get(HEADER).is_some_and(|first| first >> 4 == 4);
        write_header(&mut frame, is_v4);
        self.0.push(frame);
        result
    }
}
