//! QEMU's monitor protocol: JSON, one value per line, and only as much of it as is needed here.
//!
//! A QEMU that a guest has taken over may say anything: lines are bounded and nonsense is skipped.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// QEMU's longest answer to what is asked here has some hundred bytes.
const MAX_LINE: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("QEMU closed its monitor")]
    Ended,
    #[error("QEMU's monitor failed: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("QEMU refused `{command}`: {reason}")]
    Refused { command: String, reason: String },
}

/// What QEMU tells unasked, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// QEMU is about to end, for this reason ("guest-shutdown", "guest-reset", "host-signal", …).
    Shutdown { reason: String },
    /// A write failed on the host, and the guest stands still.
    WriteFailed { no_space: bool, reason: String },
    /// The guest stands still in this state.
    Stopped { status: String },
    /// A job of the block layer is over, well or with this error.
    JobOver { job: String, error: Option<String> },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    event: Option<String>,
    data: Value,
    #[serde(rename = "return")]
    answer: Option<Value>,
    id: Value,
    error: Option<Value>,
}

pub(crate) struct Qmp {
    reader: OwnedReadHalf,
    /// Read and not yet understood.
    unread: Vec<u8>,
    /// The line in `unread` was too long and lost its beginning.
    torn: bool,
    commands: OwnedWriteHalf,
    waiting: VecDeque<Event>,
    version: String,
    /// How many questions so far, which is the id of the last one.
    asked: u64,
}

impl Qmp {
    /// Waits for QEMU's greeting and takes up the conversation.
    pub(crate) async fn open(socket: UnixStream) -> Result<Self, QmpError> {
        let (reader, commands) = socket.into_split();
        let mut qmp = Self {
            reader,
            unread: Vec::new(),
            torn: false,
            commands,
            waiting: VecDeque::new(),
            version: String::new(),
            asked: 0,
        };
        while qmp.version.is_empty() {
            if let Some(greeting) = qmp.line().await?.greeting {
                qmp.version = version(&greeting);
            }
        }
        qmp.command("qmp_capabilities").await?;
        Ok(qmp)
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The next event. May be dropped and asked again without losing one.
    pub(crate) async fn event(&mut self) -> Result<Event, QmpError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            let line = self.line().await?;
            if line.event.as_deref() == Some("STOP") {
                // The event does not say why; the answer arrives as a line of its own. A QEMU that
                // cannot be asked any more is ending, which the next lines tell.
                let _ = self.command("query-status").await;
            }
            self.waiting.extend(understand(&line));
        }
    }

    /// The next line that makes sense. Keeps what it has when it is dropped.
    async fn line(&mut self) -> Result<Line, QmpError> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = self.unread.drain(..=end).collect();
                let torn = std::mem::take(&mut self.torn);
                match serde_json::from_slice(&text) {
                    Ok(line) if !torn => return Ok(line),
                    _ => continue,
                }
            }
            if self.unread.len() > MAX_LINE {
                self.unread.clear();
                self.torn = true;
            }
            if self.reader.read_buf(&mut self.unread).await? == 0 {
                return Err(QmpError::Ended);
            }
        }
    }

    /// Asks, and waits for the answer. Events that come meanwhile are kept.
    pub(crate) async fn ask(&mut self, name: &str, arguments: Value) -> Result<Value, QmpError> {
        self.ask_with(name, arguments, None).await
    }

    /// As [`Qmp::ask`], with a descriptor that QEMU gets a copy of.
    pub(crate) async fn ask_with(
        &mut self,
        name: &str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        self.asked += 1;
        let id = Value::from(self.asked);
        let command = json!({ "execute": name, "arguments": arguments, "id": id });
        let command = format!("{command}\r\n");
        match fd {
            None => self.commands.write_all(command.as_bytes()).await?,
            Some(fd) => self.send_with(command.as_bytes(), fd).await?,
        }
        loop {
            let line = self.line().await?;
            if line.id != id {
                self.waiting.extend(understand(&line));
            } else if let Some(error) = line.error {
                return Err(QmpError::Refused {
                    command: name.into(),
                    reason: error["desc"].as_str().unwrap_or("no reason given").into(),
                });
            } else {
                return Ok(line.answer.unwrap_or_default());
            }
        }
    }

    /// Says what needs no answer, with arguments that are as short.
    pub(crate) async fn tell(&mut self, name: &str, arguments: Value) -> Result<(), QmpError> {
        let line = json!({ "execute": name, "arguments": arguments });
        let line = format!("{line}\r\n");
        Ok(self.commands.write_all(line.as_bytes()).await?)
    }

    async fn send_with(&self, line: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        let socket: &UnixStream = self.commands.as_ref();
        let fds = [fd.as_raw_fd()];
        let sent = socket.async_io(Interest::WRITABLE, || {
            let message = [IoSlice::new(line)];
            let passed = [ControlMessage::ScmRights(&fds)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            sendmsg::<()>(socket.as_raw_fd(), &message, &passed, flags, None)
                .map_err(io::Error::from)
        });
        // A line is so short that the socket takes it whole.
        if sent.await? == line.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Says what needs no answer. Commands are so short that the socket takes them whole: this
    /// never waits.
    pub(crate) async fn command(&mut self, name: &str) -> Result<(), QmpError> {
        let line = format!("{{\"execute\":\"{name}\"}}\r\n");
        Ok(self.commands.write_all(line.as_bytes()).await?)
    }
}

fn understand(line: &Line) -> Option<Event> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match line.event.as_deref() {
        Some("SHUTDOWN") => Some(Event::Shutdown {
            reason: text(&line.data["reason"]),
        }),
        Some("BLOCK_IO_ERROR") if line.data["action"] == "stop" => Some(Event::WriteFailed {
            no_space: line.data["nospace"] == true,
            reason: text(&line.data["reason"]),
        }),
        // A job that was cancelled tells what it has not done, too.
        Some(over @ ("BLOCK_JOB_COMPLETED" | "BLOCK_JOB_CANCELLED")) => Some(Event::JobOver {
            job: text(&line.data["device"]),
            error: match line.data["error"].as_str() {
                Some(error) => Some(error.to_owned()),
                None => (over == "BLOCK_JOB_CANCELLED").then(|| "it was cancelled".to_owned()),
            },
        }),
        Some(_) => None,
        None => {
            let answer = line.answer.as_ref()?;
            (answer["running"] == false).then(|| Event::Stopped {
                status: text(&answer["status"]),
            })
        }
    }
}

