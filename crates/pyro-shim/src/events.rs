//! Events to the engine, through the pipe that was standard output.
//!
//! A reader that is gone or does not read must not hold up a VM, and the pipe may be shared with
//! somebody who minds `O_NONBLOCK`. So a thread of its own does the writing and may well block.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use pyro_wire::frame;
use pyro_wire::launch::LaunchEvent;
use pyro_wire::step::Listener;

use crate::jail;

/// How long the end of a shim waits for a reader that is slow.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Events {
    /// `None` is the end.
    queue: Sender<Option<Task>>,
    written: Receiver<()>,
}

/// What the thread does next.
enum Task {
    Write(Vec<u8>),
    Run(Box<dyn FnOnce() + Send>),
}

impl Events {
    pub(crate) fn to(pipe: File) -> Self {
        let (queue, frames) = channel();
        let (done, written) = channel();
        let writer = thread::Builder::new().name("events".into());
        // Without a thread there are no events; the VM can do without them.
        let _ = writer.spawn(move || {
            // It does no more than that, and needs no rights for it.
            let _ = jail::drop_capabilities();
            write_all(pipe, frames);
            let _ = done.send(());
        });
        Self { queue, written }
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.send(&LaunchEvent::Note(text.into()));
    }

    /// Tells the engine every step from here on.
    pub(crate) fn forward_steps(&self) {
        let queue = self.queue.clone();
        Listener::new("shim", move |step| {
            if let Some(bytes) = encode(&LaunchEvent::Step(step)) {
                let _ = queue.send(Some(Task::Write(bytes)));
            }
        })
        .install();
    }

    pub(crate) fn send(&self, event: &LaunchEvent) {
        if let Some(bytes) = encode(event) {
            let _ = self.queue.send(Some(Task::Write(bytes)));
        }
    }

    /// Has the thread do this before it writes any event that is sent later.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) {
        let _ = self.queue.send(Some(Task::Run(Box::new(task))));
    }

    /// Gives the last events a moment to be written.
    pub(crate) fn finish(self) {
        let _ = self.queue.send(None);
        let _ = self.written.recv_timeout(FLUSH_TIMEOUT);
    }
}

fn encode(event: &LaunchEvent) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // Writing to memory never waits.
    let written = frame::write_message(&mut bytes, event).now_or_never();
    matches!(written, Some(Ok(()))).then_some(bytes)
}

fn write_all(mut pipe: File, tasks: Receiver<Option<Task>>) {
    for task in tasks.iter().map_while(|task| task) {
        match task {
            Task::Write(frame) if pipe.write_all(&frame).is_err() => return,
            Task::Write(_) => {}
            Task::Run(task) => task(),
        }
    }
}
