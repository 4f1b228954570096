//! Names: the guest asks its router, and the host's own name servers answer.
//!
//! Questions are passed on as they are, to the servers of the host's `/etc/resolv.conf` and nobody
//! else, wherever they are. The host's `/etc/hosts` is not looked at. What a name resolves to is no
//! promise: the policy looks at addresses, when a guest connects.
//!
//! Only plain queries are passed on. The servers may be inside a network that the guest must not
//! reach, and they can do more for those who ask differently (updates, whole zones).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use resolv_conf::ScopedIp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::QUERIES;

pub(crate) const PORT: u16 = 53;

const CONFIGURATION: &str = "/etc/resolv.conf";

/// As many servers as the C library takes.
const SERVERS: usize = 3;

/// How long one server may take.
const SERVER_LIMIT: Duration = Duration::from_secs(4);

/// How long a guest may keep a connection without asking.
const IDLE: Duration = Duration::from_secs(20);

/// Longer than any query; answers may be longer.
const MAX_QUERY: usize = 1_024;

/// Asks for a part of a zone, or all of it (RFC 5936, RFC 1995).
const ZONES: [u16; 2] = [251, 252];

/// The host's name servers.
#[derive(Clone)]
pub(crate) struct Dns {
    queries: Arc<Semaphore>,
}

impl Dns {
    pub(crate) fn new() -> Self {
        Self {
            queries: Arc::new(Semaphore::new(QUERIES)),
        }
    }

    /// Passes a query in a datagram on. Nothing comes back for what is no query, nor when too many
    /// wait; a guest asks again.
    pub(crate) fn ask(&self, query: &[u8], answered: impl FnOnce(Vec<u8>) + Send + 'static) {
        if !is_plain_query(query) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.queries).try_acquire_owned() else {
            return;
        };
        let query = query.to_vec();
        tokio::spawn(async move {
            let _turn = turn;
            for server in servers() {
                if let Ok(Ok(answer)) = timeout(SERVER_LIMIT, ask_one(server, &query)).await {
                    return answered(answer);
                }
            }
            answered(failed(&query));
        });
    }

    /// Serves a connection on which the guest asks, one query after the other.
    pub(crate) async fn serve(&self, mut guest: UnixStream) {
        let mut server = None;
        while let Ok(Ok(query)) = timeout(IDLE, read(&mut guest, MAX_QUERY)).await {
            if !is_plain_query(&query) {
                return;
            }
            let Ok(_turn) = self.queries.acquire().await else {
                return;
            };
            let answer = match ask_over_stream(&mut server, &query).await {
                Some(answer) => answer,
                None => failed(&query),
            };
            if write(&mut guest, &answer).await.is_err() {
                return;
            }
        }
    }
}

/// A query with one question, and no answer, no update, no zone.
pub(crate) fn is_plain_query(query: &[u8]) -> bool {
    let Some((header, mut rest)) = query.split_first_chunk::<12>() else {
        return false;
    };
    let is_query = header[2] & 0b1111_1000 == 0;
    let one_question = header[4..6] == [0, 1];
    if !is_query || !one_question || query.len() > MAX_QUERY {
        return false;
    }
    loop {
        match rest.split_first() {
            Some((0, after)) => {
                let Some((kind, _)) = after.split_first_chunk::<2>() else {
                    return false;
                };
                return !ZONES.contains(&u16::from_be_bytes(*kind));
            }
            // A query has nothing before it that its name could point to.
            Some((length @ 1..=63, after)) => match after.get(usize::from(*length)..) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => return false,
        }
    }
}

/// "The server failed", for this query.
fn failed(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    if let Some(header) = answer.first_chunk_mut::<12>() {
        header[2] |= 0x80;
        header[3] = 0x82;
    }
    answer
}

/// Read anew each time: a host moves between networks.
fn servers() -> Vec<SocketAddr> {
    let text = fs::read(CONFIGURATION).unwrap_or_default();
    from_configuration(&text)
}

