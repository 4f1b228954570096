//! What a test says to the supervisor of a VM itself.

use std::path::Path;

use pyro_wire::frame;
use pyro_wire::shim::{CONTROL_SOCKET, ShimReply, ShimRequest};
use tokio::net::UnixStream;

/// Its answer, and the stream that this came on.
pub(super) async fn asks(vm: &Path, request: &ShimRequest) -> Option<(UnixStream, ShimReply)> {
    let mut stream = UnixStream::connect(vm.join(CONTROL_SOCKET)).await.ok()?;
    frame::write_message(&mut stream, request).await.ok()?;
    let reply = frame::read_message(&mut stream).await.ok()?;
    Some((stream, reply))
}

pub(super) fn waits<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}
