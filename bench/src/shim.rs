//! Questions to the shim of a VM, over its control socket.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use pyro_wire::frame;
use pyro_wire::shim::{CONTROL_SOCKET, ShimReply, ShimRequest};
use tokio::net::UnixStream;

pub(crate) async fn ask(vm: &Path, request: &ShimRequest) -> Result<ShimReply> {
    // Through the descriptor: a socket's address holds only 108 bytes.
    let folder = File::open(vm)?;
    let socket = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", folder.as_raw_fd());
    let mut stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("the shim of {} does not listen", vm.display()))?;
    frame::write_message(&mut stream, request).await?;
    Ok(frame::read_message(&mut stream).await?)
}
