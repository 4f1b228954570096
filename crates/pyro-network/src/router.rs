//! Where each packet of the guest goes: to the flow that it belongs to, or to a new one.
//!
//! This never waits for a flow. What a flow has no room for is lost, and sent again by those who
//! care.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::dns::Dns;
use crate::limits::{Limits, PINGS, UDP, buffers};
use crate::link::{self, Budget, Frames, Inbox, InboxSender, Link};
use crate::packet::{Content, Frame, Packet, Segment, datagram, parse};
use crate::policy::Policy;
use crate::tcp::{Context, HalfClosed, Options, is_name_server};
use crate::{neighbours, ping, tcp, udp};

/// Serves the guest until its end of the link is closed.
pub(crate) async fn run(link: OwnedFd, policy: Policy, limits: Limits) -> io::Result<()> {
    let (mut from_guest, to_guest) = link::open(link)?;
    let (link, outgoing) = Link::new();
    let writer = link::write(to_guest, outgoing);
    let mut router = Router::new(link, policy, limits);
    let reader = async {
        let mut frames = Frames::default();
        loop {
            tokio::select! {
                biased;
                Some(ended) = router.ended.recv() => router.flows.remove(&ended),
                more = from_guest.read(&mut frames) => {
                    if !more? {
                        return Ok(());
                    }
                    while let Some(frame) = frames.next() {
                        router.flows.route(frame);
                    }
                }
            }
        }
    };
    tokio::select! {
        read = reader => read,
        // A guest to which nothing can be sent has gone.
        _ = writer => Ok(()),
    }
}

/// What flows of the same kind differ in: a port or identifier of the guest, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Tcp(u16, SocketAddr),
    Udp(u16, SocketAddr),
    Echo(u16, IpAddr),
}

struct Router {
    flows: Flows,
    ended: mpsc::UnboundedReceiver<Ended>,
}

/// The flow of a key; a later one may have the same key.
#[derive(Clone, Copy)]
struct Ended {
    key: Key,
    number: u64,
}

struct Flows {
    context: Context,
    limits: Limits,
    budget: Budget,
    tcp: HashMap<Key, Flow>,
    udp: HashMap<Key, Flow>,
    echo: HashMap<Key, Flow>,
    /// How many there have been.
    count: u64,
    ended: mpsc::UnboundedSender<Ended>,
}

struct Flow {
    inbox: InboxSender,
    number: u64,
    /// When it was used last, counted in packets.
    used: u64,
    half_closed: HalfClosed,
    task: tokio::task::AbortHandle,
}

impl Router {
    fn new(link: Link, policy: Policy, limits: Limits) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        let context = Context {
            link,
            policy: Arc::new(policy),
            dns: Dns::new(),
        };
        let flows = Flows {
            context,
            limits,
            budget: Budget::default(),
            tcp: HashMap::new(),
            udp: HashMap::new(),
            echo: HashMap::new(),
            count: 0,
            ended: sender,
        };
        Self { flows, ended }
    }
}

