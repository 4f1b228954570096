//! From a readiness as callers give it to the one that the agent looks for.

use pyro_api::Error;
use pyro_api::values::{Readiness, ReadinessKind};
use pyro_wire::exec::Command;
use pyro_wire::service::Readiness as Wanted;

use crate::workspace::paths::GuestPath;

/// Refuses what could never be seen. A path becomes absolute in the record.
pub(crate) fn understood(
    readiness: Option<Readiness>,
) -> Result<(Option<Readiness>, Option<Wanted>), Error> {
    let Some(readiness) = readiness else {
        return Ok((None, None));
    };
    let given = |value: &Option<String>| value.clone().unwrap_or_default();
    let wanted = match readiness.kind {
        ReadinessKind::File => {
            let path = GuestPath::parse("readiness path", &given(&readiness.path))?;
            let shown = Readiness::of(ReadinessKind::File, path.absolute());
            return Ok((Some(shown), Some(Wanted::File(path.bytes()))));
        }
        ReadinessKind::Tcp => {
            let address = given(&readiness.address);
            let (host, port) = tcp(&address).ok_or_else(|| {
                Error::invalid(format!("ready_tcp must be HOST:PORT, not `{address}`"))
                    .hint("As in `127.0.0.1:8080`: an address as seen in the guest")
            })?;
            Wanted::Tcp { host, port }
        }
        ReadinessKind::Http => {
            let url = given(&readiness.url);
            let is_http = url
                .get(..7)
                .is_some_and(|start| start.eq_ignore_ascii_case("http://"));
            if !is_http || url.len() == 7 || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::invalid(format!(
                    "ready_http must be an http:// address, not `{url}`"
                ))
                .hint("For anything else, such as TLS, use `ready_command`, as in `curl -fsk …`"));
            }
            Wanted::Http(url)
        }
        ReadinessKind::Command => Wanted::Command(Command::Shell(
            given(&readiness.command).into_bytes().into(),
        )),
    };
    Ok((Some(readiness), Some(wanted)))
}

fn tcp(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_be_seen_is_refused() {
        for (kind, taken, refused) in [
            (
                ReadinessKind::File,
                &["a/b", "/workspace/x"][..],
                &["/etc/x", "../x"][..],
            ),
            (
                ReadinessKind::Tcp,
                &["127.0.0.1:80", "[::1]:8080", "::1:80"],
                &["80", "a:", ":80", "a:0", "a:65536", "a b:80"],
            ),
            (
                ReadinessKind::Http,
                &["http://a", "HTTP://127.0.0.1:8080/x?y"],
                &["https://a", "a", "http://", "http://a b"],
            ),
            (ReadinessKind::Command, &["true"], &[]),
        ] {
            for text in taken {
                let readiness = Readiness::of(kind, (*text).to_owned());
                assert!(understood(Some(readiness)).is_ok(), "{text}");
            }
            for text in refused {
                let readiness = Readiness::of(kind, (*text).to_owned());
                assert!(understood(Some(readiness)).is_err(), "{text}");
            }
        }
    }
}