/// `7.2.22`, from the greeting.
fn version(greeting: &Value) -> String {
    let number = &greeting["version"]["qemu"];
    let part = |name: &str| number[name].as_u64().unwrap_or_default();
    format!("{}.{}.{}", part("major"), part("minor"), part("micro"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const GREETING: &[u8] =
        br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}}}"#;

    #[tokio::test]
    async fn a_question_finds_its_answer_among_events() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        qemu.write_all(GREETING).await.unwrap();
        qemu.write_all(b"\r\n").await.unwrap();
        for line in [
            r#"{"return": {}}"#,
            r#"{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}"#,
            r#"{"return": {"status": "of another question"}, "id": 7}"#,
            r#"{"return": {"status": "completed"}, "id": 1}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such thing"}, "id": 2}"#,
        ] {
            qemu.write_all(format!("{line}\r\n").as_bytes())
                .await
                .unwrap();
        }
        let mut qmp = Qmp::open(ours).await.unwrap();
        let answer = qmp.ask("query-migrate", json!({})).await.unwrap();
        assert_eq!(answer["status"], "completed");
        let null = std::fs::File::open("/dev/null").unwrap();
        let refused = qmp.ask_with("getfd", json!({}), Some(null.as_fd())).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "QEMU refused `getfd`: no such thing"
        );
        let reason = "guest-reset".into();
        assert_eq!(qmp.event().await.unwrap(), Event::Shutdown { reason });
        drop(qemu);
        assert!(matches!(
            qmp.ask("stop", json!({})).await,
            Err(QmpError::Ended | QmpError::Io { .. })
        ));
    }

    #[tokio::test]
    async fn events_come_through_noise() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        qemu.write_all(b"not json\r\n\xff\xfe\n").await.unwrap();
        qemu.write_all(GREETING).await.unwrap();
        qemu.write_all(b"\r\n{\"return\": {}}\r\n").await.unwrap();
        let mut qmp = Qmp::open(ours).await.unwrap();
        assert_eq!(qmp.version(), "7.2.22");

        let noise = tokio::spawn(async move {
            qemu.write_all(&vec![b'x'; 2 * MAX_LINE]).await.unwrap();
            for line in [
                "",
                "[1]",
                r#"{"event": "STOP"}"#,
                r#"{"return": {"running": false, "status": "internal-error"}}"#,
                r#"{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}"#,
            ] {
                let line = format!("{line}\r\n");
                qemu.write_all(line.as_bytes()).await.unwrap();
            }
        });
        let stopped = Event::Stopped {
            status: "internal-error".into(),
        };
        assert_eq!(qmp.event().await.unwrap(), stopped);
        let reason = "guest-reset".into();
        assert_eq!(qmp.event().await.unwrap(), Event::Shutdown { reason });
        noise.await.unwrap();
        assert!(qmp.event().await.is_err());
    }
}