impl Flows {
    fn route(&mut self, frame: &[u8]) {
        let link = &self.context.link;
        match parse(frame) {
            Some(Frame::Arp(question)) => {
                if let Some(answer) = neighbours::arp(&question) {
                    link.send_or_drop(answer);
                }
            }
            Some(Frame::Packet(packet)) => self.packet(&packet),
            None => {}
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        let context = self.context.clone();
        match packet.content {
            Content::Neighbour(content) => {
                if let Some(answer) = neighbours::discovery(packet, content) {
                    context.link.send_or_drop(answer);
                }
            }
            Content::Tcp { from, to, kind } => {
                self.segment(packet, from, SocketAddr::new(packet.to, to), kind);
            }
            Content::Udp { from, to, data } => {
                let to = SocketAddr::new(packet.to, to);
                if is_name_server(to) {
                    let link = context.link.clone();
                    return self.context.dns.ask(data, move |answer| {
                        if let Some(frame) = datagram(to, from, &answer) {
                            link.send_or_drop(frame);
                        }
                    });
                }
                let key = Key::Udp(from, to);
                self.put_or(key, packet, udp::INBOX, |inbox| {
                    udp::run(from, to, inbox, context)
                });
            }
            Content::Echo { id, number, data } => {
                let to = packet.to;
                if ping::is_router(to) {
                    if let Some(answer) = ping::answer(to, id, number, data) {
                        context.link.send_or_drop(answer);
                    }
                    return;
                }
                let key = Key::Echo(id, to);
                self.put_or(key, packet, ping::INBOX, |inbox| {
                    ping::run(id, to, inbox, context)
                });
            }
        }
    }

    fn segment(&mut self, packet: &Packet<'_>, from: u16, to: SocketAddr, kind: Segment) {
        let key = Key::Tcp(from, to);
        if let Some(flow) = self.tcp.get(&key) {
            return flow.inbox.put(packet.bytes);
        }
        match kind {
            Segment::Rst => {}
            Segment::Syn if is_host(to.ip()) && self.admits() => {
                let begin = packet.bytes.to_vec();
                let context = self.context.clone();
                let options = Options {
                    buffers: buffers(self.tcp.len()),
                    probe: self.limits.probe,
                    half_closed: HalfClosed::default(),
                };
                let half_closed = options.half_closed.clone();
                self.begin(key, tcp::INBOX, half_closed, |inbox| {
                    tcp::run(begin, to, inbox, options, context)
                });
            }
            Segment::Syn | Segment::Other => {
                if is_host(to.ip()) {
                    tcp::refuse(packet.bytes, to.ip(), &self.context.link);
                }
            }
        }
    }

    /// Whether there is a place for one more connection. Those that the guest has closed, and that
    /// nothing has come for since a while, give theirs.
    fn admits(&mut self) -> bool {
        if self.tcp.len() < self.limits.tcp {
            return true;
        }
        let half_closed = self.tcp.iter();
        let half_closed =
            half_closed.filter_map(|(key, flow)| Some((flow.half_closed.since()?, *key)));
        let Some((since, key)) = half_closed.min_by_key(|(since, _)| *since) else {
            return false;
        };
        if since.elapsed() < self.limits.quiet {
            return false;
        }
        if let Some(flow) = self.tcp.remove(&key) {
            flow.task.abort();
        }
        true
    }

    /// Gives a packet to its flow, which is begun when it is the first one.
    fn put_or<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        room: usize,
        serve: impl FnOnce(Inbox) -> F,
    ) {
        if !self.table(&key).contains_key(&key) {
            self.evict(&key);
            self.begin(key, room, HalfClosed::default(), serve);
        }
        self.count += 1;
        let used = self.count;
        if let Some(flow) = self.table(&key).get_mut(&key) {
            flow.used = used;
            flow.inbox.put(packet.bytes);
        }
    }

    /// Ends the flow that was used least recently, where there are too many.
    fn evict(&mut self, key: &Key) {
        let most = match key {
            Key::Tcp(..) => return,
            Key::Udp(..) => UDP,
            Key::Echo(..) => PINGS,
        };
        let table = self.table(key);
        if table.len() < most {
            return;
        }
        let oldest = table.iter().min_by_key(|(_, flow)| flow.used);
        if let Some(oldest) = oldest.map(|(key, _)| *key)
            && let Some(flow) = table.remove(&oldest)
        {
            flow.task.abort();
        }
    }

    fn begin<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        key: Key,
        room: usize,
        half_closed: HalfClosed,
        serve: impl FnOnce(Inbox) -> F,
    ) {
        self.count += 1;
        let number = self.count;
        let (sender, inbox) = Inbox::new(room, &self.budget);
        let (served, ended) = (serve(inbox), self.ended.clone());
        let task = tokio::spawn(async move {
            served.await;
            let _ = ended.send(Ended { key, number });
        });
        let flow = Flow {
            inbox: sender,
            number,
            used: number,
            half_closed,
            task: task.abort_handle(),
        };
        self.table(&key).insert(key, flow);
    }

    fn remove(&mut self, ended: &Ended) {
        let table = self.table(&ended.key);
        if table
            .get(&ended.key)
            .is_some_and(|flow| flow.number == ended.number)
        {
            table.remove(&ended.key);
        }
    }

    fn table(&mut self, key: &Key) -> &mut HashMap<Key, Flow> {
        match key {
            Key::Tcp(..) => &mut self.tcp,
            Key::Udp(..) => &mut self.udp,
            Key::Echo(..) => &mut self.echo,
        }
    }
}

