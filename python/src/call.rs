//! One call that is being carried out, and the thread that waits for it.
//!
//! Output and the result come through a channel, so that Python's code only ever runs on threads
//! of Python. A call that nobody holds any more is dropped, which ends what it had started.

use std::future::Future;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyro_api::{Disconnected, Error, ErrorCode, Event, EventSink, Stream};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, block_in_place};

use crate::convert::{misuse, raised, to_python};
use crate::process::{CLEAR_UP, Process};

/// Pieces of output that wait for the callback; then the command waits.
const WAITING: usize = 64;

/// How soon the main thread answers a signal.
const ATTENTIVE: Duration = Duration::from_millis(20);

enum Message {
    Output { stream: Stream, bytes: Vec<u8> },
    Done(Result<Value, Error>),
}

/// The end of the channel at which the call works.
struct Post {
    messages: SyncSender<Message>,
    bell: Option<Arc<EventFd>>,
}

impl Post {
    fn send(&self, message: Message) -> Result<(), Disconnected> {
        // The others of this thread's calls go elsewhere while it waits for a slow callback.
        block_in_place(|| self.messages.send(message)).map_err(|_| Disconnected)?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // A bell that has rung too often to count still rings.
            let _ = bell.write(1);
        }
    }
}

impl Drop for Post {
    /// A call that ends without a word is to be noticed, too.
    fn drop(&mut self) {
        self.ring();
    }
}

/// Passes on what a command prints.
struct Output(Arc<Post>);

impl EventSink for Output {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        match event {
            Event::Output { stream, bytes } => self.0.send(Message::Output {
                stream,
                bytes: bytes.to_vec(),
            }),
            Event::Phase { .. } | Event::Progress { .. } | Event::Note(_) => Ok(()),
        }
    }
}

/// A call that has begun.
#[pyclass(frozen, module = "pyro_mcp._pyro")]
pub(crate) struct Call {
    process: &'static Process,
    messages: Mutex<Option<Receiver<Message>>>,
    bell: Option<Arc<EventFd>>,
    task: AbortHandle,
    /// Tells the call to end, where it takes its leave by itself. Others are dropped.
    leave: Mutex<Option<oneshot::Sender<()>>>,
    /// The result that came when nobody waited for it any more.
    late: Mutex<Option<Value>>,
}

