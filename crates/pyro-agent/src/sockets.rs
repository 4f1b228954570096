//! Serves the hosts that come over a socket, one after the other, until it ends.

use std::io;
use std::sync::Arc;

use pyro_wire::session::{self, SessionError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::agent::Agent;
use crate::channel::Channel;
use crate::{console, serve};

pub(crate) async fn serve_hosts(
    agent: &Arc<Agent>,
    mut channel: Channel<impl AsyncRead + AsyncWrite + Unpin>,
) -> io::Result<()> {
    loop {
        match session::accept_handshake(&mut channel).await {
            Ok(()) => {
                channel.start_session();
                serve::session(agent, &mut channel).await;
                channel.end_session();
            }
            Err(error @ SessionError::Version { .. }) => console::report(error),
            Err(SessionError::Io { source }) if source.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(source);
            }
            Err(_) => return Ok(()),
        }
    }
}
