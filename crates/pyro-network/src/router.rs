//! Where each packet of the guest goes: to the flow that it belongs to, or to a new one.
//!
//! This never waits for a flow. What a flow has no room for is lost, and sent again by those who
//! care.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::cable::{self, Budget, Cable, Frames, Inbox, InboxSender};
use crate::dns::Dns;
use crate::limits::{ECHO, Limits, UDP, buffers};
use crate::packet::{Content, Frame, Packet, Segment, datagram, understand};
use crate::policy::Policy;
use crate::tcp::{Surroundings, is_name_server};
use crate::{echo, neighbours, tcp, udp};

/// Serves the guest until its end of the cable is closed.
pub(crate) async fn run(cable: UnixStream, policy: Policy, limits: Limits) -> io::Result<()> {
    let (mut from_guest, to_guest) = cable.into_split();
    let (cable, outgoing) = Cable::new();
    let writer = cable::write(to_guest, outgoing);
    let mut router = Router::new(cable, policy, limits);
    let reader = async {
        let mut frames = Frames::default();
        loop {
            tokio::select! {
                biased;
                Some(ended) = router.ended.recv() => router.flows.remove(&ended),
                more = cable::read(&mut from_guest, &mut frames) => {
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
    around: Surroundings,
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
    task: tokio::task::AbortHandle,
}

impl Router {
    fn new(cable: Cable, policy: Policy, limits: Limits) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        let around = Surroundings {
            cable,
            policy: Arc::new(policy),
            dns: Dns::new(),
        };
        let flows = Flows {
            around,
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
        let cable = &self.around.cable;
        match understand(frame) {
            Some(Frame::Arp(question)) => {
                if let Some(answer) = neighbours::arp(&question) {
                    cable.send_or_lose(answer);
                }
            }
            Some(Frame::Packet(packet)) => self.packet(&packet),
            None => {}
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        let around = self.around.clone();
        match packet.content {
            Content::Neighbour(content) => {
                if let Some(answer) = neighbours::discovery(packet, content) {
                    around.cable.send_or_lose(answer);
                }
            }
            Content::Tcp { from, to, kind } => {
                self.segment(packet, from, SocketAddr::new(packet.to, to), kind);
            }
            Content::Udp { from, to, data } => {
                let to = SocketAddr::new(packet.to, to);
                if is_name_server(to) {
                    let cable = around.cable.clone();
                    return self.around.dns.ask(data, move |answer| {
                        if let Some(frame) = datagram(to, from, &answer) {
                            cable.send_or_lose(frame);
                        }
                    });
                }
                let key = Key::Udp(from, to);
                self.put_or(key, packet, udp::INBOX, |inbox| {
                    udp::run(from, to, inbox, around)
                });
            }
            Content::Echo { id, number, data } => {
                let to = packet.to;
                if echo::is_router(to) {
                    if let Some(answer) = echo::answer(to, id, number, data) {
                        around.cable.send_or_lose(answer);
                    }
                    return;
                }
                let key = Key::Echo(id, to);
                self.put_or(key, packet, echo::INBOX, |inbox| {
                    echo::run(id, to, inbox, around)
                });
            }
        }
    }

    fn segment(&mut self, packet: &Packet<'_>, from: u16, to: SocketAddr, kind: Segment) {
        let key = Key::Tcp(from, to);
        if let Some(flow) = self.tcp.get(&key) {
            return flow.inbox.put(packet.bytes);
        }
        let is_full = self.tcp.len() >= self.limits.tcp;
        match kind {
            Segment::Reset => {}
            Segment::Begin if !is_full && is_host(to.ip()) => {
                let begin = packet.bytes.to_vec();
                let around = self.around.clone();
                let buffers = buffers(self.tcp.len());
                self.begin(key, tcp::INBOX, |inbox| {
                    tcp::run(begin, to, inbox, buffers, around)
                });
            }
            Segment::Begin | Segment::Other => {
                if is_host(to.ip()) {
                    tcp::refuse(packet.bytes, to.ip(), &self.around.cable);
                }
            }
        }
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
            self.make_room(&key);
            self.begin(key, room, serve);
        }
        self.count += 1;
        let used = self.count;
        if let Some(flow) = self.table(&key).get_mut(&key) {
            flow.used = used;
            flow.inbox.put(packet.bytes);
        }
    }

    /// Ends the flow that was used least recently, where there are too many.
    fn make_room(&mut self, key: &Key) {
        let most = match key {
            Key::Tcp(..) => return,
            Key::Udp(..) => UDP,
            Key::Echo(..) => ECHO,
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
