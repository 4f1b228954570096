//! Where a host says which its name servers are.

/// Another program writes it, or puts a new one in its place, at any time.
pub(crate) const NAME_SERVERS: &str = "/etc/resolv.conf";

/// What a shim reads of that behind its walls: the file, which may be a link, and the folders in which systemd-resolved and
/// resolvconf put a new one in the place of what such a link leads to. Nothing else is in these. Beside
/// NetworkManager's there are passwords of networks, so of that folder it is the file as well.
pub(super) const PLACES: [&str; 3] = [NAME_SERVERS, "/run/systemd/resolve", "/run/resolvconf"];
