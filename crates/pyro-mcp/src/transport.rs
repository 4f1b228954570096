//! One JSON-RPC message on each line, between the client's bytes and rmcp.
//!
//! Two threads do the reading and the writing, so that a file, a pipe and a terminal all work and
//! neither side ever waits for the other. Here, too, is what rmcp leaves to the edge:
//!
//! - A cancelled call is answered at once. rmcp drops the answer, as the specification asks; some
//!   hosts then wait for ever, and those that do not wait ignore an answer that comes late.
//! - An array of messages (a batch, revision 2025-03-26) is taken apart and answered one by one.
//! - A well-formed message that is no request gets its own id back in the error, and a line that
//!   is no JSON is answered, too.
//! - Notifications before the first request are passed over; rmcp would end the session.
//! - When the input has ended nothing is said of calls any more: clients that do not cancel what they
//!   gave up fail at an answer that comes while they leave.

use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead, BufReader, Write};
use std::thread;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode, ErrorData, GetMeta,
    JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Stdio;

/// A longer line is refused; the largest arguments are texts of 1 MiB.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// Lines that wait for the server; more wait in the client's pipe.
const QUEUED_LINES: usize = 16;

/// How long the last answers may take to be written when the connection ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What the language servers' protocol, which has the same messages, calls a cancelled request.
const REQUEST_CANCELLED: ErrorCode = ErrorCode(-32800);

pub(crate) struct LineTransport {
    incoming: mpsc::Receiver<Line>,
    outgoing: Option<mpsc::UnboundedSender<Vec<u8>>>,
    written: oneshot::Receiver<()>,
    /// Messages of a batch that are still to be taken.
    batch: VecDeque<Value>,
    /// Calls that have no answer yet.
    calls: HashSet<RequestId>,
    opened: bool,
    /// The client says nothing any more.
    ended: bool,
    /// Cancelled here when the client has gone.
    gone: CancellationToken,
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl LineTransport {
    /// `gone` is cancelled when the client has closed one of its ends.
    pub(crate) fn new(stdio: Stdio, gone: CancellationToken) -> io::Result<Self> {
        let (lines, incoming) = mpsc::channel(QUEUED_LINES);
        let (outgoing, messages) = mpsc::unbounded_channel();
        let (done, written) = oneshot::channel();
        let reader = BufReader::new(stdio.input);
        // Nobody waits for this thread: a read has no end, and the process ends without it.
        thread::Builder::new()
            .name("mcp-reader".into())
            .spawn(move || read(reader, MAX_LINE, &lines))?;
        let broken = gone.clone();
        thread::Builder::new()
            .name("mcp-writer".into())
            .spawn(move || {
                if write(stdio.output, messages).is_err() {
                    broken.cancel();
                }
                let _ = done.send(());
            })?;
        Ok(Self {
            incoming,
            outgoing: Some(outgoing),
            written,
            batch: VecDeque::new(),
            calls: HashSet::new(),
            opened: false,
            ended: false,
            gone,
        })
    }

    /// Puts a message into the queue, at its place in the order of calls to this.
    fn put(&self, message: &ServerJsonRpcMessage) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(message)?;
        bytes.push(b'\n');
        let queue = self.outgoing.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        queue
            .send(bytes)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn refuse(&self, id: Option<RequestId>, code: ErrorCode, why: String) {
        // Whether anybody reads it will be seen soon enough.
        let _ = self.put(&ServerJsonRpcMessage::error(
            ErrorData::new(code, why, None),
            id,
        ));
    }

    /// The messages of one line, as far as they are any.
    fn parse(&mut self, line: &[u8]) -> Option<ClientJsonRpcMessage> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        match serde_json::from_slice(line) {
            Ok(message) => Some(message),
            Err(_) => match serde_json::from_slice(line) {
                Ok(Value::Array(batch)) => {
                    self.batch.extend(batch);
                    None
                }
                Ok(value) => self.refuse_value(&value),
                Err(why) => {
                    // Without an id, as MCP has it where none could be read.
                    let why = format!("this line is not JSON: {why}");
                    self.refuse(None, ErrorCode::PARSE_ERROR, why);
                    None
                }
            },
        }
    }

    fn refuse_value(&self, value: &Value) -> Option<ClientJsonRpcMessage> {
        let id = value
            .get("id")
            .and_then(|id| serde_json::from_value(id.clone()).ok());
        self.refuse(
            id,
            ErrorCode::INVALID_REQUEST,
            "this is not a JSON-RPC 2.0 message of MCP".into(),
        );
        None
    }

