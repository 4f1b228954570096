//! A host of its own for one test, and a world outside of it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Says hello, and does what is asked (see [`serve`]).
pub(crate) const PORT: u16 = 7777;

/// Keeps connections without a word.
pub(crate) const HOLD: u16 = 7778;

const DNS: u16 = 53;

/// How soon a thread notices that the test is over.
const TICK: Duration = Duration::from_millis(50);

/// What the host itself is called. The first is on its link, the second on no interface at all.
pub(crate) const HOST: [&str; 3] = ["203.0.113.1", "198.51.100.77", "2001:db8:9::1"];

/// A block that a route gives to the host, without an address of it on any interface.
const HOSTS_BLOCK: &str = "198.51.100.0/24";

/// Everything there is outside.
const OUTSIDE: &[&str] = &[
    "203.0.113.9/24",
    "100.64.0.9/32",
    "198.18.0.9/32",
    "192.88.99.9/32",
    "10.9.9.9/32",
    "10.9.9.10/32",
    "10.9.9.53/32",
    "172.16.9.9/32",
    "192.168.9.9/32",
    "169.254.169.254/32",
    "2001:db8:9::9/64",
    "fd00:9::9/128",
    "fd00:ec2::254/128",
    "64:ff9b::a09:909/128",
    "64:ff9b::203.0.113.9/128",
    "2002:a09:909::9/128",
];

/// What the name server there says; the host's own `/etc/hosts` has another one.
const NAMES: &[(&str, [u8; 4])] = &[
    ("outside.test", [203, 0, 113, 9]),
    ("inside.test", [10, 9, 9, 9]),
    ("allowed.test", [10, 9, 9, 10]),
];

pub(crate) const ONLY_IN_HOSTS: &str = "secret.test";

/// In a private range, as on many hosts.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 53);

const CONFIGURATION: &str = "nameserver 10.9.9.53\n";

/// What arrived: protocol and address.
type Seen = Arc<Mutex<HashMap<(u8, IpAddr), u64>>>;

pub(crate) struct Lab {
    /// On the host, its loopback among it.
    host_side: NetworkNamespace,
    outside: NetworkNamespace,
}

impl Lab {
    /// Moves this thread, and all that it starts from here on, to the new host. `None` where this
    /// user may not do that.
    pub(crate) fn enter(folder: &Path) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        let hosts = format!("127.0.0.1 localhost\n203.0.113.9 {ONLY_IN_HOSTS}\n");
        for (path, text) in [("/etc/resolv.conf", CONFIGURATION), ("/etc/hosts", &hosts)] {
            let own = folder.join(Path::new(path).file_name().unwrap());
            fs::write(&own, text).unwrap();
            mount(Some(&own), path, none, MsFlags::MS_BIND, none).unwrap();
        }
        let (open, opened) = mpsc::channel();
        let outside = NetworkNamespace::start("outside", true, move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            open.send(nix::unistd::gettid()).unwrap();
            // The veth pair is made from the other end.
            while !Path::new("/proc/thread-self/net/dev").exists()
                || !fs::read_to_string("/proc/thread-self/net/dev")
                    .unwrap()
                    .contains("veth1")
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            ip("link set lo up");
            ip("link set veth1 up");
            for address in OUTSIDE {
                let quiet = if address.contains(':') { " nodad" } else { "" };
                ip(&format!("address add {address} dev veth1{quiet}"));
            }
        });
        let tid = opened.recv().unwrap();
        ip("link set lo up");
        ip(&format!(
            "link add veth0 type veth peer name veth1 netns {tid}"
        ));
        ip("link set veth0 up");
        ip(&format!("address add {}/24 dev veth0", HOST[0]));
        ip(&format!("address add {}/64 dev veth0 nodad", HOST[2]));
        ip(&format!("route add local {HOSTS_BLOCK} dev lo"));
        ip("route add default via 203.0.113.9");
        ip("-6 route add default via 2001:db8:9::9");
        let outside = outside.ready();
        let host_side = NetworkNamespace::start("home", false, || {}).ready();
        Some(Self { host_side, outside })
    }

    /// How many packets to this address have arrived anywhere so far, by protocol number.
    pub(crate) fn seen(&self, address: &str) -> BTreeMap<u8, u64> {
        let address: IpAddr = address.parse().unwrap();
        let mut all = BTreeMap::new();
        for namespace in [&self.host_side, &self.outside] {
            for ((protocol, to), count) in namespace.seen.lock().unwrap().iter() {
                if *to == address {
                    *all.entry(*protocol).or_default() += count;
                }
            }
        }
        all
    }

    /// Connections that are held outside.
    pub(crate) fn held(&self) -> usize {
        self.outside.held.lock().unwrap().len()
    }
}

