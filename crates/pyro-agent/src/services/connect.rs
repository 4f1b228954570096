//! A TCP connection to a host as the guest itself knows it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

const HOSTS: &str = "/etc/hosts";

/// A connection to the first address of a host that takes one.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = addresses(host, &std::fs::read_to_string(HOSTS).unwrap_or_default());
    if addresses.is_empty() {
        return Err(format!(
            "`{host}` is not an address, and not in {HOSTS} of the guest"
        ));
    }
    let mut refusals = Vec::new();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusals.push(format!("{address} port {port}: {}", describe(&error))),
        }
    }
    Err(refusals.join("; "))
}

/// What a host's name means. A static binary has no name service to ask beyond this file, and a
/// readiness is about the guest itself.
fn addresses(host: &str, hosts: &str) -> Vec<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    if host.eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let lines = hosts.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    });
    lines.collect()
}

/// What went wrong, without the number of the error.
pub(super) fn describe(error: &io::Error) -> String {
    let words = error.to_string();
    let end = words.find(" (os error").unwrap_or(words.len());
    words[..end].to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_in_the_file() {
        let hosts = "127.0.0.1 localhost\n10.0.0.2 db other # 10.0.0.3 no\nfe80::1 db\nbroken db\n";
        let of = |host| addresses(host, hosts);
        assert_eq!(of("::1"), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(of("[::1]"), of("::1"));
        assert_eq!(of("localhost").len(), 2);
        assert_eq!(
            of("DB"),
            ["10.0.0.2", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap())
        );
        assert!(of("no").is_empty() && of("").is_empty());
    }

    #[tokio::test]
    async fn every_address_that_was_tried_is_named() {
        // Nobody listens at it, and nobody else gets it meanwhile.
        let taken = tokio::net::TcpSocket::new_v4().unwrap();
        taken.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = taken.local_addr().unwrap().port();
        let why = connect("localhost", port).await.unwrap_err();
        let refused = format!("127.0.0.1 port {port}: connection refused; ::1 port {port}: ");
        assert!(why.starts_with(&refused), "{why}");
    }
}
