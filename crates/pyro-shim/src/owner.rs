//! The owner of a VM: whoever holds the other end of what was standard input.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;

use crate::descriptor::watch;

/// Resolves when the owner is gone, which closes its end.
pub(crate) async fn closed(input: OwnedFd) {
    // A file or `/dev/null` cannot be waited for: nobody is behind it.
    let Ok(input) = watch(input, Interest::READABLE) else {
        return;
    };
    while let Ok(mut ready) = input.readable().await {
        // The descriptor may be shared and must stay blocking, so nothing is read from it before
        // the kernel said that there is something to read.
        if !has_input(input.get_ref()) {
            ready.clear_ready();
        } else if ended(input.get_ref()) {
            return;
        }
    }
}

fn has_input(input: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Reads and forgets what an owner wrote; an owner has nothing to say.
fn ended(input: &OwnedFd) -> bool {
    let mut words = [0; 256];
    match nix::unistd::read(input, &mut words) {
        Ok(count) => count == 0,
        Err(nix::Error::EINTR | nix::Error::EAGAIN) => false,
        Err(_) => true,
    }
}