/// A network namespace, and the threads that listen in it.
struct NetworkNamespace {
    seen: Seen,
    held: Arc<Mutex<Vec<TcpStream>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

struct Starting {
    namespace: NetworkNamespace,
    ready: mpsc::Receiver<Vec<JoinHandle<()>>>,
}

impl Starting {
    fn ready(mut self) -> NetworkNamespace {
        let threads = self.ready.recv_timeout(Duration::from_secs(20));
        self.namespace
            .threads
            .extend(threads.expect("threads that listen"));
        self.namespace
    }
}

impl NetworkNamespace {
    /// Starts the threads in the namespace of the calling thread, or in the one that `prepare` moves to.
    fn start(name: &str, names: bool, prepare: impl FnOnce() + Send + 'static) -> Starting {
        let (seen, held, over) = (Seen::default(), Arc::default(), Arc::default());
        let (tell, ready) = mpsc::channel();
        let mut namespace = Self {
            seen: Arc::clone(&seen),
            held: Arc::clone(&held),
            over: Arc::clone(&over),
            threads: Vec::new(),
        };
        let builder = std::thread::Builder::new().name(name.into());
        let starter = builder.spawn(move || {
            prepare();
            let mut threads = Vec::new();
            let watch = packet_socket();
            let at = over.clone();
            threads.push(std::thread::spawn(move || record(&watch, &seen, &at)));
            for port in [PORT, HOLD] {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
                listener.set_nonblocking(true).unwrap();
                let (held, at) = (Arc::clone(&held), over.clone());
                threads.push(std::thread::spawn(move || {
                    accept(&listener, port, &held, &at)
                }));
            }
            let anywhere = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT);
            // An answer must come from where the question went.
            let name_server = names.then_some((IpAddr::V4(NAME_SERVER), DNS));
            for (address, port) in [Some(anywhere), name_server].into_iter().flatten() {
                let socket = UdpSocket::bind((address, port)).unwrap();
                socket.set_read_timeout(Some(TICK)).unwrap();
                let at = over.clone();
                threads.push(std::thread::spawn(move || answer(&socket, port, &at)));
            }
            tell.send(threads).unwrap();
        });
        namespace.threads.push(starter.unwrap());
        Starting { namespace, ready }
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ip(arguments: &str) {
    let ran = Command::new("ip").args(arguments.split(' ')).output();
    let ran = ran.expect("`ip` of iproute2");
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "ip {arguments}: {words}");
}

/// Takes what comes by on any interface.
fn packet_socket() -> OwnedFd {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: plain system call.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, all) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let tick = nix::sys::time::TimeVal::new(0, 50_000);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &tick)
        .unwrap();
    socket
}

fn record(socket: &OwnedFd, seen: &Seen, over: &AtomicBool) {
    let mut packet = [0; 128];
    while !over.load(Ordering::Relaxed) {
        let received = nix::sys::socket::recv(
            socket.as_raw_fd(),
            &mut packet,
            nix::sys::socket::MsgFlags::empty(),
        );
        let Ok(length) = received else { continue };
        if let Some(what) = what(&packet[..length]) {
            *seen.lock().unwrap().entry(what).or_default() += 1;
        }
    }
}

/// Protocol and destination, of what is no mere housekeeping of the network.
fn what(packet: &[u8]) -> Option<(u8, IpAddr)> {
    const ECHO: [(u8, u8); 2] = [(1, 8), (58, 128)];
    let (protocol, to, content) = match packet.first()? >> 4 {
        4 => {
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (
                *packet.get(9)?,
                IpAddr::V4(Ipv4Addr::from(to)),
                packet.get(20)?,
            )
        }
        6 => {
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (
                *packet.get(6)?,
                IpAddr::V6(Ipv6Addr::from(to)),
                packet.get(40)?,
            )
        }
        _ => return None,
    };
    let echo = ECHO.contains(&(protocol, *content));
    let is_content = matches!(protocol, 6 | 17) || echo;
    is_content.then_some((protocol, to))
}

fn accept(listener: &TcpListener, port: u16, held: &Mutex<Vec<TcpStream>>, over: &Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        if port == HOLD {
            held.lock().unwrap().push(stream);
            continue;
        }
        std::thread::spawn(move || {
            stream.set_nonblocking(false).unwrap();
            // Whatever a guest breaks off is its own affair.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = stream.set_write_timeout(Some(Duration::from_secs(60)));
            let _ = serve(stream);
        });
    }
    held.lock().unwrap().clear();
}

/// `hello` first; then `d` and a number of eight bytes asks for so many bytes, and `u` for the count
/// of all bytes that follow.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello")?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    if wish == *b"d" {
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let mut left = u64::from_be_bytes(length);
        let chunk: Vec<u8> = (0..=250).cycle().take(251 * 256).collect();
        while left > 0 {
            let now = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(&chunk[..now])?;
            left -= now as u64;
        }
        return Ok(());
    }
    let (mut count, mut buffer) = (0u64, vec![0; 256 * 1024]);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            more => count += more as u64,
        }
    }
    stream.write_all(&count.to_be_bytes())
}

fn answer(socket: &UdpSocket, port: u16, over: &AtomicBool) {
    let mut buffer = [0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let question = &buffer[..length];
        let reply = if port == DNS {
            name(question)
        } else {
            Some(question.to_vec())
        };
        if let Some(reply) = reply {
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// A name server with three names.
fn name(question: &[u8]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut rest = question.get(12..)?;
    while let Some((length @ 1.., after)) = rest.split_first() {
        labels.push(String::from_utf8_lossy(after.get(..usize::from(*length))?).into_owned());
        rest = after.get(usize::from(*length)..)?;
    }
    let is_a = rest.get(1..3)? == [0, 1];
    let name = labels.join(".").to_ascii_lowercase();
    let end = question.len() - rest.len() + 5;
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let mut answer = question.get(..end)?.to_vec();
    answer[2] |= 0x80;
    answer[3] = if known.is_some() { 0x80 } else { 0x83 };
    answer[6..12].fill(0);
    if let Some((_, address)) = known
        && is_a
    {
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    Some(answer)
}

/// Whether this host, which may do everything, gets through.
pub(crate) fn host_reaches(address: &str) -> bool {
    let to = SocketAddr::new(address.parse().unwrap(), PORT);
    TcpStream::connect_timeout(&to, Duration::from_secs(5)).is_ok_and(|mut stream| {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).is_ok() && hello == *b"hello"
    })
}