/// Whether there can be somebody to connect to.
pub(crate) fn is_host(address: IpAddr) -> bool {
    let is_everybody = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !is_everybody && !address.is_multicast() && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    use pyro_wire::network::{
        Destination, Exception, GATEWAY_MAC, GATEWAY_V4, GUEST_MAC, GUEST_V4, Network,
    };
    use smoltcp::iface::{SocketHandle, SocketSet};
    use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// How long a guest that hears nothing may sleep.
    const TURN: Duration = Duration::from_millis(5);

    /// A kernel at the guest's end of a link, with the router at the other one.
    struct Guest {
        stack: tcp::Stack,
        sockets: SocketSet<'static>,
        link: UnixStream,
        frames: Frames,
        port: u16,
        /// Packets.
        heard: usize,
    }

    impl Guest {
        fn start(limits: Limits) -> Self {
            let (link, theirs) = UnixStream::pair().unwrap();
            let network = Network {
                allow: vec![Exception {
                    to: Destination::Block("127.0.0.1/32".into()),
                    port: None,
                }],
            };
            let theirs = OwnedFd::from(theirs.into_std().unwrap());
            tokio::spawn(run(theirs, Policy::new(&network).unwrap(), limits));
            Self {
                stack: tcp::Stack::new(GUEST_V4.into()).unwrap(),
                sockets: SocketSet::new(Vec::new()),
                link,
                frames: Frames::default(),
                port: 1024,
                heard: 0,
            }
        }

        fn connect(&mut self, port: u16) -> SocketHandle {
            let buffer = || SocketBuffer::new(vec![0; 4096]);
            let mut socket = Socket::new(buffer(), buffer());
            self.port += 1;
            let to = (GATEWAY_V4, port).into();
            self.stack.connect(&mut socket, to, self.port);
            self.sockets.add(socket)
        }

        fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
            self.sockets.get_mut(handle)
        }

        /// Lives until something is so.
        async fn until(&mut self, is_so: impl Fn(&mut Self) -> bool) {
            let until = async {
                let mut packets = Vec::new();
                loop {
                    let frames = self.stack.turn(packets, &mut self.sockets);
                    for mut frame in frames {
                        // It was made for the other direction.
                        let addresses = [GATEWAY_MAC, GUEST_MAC].concat();
                        frame[link::LENGTH..][..12].copy_from_slice(&addresses);
                        let frame = link::with_length(frame);
                        self.link.write_all(&frame).await.unwrap();
                    }
                    if is_so(self) {
                        return;
                    }
                    let _ = timeout(TURN, self.link.readable()).await;
                    let _ = self.link.try_read_buf(self.frames.room());
                    packets = Vec::new();
                    while let Some(frame) = self.frames.next() {
                        packets.push(frame[14..].to_vec());
                    }
                    self.heard += packets.len();
                }
            };
            timeout(LIMIT, until).await.unwrap();
        }

        async fn state(&mut self, handle: SocketHandle, wanted: State) {
            self.until(|guest| guest.socket(handle).state() == wanted)
                .await;
        }
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn end_of(host: &TcpStream) -> io::Result<usize> {
        use std::io::Read;
        host.set_read_timeout(Some(LIMIT)).unwrap();
        let mut host = host;
        host.read(&mut [0; 8])
    }

    #[tokio::test]
    async fn a_guest_that_closed_is_told_to_a_host_that_did_not() {
        let limits = Limits {
            tcp: 16,
            probe: Duration::from_millis(20),
            quiet: LIMIT,
        };
        let (listener, port) = listener();
        let mut guest = Guest::start(limits);
        let leaves = guest.connect(port);
        guest.state(leaves, State::Established).await;
        let (host, _) = listener.accept().unwrap();
        guest.socket(leaves).close();
        guest.state(leaves, State::FinWait2).await;
        assert_eq!(end_of(&host).unwrap(), 0);
        // It is still asked, and answers, for as long as its kernel knows of it.
        let until = guest.heard + 3;
        guest.until(|guest| guest.heard >= until).await;
        assert_eq!(guest.socket(leaves).state(), State::FinWait2);
        guest.sockets.remove(leaves);
        guest.until(|_| host.take_error().unwrap().is_some()).await;
    }

    #[tokio::test]
    async fn connections_that_the_guest_has_left_make_room_and_others_do_not() {
        let limits = Limits {
            tcp: 2,
            probe: LIMIT,
            quiet: Duration::ZERO,
        };
        let (listener, port) = listener();
        let mut guest = Guest::start(limits);
        let stays = guest.connect(port);
        let leaves = guest.connect(port);
        for one in [stays, leaves] {
            guest.state(one, State::Established).await;
        }
        let hosts = [listener.accept().unwrap(), listener.accept().unwrap()];
        let full = guest.connect(port);
        guest.state(full, State::Closed).await;
        guest.socket(leaves).close();
        guest.state(leaves, State::FinWait2).await;
        let later = guest.connect(port);
        guest.state(later, State::Established).await;
        assert_eq!(guest.socket(stays).state(), State::Established);
        drop(hosts);
    }

    #[tokio::test]
    async fn a_host_that_breaks_off_after_its_end_is_told_to_the_guest() {
        let limits = Limits {
            tcp: 16,
            probe: LIMIT,
            quiet: LIMIT,
        };
        let (listener, port) = listener();
        let mut guest = Guest::start(limits);
        let one = guest.connect(port);
        guest.state(one, State::Established).await;
        let (host, _) = listener.accept().unwrap();
        host.shutdown(std::net::Shutdown::Write).unwrap();
        guest.state(one, State::CloseWait).await;
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&host, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        drop(host);
        guest.state(one, State::Closed).await;
    }
}