impl Call {
    /// `begin` gets the sink for output, where that is wanted.
    pub(crate) fn begin<F>(
        process: &'static Process,
        output: bool,
        bell: bool,
        begin: impl FnOnce(Option<Arc<dyn EventSink>>) -> F,
    ) -> PyResult<Self>
    where
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let (sender, messages) = sync_channel(WAITING);
        let bell = bell
            .then(|| EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK))
            .transpose()
            .map_err(std::io::Error::from)?
            .map(Arc::new);
        let post = Arc::new(Post {
            messages: sender,
            bell: bell.clone(),
        });
        let sink = output.then(|| Arc::new(Output(Arc::clone(&post))) as Arc<dyn EventSink>);
        let work = begin(sink);
        let task = process.spawn(async move {
            let outcome = work.await;
            let _ = post.send(Message::Done(outcome));
        });
        Ok(Self {
            process,
            messages: Mutex::new(Some(messages)),
            bell,
            task,
            leave: Mutex::default(),
            late: Mutex::default(),
        })
    }

    /// The same call, which is told when it is to end.
    pub(crate) fn told_by(self, leave: oneshot::Sender<()>) -> Self {
        *self.leave.lock().unwrap_or_else(PoisonError::into_inner) = Some(leave);
        self
    }

    /// The next message; none when it is time to look for signals.
    fn next(&self, messages: &Receiver<Message>, attentive: bool) -> Option<Message> {
        if attentive {
            match messages.recv_timeout(ATTENTIVE) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {}
            }
        } else if let Ok(message) = messages.recv() {
            return Some(message);
        }
        Some(Message::Done(Err(self.ended_without_a_word())))
    }

    fn ended_without_a_word(&self) -> Error {
        // A daemon thread must not come back to an interpreter that is being taken down.
        while self.process.is_closing() {
            thread::park();
        }
        Error::new(ErrorCode::Internal, "pyro broke")
    }

    /// Ends the call and gives it time to clear up. Whatever it says meanwhile is taken, so that it
    /// never waits to say it.
    fn end(&self, py: Python<'_>, messages: &Mutex<Receiver<Message>>) {
        let leave = self
            .leave
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match leave {
            Some(leave) => drop(leave.send(())),
            None => self.task.abort(),
        }
        let late = py.detach(|| {
            let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            let until = Instant::now() + CLEAR_UP;
            let mut late = None;
            loop {
                let over = self.task.is_finished() || Instant::now() >= until;
                while let Ok(message) = messages.try_recv() {
                    if let Message::Done(Ok(result)) = message {
                        late = Some(result);
                    }
                }
                if over {
                    return late;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        self.task.abort();
        *self.late.lock().unwrap_or_else(PoisonError::into_inner) = late;
    }

    fn receiver(&self) -> std::sync::MutexGuard<'_, Option<Receiver<Message>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Call {
    /// Waits for the end, handing output to a callback on the way.
    #[pyo3(signature = (on_output=None))]
    fn wait<'py>(
        &self,
        py: Python<'py>,
        on_output: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let messages = self.receiver().take();
        let messages = messages.ok_or_else(|| misuse("this call has been waited for"))?;
        // Python's handlers of signals run on the main thread only.
        let attentive = nix::unistd::gettid() == nix::unistd::getpid();
        let receiver = Mutex::new(messages);
        loop {
            let message = py.detach(|| {
                let messages = receiver.lock().unwrap_or_else(PoisonError::into_inner);
                self.next(&messages, attentive)
            });
            let heard = match message {
                None => py.check_signals(),
                Some(Message::Done(outcome)) => return answered(py, outcome),
                Some(Message::Output { stream, bytes }) => match &on_output {
                    Some(hear) => hear.call1(piece(py, stream, &bytes)?).map(drop),
                    None => Ok(()),
                },
            };
            if let Err(raised) = heard {
                self.end(py, &receiver);
                return Err(raised);
            }
        }
    }

    /// What has come since the last time, as `(stream, bytes)` or `(None, result)`; `None` when
    /// nothing has.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let message = {
            let receiver = self.receiver();
            let messages = receiver
                .as_ref()
                .ok_or_else(|| misuse("this call is over"))?;
            match messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => {
                    return Ok(None);
                }
                Err(TryRecvError::Disconnected) => {
                    let broke = Error::new(ErrorCode::Cancelled, "The call was ended");
                    Message::Done(Err(broke))
                }
            }
        };
        match message {
            Message::Output { stream, bytes } => piece(py, stream, &bytes).map(Some),
            Message::Done(outcome) => {
                let result = answered(py, outcome)?;
                (py.None(), result).into_pyobject(py).map(Some)
            }
        }
    }

    /// Stops the bell, before everything that has come is taken.
    fn hush(&self) {
        if let Some(bell) = &self.bell {
            let _ = bell.read();
        }
    }

    /// Becomes readable when there is something to take.
    fn fileno(&self) -> PyResult<RawFd> {
        let bell = self.bell.as_ref();
        bell.map(|bell| bell.as_raw_fd())
            .ok_or_else(|| misuse("this call has no bell"))
    }

    /// Ends the call and whatever it had started. Where it had come to its end before that, its
    /// result is returned, as it was nobody's yet.
    fn cancel<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(messages) = self.receiver().take() {
            self.end(py, &Mutex::new(messages));
        }
        let late = self
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        late.map(|result| to_python(py, &result)).transpose()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // In a forked child the task is the parent's.
        if self.process.is_this() {
            self.task.abort();
        }
    }
}

fn piece<'py>(py: Python<'py>, stream: Stream, bytes: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    (name, PyBytes::new(py, bytes)).into_pyobject(py)
}

fn answered<'py>(py: Python<'py>, outcome: Result<Value, Error>) -> PyResult<Bound<'py, PyAny>> {
    match outcome {
        Ok(value) => to_python(py, &value),
        Err(error) => Err(raised(py, &error)),
    }
}