    /// What rmcp gets to see of a message.
    fn pass(&mut self, mut message: ClientJsonRpcMessage) -> Option<ClientJsonRpcMessage> {
        match &mut message {
            JsonRpcMessage::Request(request) => {
                match &mut request.request {
                    ClientRequest::InitializeRequest(_) => self.opened = true,
                    ClientRequest::DiscoverRequest(_) | ClientRequest::PingRequest(_) => {}
                    other => self.opened |= other.get_meta().protocol_version().is_some(),
                }
                if matches!(request.request, ClientRequest::CallToolRequest(_)) {
                    self.calls.insert(request.id.clone());
                }
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                    && self.calls.remove(id)
                {
                    self.refuse(
                        Some(id.clone()),
                        REQUEST_CANCELLED,
                        "the call was cancelled".into(),
                    );
                }
                return self.opened.then_some(message);
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {
                return self.opened.then_some(message);
            }
        }
        Some(message)
    }
}

impl Transport<RoleServer> for LineTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let of_a_call = match &message {
            JsonRpcMessage::Response(response) => self.calls.remove(&response.id),
            JsonRpcMessage::Error(error) => {
                error.id.as_ref().is_some_and(|id| self.calls.remove(id))
            }
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => true,
        };
        std::future::ready(match of_a_call && self.ended {
            true => Ok(()),
            false => self.put(&message),
        })
    }

    // Dropped and called again whenever rmcp has something else to do: nothing is kept on the
    // stack over an await.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let message = if let Some(value) = self.batch.pop_front() {
                match serde_json::from_value(value.clone()) {
                    Ok(message) => Some(message),
                    Err(_) => self.refuse_value(&value),
                }
            } else {
                let line = tokio::select! {
                    line = self.incoming.recv() => {
                        self.ended |= line.is_none();
                        line
                    }
                    () = self.gone.cancelled() => None,
                };
                match line {
                    Some(Line::Whole(line)) => self.parse(&line),
                    Some(Line::TooLong) => {
                        let why = format!("a message has more than {MAX_LINE} bytes");
                        self.refuse(None, ErrorCode::INVALID_REQUEST, why);
                        None
                    }
                    None => {
                        self.gone.cancel();
                        return None;
                    }
                }
            };
            if let Some(message) = message
                && let Some(message) = self.pass(message)
            {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.outgoing = None;
        let _ = timeout(FLUSH_TIMEOUT, &mut self.written).await;
        Ok(())
    }
}

/// Reads lines until the end of the input, or until nobody wants them.
fn read(mut from: impl BufRead, max: usize, to: &mpsc::Sender<Line>) {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let available = match from.fill_buf() {
            Ok([]) => return,
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        if line.len() + taken > max {
            too_long = true;
            line = Vec::new();
        }
        if !too_long {
            line.extend_from_slice(&available[..taken]);
        }
        from.consume(taken);
        if end.is_none() {
            continue;
        }
        let whole = std::mem::take(&mut line);
        let sent = to.blocking_send(match std::mem::take(&mut too_long) {
            true => Line::TooLong,
            false => Line::Whole(whole),
        });
        if sent.is_err() {
            return;
        }
    }
}

/// Writes messages until there are no more, or nobody reads them.
fn write(mut to: impl Write, mut from: mpsc::UnboundedReceiver<Vec<u8>>) -> io::Result<()> {
    while let Some(message) = from.blocking_recv() {
        to.write_all(&message)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads with a limit of eight bytes and a buffer of three, so that lines span several.
    fn lines_of(input: &str) -> Vec<String> {
        let (to, mut from) = mpsc::channel(QUEUED_LINES);
        read(BufReader::with_capacity(3, input.as_bytes()), 8, &to);
        let mut lines = Vec::new();
        while let Ok(line) = from.try_recv() {
            lines.push(match line {
                Line::Whole(line) => String::from_utf8(line).unwrap(),
                Line::TooLong => "too long".to_owned(),
            });
        }
        lines
    }

    #[test]
    fn lines_are_found_wherever_the_reads_end() {
        assert_eq!(
            lines_of("one\ntwo two\n\nrest"),
            ["one\n", "two two\n", "\n"]
        );
    }

    #[test]
    fn after_a_line_that_is_too_long_the_next_one_counts() {
        assert_eq!(
            lines_of("1234567\n12345678\n123456789012345678901\nnext\n"),
            ["1234567\n", "too long", "too long", "next\n"]
        );
    }
}
