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

use crate::convert::{misuse_error, to_exception, to_python};
use crate::process::{Process, SHUTDOWN_TIMEOUT};

/// Pieces of output that wait for the callback; then the command waits.
const QUEUED_MESSAGES: usize = 64;

/// How soon the main thread answers a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

enum Message {
    Output { stream: Stream, bytes: Vec<u8> },
    Done(Result<Value, Error>),
}

/// The end of the channel at which the call works.
struct CallSender {
    messages: SyncSender<Message>,
    wakeup: Option<Arc<EventFd>>,
}

impl CallSender {
    fn send(&self, message: Message) -> Result<(), Disconnected> {
        // The others of this thread's calls go elsewhere while it waits for a slow callback.
        block_in_place(|| self.messages.send(message)).map_err(|_| Disconnected)?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(wakeup) = &self.wakeup {
            // A counter that is full is readable, too.
            let _ = wakeup.write(1);
        }
    }
}

impl Drop for CallSender {
    /// A call that ends without a word is to be noticed, too.
    fn drop(&mut self) {
        self.wake();
    }
}

/// Passes on what a command prints.
struct Output(Arc<CallSender>);

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
    wakeup: Option<Arc<EventFd>>,
    task: AbortHandle,
    /// Tells the call to end, where it takes its leave by itself. Others are dropped.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    /// The result that came when nobody waited for it any more.
    late_result: Mutex<Option<Value>>,
}

impl Call {
    /// `begin` gets the sink for output, where that is wanted.
    pub(crate) fn begin<F>(
        process: &'static Process,
        output: bool,
        wakeup: bool,
        begin: impl FnOnce(Option<Arc<dyn EventSink>>) -> F,
    ) -> PyResult<Self>
    where
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let (sender, messages) = sync_channel(QUEUED_MESSAGES);
        let wakeup = wakeup
            .then(|| EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK))
            .transpose()
            .map_err(std::io::Error::from)?
            .map(Arc::new);
        let post = Arc::new(CallSender {
            messages: sender,
            wakeup: wakeup.clone(),
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
            wakeup,
            task,
            stop: Mutex::default(),
            late_result: Mutex::default(),
        })
    }

    /// The same call, which is told when it is to end.
    pub(crate) fn stopped_by(self, stop: oneshot::Sender<()>) -> Self {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        self
    }

    /// The next message; none when it is time to look for signals.
    fn next(&self, messages: &Receiver<Message>, poll_signals: bool) -> Option<Message> {
        if poll_signals {
            match messages.recv_timeout(SIGNAL_POLL) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {}
            }
        } else if let Ok(message) = messages.recv() {
            return Some(message);
        }
        Some(Message::Done(Err(self.ended_without_result())))
    }

    fn ended_without_result(&self) -> Error {
        // A daemon thread must not come back to an interpreter that is being taken down.
        while self.process.is_closing() {
            thread::park();
        }
        Error::new(ErrorCode::Internal, "Internal error in pyro")
    }

    /// Ends the call and gives it time to clear up. Whatever it says meanwhile is taken, so that it
    /// never waits to say it.
    fn end(&self, py: Python<'_>, messages: &Mutex<Receiver<Message>>) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match stop {
            Some(stop) => drop(stop.send(())),
            None => self.task.abort(),
        }
        let late_result = py.detach(|| {
            let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            let until = Instant::now() + SHUTDOWN_TIMEOUT;
            let mut late_result = None;
            loop {
                let over = self.task.is_finished() || Instant::now() >= until;
                while let Ok(message) = messages.try_recv() {
                    if let Message::Done(Ok(result)) = message {
                        late_result = Some(result);
                    }
                }
                if over {
                    return late_result;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        self.task.abort();
        *self
            .late_result
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = late_result;
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
        let messages = messages.ok_or_else(|| misuse_error("this call has been waited for"))?;
        // Python's handlers of signals run on the main thread only.
        let poll_signals = nix::unistd::gettid() == nix::unistd::getpid();
        let receiver = Mutex::new(messages);
        loop {
            let message = py.detach(|| {
                let messages = receiver.lock().unwrap_or_else(PoisonError::into_inner);
                self.next(&messages, poll_signals)
            });
            let callback = match message {
                None => py.check_signals(),
                Some(Message::Done(outcome)) => return to_result(py, outcome),
                Some(Message::Output { stream, bytes }) => match &on_output {
                    Some(hear) => hear.call1(output_tuple(py, stream, &bytes)?).map(drop),
                    None => Ok(()),
                },
            };
            if let Err(exception) = callback {
                self.end(py, &receiver);
                return Err(exception);
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
                .ok_or_else(|| misuse_error("this call has ended"))?;
            match messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => {
                    return Ok(None);
                }
                Err(TryRecvError::Disconnected) => {
                    let broke = Error::new(ErrorCode::Cancelled, "The call was cancelled");
                    Message::Done(Err(broke))
                }
            }
        };
        match message {
            Message::Output { stream, bytes } => output_tuple(py, stream, &bytes).map(Some),
            Message::Done(outcome) => {
                let result = to_result(py, outcome)?;
                (py.None(), result).into_pyobject(py).map(Some)
            }
        }
    }

    /// Makes the wakeup descriptor unreadable, before everything that has come is taken.
    fn clear_wakeup(&self) {
        if let Some(wakeup) = &self.wakeup {
            let _ = wakeup.read();
        }
    }

    /// Becomes readable when there is something to take.
    fn fileno(&self) -> PyResult<RawFd> {
        let wakeup = self.wakeup.as_ref();
        wakeup
            .map(|wakeup| wakeup.as_raw_fd())
            .ok_or_else(|| misuse_error("this call has no wakeup descriptor"))
    }

    /// Ends the call and whatever it had started. Where it had come to its end before that, its
    /// result is returned, as it was nobody's yet.
    fn cancel<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(messages) = self.receiver().take() {
            self.end(py, &Mutex::new(messages));
        }
        let late_result = self
            .late_result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        late_result.map(|result| to_python(py, &result)).transpose()
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

fn output_tuple<'py>(
    py: Python<'py>,
    stream: Stream,
    bytes: &[u8],
) -> PyResult<Bound<'py, PyTuple>> {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    (name, PyBytes::new(py, bytes)).into_pyobject(py)
}

fn to_result<'py>(py: Python<'py>, outcome: Result<Value, Error>) -> PyResult<Bound<'py, PyAny>> {
    match outcome {
        Ok(value) => to_python(py, &value),
        Err(error) => Err(to_exception(py, &error)),
    }
}