fn from_configuration(text: &[u8]) -> Vec<SocketAddr> {
    let found = match resolv_conf::Config::parse(text) {
        Ok(configuration) => configuration.nameservers,
        Err(_) => Vec::new(),
    };
    let servers: Vec<SocketAddr> = found.iter().filter_map(at).take(SERVERS).collect();
    if servers.is_empty() {
        // What the C library does.
        return vec![(Ipv4Addr::LOCALHOST, PORT).into()];
    }
    servers
}

fn at(server: &ScopedIp) -> Option<SocketAddr> {
    match server {
        ScopedIp::V4(address) => Some((*address, PORT).into()),
        ScopedIp::V6(address, None) => Some((*address, PORT).into()),
        ScopedIp::V6(address, Some(scope)) => {
            let index = nix::net::if_::if_nametoindex(scope.as_str()).ok()?;
            Some(SocketAddrV6::new(*address, PORT, 0, index).into())
        }
    }
}

async fn ask_one(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server.ip() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; 65_536];
    loop {
        let length = socket.recv(&mut answer).await?;
        // Anything else is an answer to nobody here.
        if length >= 12 && answer[..2] == query[..2] && answer[2] & 0x80 != 0 {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_over_stream(kept: &mut Option<TcpStream>, query: &[u8]) -> Option<Vec<u8>> {
    if let Some(stream) = kept
        && let Ok(Ok(answer)) = timeout(SERVER_LIMIT, ask_stream(stream, query)).await
    {
        return Some(answer);
    }
    for server in servers() {
        let asked = async {
            let mut stream = TcpStream::connect(server).await?;
            let answer = ask_stream(&mut stream, query).await?;
            io::Result::Ok((stream, answer))
        };
        if let Ok(Ok((stream, answer))) = timeout(SERVER_LIMIT, asked).await {
            *kept = Some(stream);
            return Some(answer);
        }
    }
    *kept = None;
    None
}

async fn ask_stream(stream: &mut TcpStream, query: &[u8]) -> io::Result<Vec<u8>> {
    write(stream, query).await?;
    read(stream, usize::from(u16::MAX)).await
}

async fn read(from: &mut (impl AsyncReadExt + Unpin), limit: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(from.read_u16().await?);
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(to: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend(message);
    to.write_all(&whole).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(kind: u16) -> Vec<u8> {
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x03deb\x06debian\x03org\x00");
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        query
    }

    #[test]
    fn only_plain_queries_are_passed_on() {
        assert!(is_plain_query(&query(1)));
        assert!(is_plain_query(&query(28)));
        assert!(!is_plain_query(&query(252)));
        assert!(!is_plain_query(&query(251)));
        let with = |at: usize, byte: u8| {
            let mut query = query(1);
            query[at] = byte;
            query
        };
        // An answer, an update, two questions, a name that points elsewhere, one that never ends.
        for wrong in [
            with(2, 0x81),
            with(2, 0x28),
            with(5, 2),
            with(12, 0xc0),
            with(12, 63),
        ] {
            assert!(!is_plain_query(&wrong));
        }
        assert!(!is_plain_query(b"GET / HTTP/1.1\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn noise_harms_nobody(noise in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = is_plain_query(&noise);
        }
    }

    #[test]
    fn servers_are_those_of_the_host() {
        let text =
            b"# mine\nsearch corp\nnameserver 10.1.1.1\nnameserver ::1\nnameserver 1.1.1.1\n\
                     nameserver 9.9.9.9\noptions ndots:5\n";
        let servers = from_configuration(text);
        let wanted = ["10.1.1.1:53", "[::1]:53", "1.1.1.1:53"];
        assert_eq!(servers, wanted.map(|server| server.parse().unwrap()));
        assert_eq!(from_configuration(b""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_server_that_is_silent_means_a_failed_answer() {
        let answer = failed(&query(1));
        assert_eq!(answer[..4], [7, 7, 0x81, 0x82]);
        assert_eq!(answer[12..], query(1)[12..]);
    }
}
