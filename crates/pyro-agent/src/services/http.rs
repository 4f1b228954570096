//! Asks a web server of the guest for one page, and looks at nothing but the status.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{connect, describe};

/// How often a server may send us elsewhere.
const REDIRECTS: usize = 10;

/// How much of an answer is read for its head.
const HEAD: usize = 16 * 1024;

const HEADERS: usize = 128;

/// What an `http://` address consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

/// The status of the last answer, or why there is none.
pub(super) async fn status(url: &str) -> Result<u16, String> {
    let mut address = parse(url).ok_or("this is not an http:// address")?;
    for _ in 0..=REDIRECTS {
        let (status, location) = ask(&address).await?;
        let elsewhere = match (status, location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => follow(&address, &location),
            _ => None,
        };
        match elsewhere {
            Some(next) => address = next,
            // Also where it leads to what we cannot speak, such as TLS: it did answer.
            None => return Ok(status),
        }
    }
    Err(format!("it was redirected more than {REDIRECTS} times"))
}

async fn ask(address: &Address) -> Result<(u16, Option<String>), String> {
    let Address { host, port, path } = address;
    let mut stream = connect(host, *port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: pyro\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let broken = |error: std::io::Error| format!("the connection was lost: {}", describe(&error));
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let count = stream.read(&mut buffer).await.map_err(broken)?;
        answer.extend_from_slice(&buffer[..count]);
        match head(&answer) {
            Head::Whole(status, location) => return Ok((status, location)),
            Head::Part if count > 0 && answer.len() < HEAD => {}
            Head::Part if count == 0 => {
                return Err("it closed the connection without an answer".into());
            }
            Head::Part | Head::Nonsense => return Err("its answer is not HTTP".into()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    Whole(u16, Option<String>),
    Part,
    Nonsense,
}

fn head(answer: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(answer) {
        Ok(httparse::Status::Complete(_)) => {
            let location = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("location"))
                .and_then(|header| str::from_utf8(header.value).ok())
                .map(str::to_owned);
            match response.code {
                Some(status) => Head::Whole(status, location),
                None => Head::Nonsense,
            }
        }
        Ok(httparse::Status::Partial) => Head::Part,
        Err(_) => Head::Nonsense,
    }
}

fn parse(url: &str) -> Option<Address> {
    let scheme = url.get(..7)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return None;
    }
    let rest = url[7..].split('#').next().unwrap_or_default();
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (_, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 80),
    };
    if host.is_empty() || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(Address {
        host: host.to_owned(),
        port,
        path: format!("{slash}{path}"),
    })
}

/// Where a `Location` leads, if we can go there.
fn follow(from: &Address, location: &str) -> Option<Address> {
    if location.contains("://") {
        return parse(location);
    }
    let Address { host, port, path } = from;
    let base = format!("http://{host}:{port}");
    if let Some(rest) = location.strip_prefix("//") {
        return parse(&format!("http://{rest}"));
    }
    if location.starts_with('/') {
        return parse(&format!("{base}{location}"));
    }
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    let folder = &path[..=path.rfind('/')?];
    parse(&format!("{base}{folder}{location}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = |host: &str, port, path: &str| {
            let (host, path) = (host.to_owned(), path.to_owned());
            Some(Address { host, port, path })
        };
        assert_eq!(parse("http://a"), address("a", 80, "/"));
        assert_eq!(parse("HTTP://a:8?x#y"), address("a", 8, "/?x"));
        assert_eq!(parse("http://u:p@[::1]:8/b"), address("[::1]", 8, "/b"));
        assert_eq!(parse("http://[::1]/b"), address("[::1]", 80, "/b"));
        for no in [
            "",
            "a",
            "https://a",
            "http://",
            "http://a:x",
            "http://a/ b",
            "http://é",
        ] {
            let parsed = parse(no);
            assert!(no == "http://é" || parsed.is_none(), "{no}: {parsed:?}");
        }
        let from = parse("http://a:8/b/c?d").unwrap();
        assert_eq!(follow(&from, "e"), address("a", 8, "/b/e"));
        assert_eq!(follow(&from, "/e?f"), address("a", 8, "/e?f"));
        assert_eq!(follow(&from, "//h/e"), address("h", 80, "/e"));
        assert_eq!(follow(&from, "http://h/"), address("h", 80, "/"));
        assert_eq!(follow(&from, "https://h/"), None);
    }

    #[test]
    fn nonsense_is_no_answer() {
        assert_eq!(head(b"HTTP/1.1 204 No\r\n"), Head::Part);
        assert_eq!(head(b"HTTP/1.1 204 No\r\n\r\n"), Head::Whole(204, None));
        assert_eq!(head(b"SSH-2.0-OpenSSH\r\n"), Head::Nonsense);
        let moved = b"HTTP/1.0 302 Found\r\nlocation: /x\r\n\r\n";
        assert_eq!(head(moved), Head::Whole(302, Some("/x".into())));
    }

    #[tokio::test]
    async fn a_server_is_followed_but_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 4096];
                let count = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..count]).into_owned();
                let path = asked.split(' ').nth(1).unwrap().to_owned();
                let answer = match path.as_str() {
                    "/moved" => "302 Found\r\nLocation: there".to_owned(),
                    "/secure" => "301 Moved\r\nLocation: https://there/".to_owned(),
                    "/round" => "302 Found\r\nLocation: /round".to_owned(),
                    "/there" => "200 OK".to_owned(),
                    _ => "404 Not Found".to_owned(),
                };
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let of = async |path: &str| status(&format!("http://127.0.0.1:{port}{path}")).await;
        assert_eq!(of("/there").await, Ok(200));
        assert_eq!(of("/moved").await, Ok(200));
        assert_eq!(of("/secure").await, Ok(301));
        assert_eq!(of("/nothing").await, Ok(404));
        let words = |words: &str| Err(words.to_owned());
        assert_eq!(
            of("/round").await,
            words("it was redirected more than 10 times")
        );
        assert_eq!(
            status("http://127.0.0.1:1/").await,
            words("127.0.0.1 port 1: connection refused")
        );
    }
}
