//! The guest's link: a tap interface in the sandbox's network namespace, with the router at its other end.
//!
//! ```text
//! first process of the namespaces               shim
//!   makes the interface, sets it up
//!   its descriptor ──────── SCM_RIGHTS ───────▶ starts the router on it
//!   becomes runsc, which takes the interface
//!   over: its addresses, its routes, its frames
//! ```
//!
//! The interface is seen in that namespace alone, so the host needs to grant nothing but `/dev/net/tun`.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use pyro_interface::tap;
use pyro_namespace::Killer;
use pyro_wire::jail::JailChoice;
use pyro_wire::network::Network;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::backend::router::{self, Router, RouterEnd};

/// What the guest calls its interface.
const NIC: &str = "eth0";

/// Where Linux keeps what runsc takes for a sign that it is in the network of the host.
const SIGN_OF_HOST: &str = "sys/net/core";

/// How long the first process may take to get there.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Makes the guest's interface, and hands its descriptor out at `to`. For the first process of the
/// namespaces; `proc` is where runsc finds its `/proc`.
pub(super) fn make(to: RawFd, proc: &Path) -> io::Result<()> {
    let tap = tap::create(NIC).map_err(|error| {
        let words = format!("{} cannot be used ({error}){}", tap::DEVICE, remedy(&error));
        io::Error::new(error.kind(), words)
    })?;
    pyro_interface::bring_up("lo")?;
    pyro_interface::set_up(NIC)?;
    // Older kernels had it in the first network namespace alone, and runsc 2024 refuses to take over
    // the interfaces of that one.
    let hide = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let sign = proc.join(SIGN_OF_HOST);
    mount(Some("tmpfs"), &sign, Some("tmpfs"), hide, Some("size=4k"))?;
    let tap = [tap.as_raw_fd()];
    sendmsg::<UnixAddr>(
        to,
        &[IoSlice::new(b"t")],
        &[ControlMessage::ScmRights(&tap)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    // SAFETY: whoever passed the descriptor did so for this, and nobody else here knows it.
    drop(unsafe { OwnedFd::from_raw_fd(to) });
    Ok(())
}

/// What a person can do about a device that does not make interfaces, if that is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ENOTTY) => {
            "; `sudo modprobe tun` makes it, and `docker run --device /dev/net/tun` takes it into a \
             container"
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            "; `sudo chmod 666 /dev/net/tun` lets every user make interfaces in namespaces of their \
             own, and a container needs `docker run --device /dev/net/tun`"
        }
        _ => "",
    }
}

/// The guest's router, started as soon as there is an interface to serve. Ends it when dropped.
pub(super) struct Link {
    task: tokio::task::JoinHandle<()>,
    refused: Arc<OnceLock<String>>,
}

impl Link {
    /// `from`: where the first process hands its interface out. `killer`: of the sandbox, which is not to be
    /// without a wall of its router's where all of them are demanded.
    pub(super) fn serve(
        network: Network,
        jail: JailChoice,
        from: StdUnixStream,
        killer: Killer,
    ) -> io::Result<Self> {
        from.set_nonblocking(true)?;
        let from = UnixStream::from_std(from)?;
        let refused = Arc::new(OnceLock::new());
        let told = Arc::clone(&refused);
        let task = tokio::spawn(async move {
            // One that never comes is told by the end of the sandbox.
            if let Ok(Ok(tap)) = timeout(TIMEOUT, receive(&from)).await
                && let Ok(router) = started(&network, jail, tap, killer, told)
            {
                hold(router).await;
            }
        });
        Ok(Self { task, refused })
    }

    /// Why the sandbox may not be, if that is so.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn started(
    network: &Network,
    jail: JailChoice,
    tap: OwnedFd,
    killer: Killer,
    told: Arc<OnceLock<String>>,
) -> io::Result<Router> {
    // With its last descriptor the interface would go, under a guest's kernel that has taken it over.
    let copy = tap.try_clone()?;
    let after = move |end: RouterEnd| {
        if let Some(why) = end.refused {
            let _ = told.set(why);
            killer.kill();
        }
        hold(copy)
    };
    router::start(network, jail, tap, after).inspect_err(|error| {
        eprintln!("the guest has no network: its router could not be started: {error}");
    })
}

async fn hold<T>(held: T) {
    let _held = held;
    std::future::pending::<()>().await;
}

async fn receive(from: &UnixStream) -> io::Result<OwnedFd> {
    from.async_io(Interest::READABLE, || {
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<UnixAddr>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control
                && let [tap] = descriptors[..]
            {
                // SAFETY: the kernel has just made it, for us alone.
                return Ok(unsafe { OwnedFd::from_raw_fd(tap) });
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    })
    .await
}
