//! The owner of a VM: whoever holds the other end of what was standard input.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::descriptor::watch;

/// Resolves when the owner is gone, which closes its end. What it wrote is read and forgotten.
pub(crate) async fn closed(input: OwnedFd) {
    if let Some(input) = watched(input) {
        while heard(&input).await == Heard::Words {}
    }
}

/// What comes first: the owner's word, which lets the VM go its own way, or its end.
pub(crate) async fn released(input: OwnedFd) -> bool {
    match watched(input) {
        Some(input) => heard(&input).await == Heard::Words,
        None => false,
    }
}

/// A file or `/dev/null` cannot be waited for: nobody is behind it.
fn watched(input: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    watch(input, Interest::READABLE).ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Words,
    End,
}

async fn heard(input: &AsyncFd<OwnedFd>) -> Heard {
    while let Ok(mut ready) = input.readable().await {
        // The descriptor may be shared and must stay blocking, so nothing is read from it before
        // the kernel said that there is something to read.
        if !has_input(input.get_ref()) {
            ready.clear_ready();
        } else if let Some(heard) = read(input.get_ref()) {
            return heard;
        }
    }
    Heard::End
}

fn has_input(input: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

fn read(input: &OwnedFd) -> Option<Heard> {
    let mut words = [0; 256];
    match nix::unistd::read(input, &mut words) {
        Ok(0) => Some(Heard::End),
        Ok(_) => Some(Heard::Words),
        Err(nix::Error::EINTR | nix::Error::EAGAIN) => None,
        Err(_) => Some(Heard::End),
    }
}
