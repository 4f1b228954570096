//! What a surface lends to an operation while it is carried out.

use std::future::{Future, pending};
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Where a caller's events go. Called from the engine's tasks, one event at a time.
pub trait EventSink: Send + Sync {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected>;
}

/// Nobody listens any more (a closed pipe): the operation should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

/// Something that happens while an operation is carried out.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A step begins: `[scope] phase=… key=value`.
    Phase {
        scope: &'static str,
        phase: &'static str,
        fields: Vec<(&'static str, String)>,
    },
    /// A step advances. The fraction is between 0 and 1, absent when unknown.
    Progress {
        message: String,
        fraction: Option<f32>,
    },
    /// Something a person should know although nothing failed.
    Note(String),
    /// Bytes that a guest command wrote, exactly.
    Output { stream: Stream, bytes: &'a [u8] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The terminal that a person sits at, which an operation may take over.
pub trait PersonTerminal: Send + Sync {
    /// Whether standard error is shown there too, and does not go elsewhere.
    fn shows_errors(&self) -> bool;

    /// Every key and every change of its size goes to `on_event` from now on, which may keep whoever
    /// calls it waiting. The terminal is itself again when the answer is dropped.
    fn take(
        &self,
        on_event: Box<dyn Fn(TerminalEvent) + Send + Sync>,
    ) -> io::Result<Box<dyn TakenTerminal>>;
}

/// A terminal that was taken over.
pub trait TakenTerminal: Send + Sync {
    /// Columns and rows.
    fn size(&self) -> (u16, u16);

    /// Writes exactly this.
    fn show(&self, bytes: &[u8]) -> Result<(), Disconnected>;
}

/// What comes from a terminal that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalEvent {
    Input(Vec<u8>),
    Resized {
        cols: u16,
        rows: u16,
    },
    /// The person is gone.
    HungUp,
}

/// How a caller says that the work is to come to its end now, and that the answer is still wanted.
pub trait Interruption: Send + Sync {
    /// Comes when that is said. As long as nobody waits for it, the call is dropped instead.
    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Folders of this host that an operation may read from and write to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Folders {
    /// Whatever the user of this process may.
    #[default]
    All,
    /// These, and what is below them.
    Only {
        folders: Arc<[PathBuf]>,
        /// The setting that names them, for errors.
        named_by: &'static str,
    },
}

/// Whether guests may be given a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Networks {
    /// Those that ask for one.
    #[default]
    Allowed,
    /// None, by this setting and its value, for errors.
    Forbidden { by: String },
}

/// A caller without wishes: hears nothing, gives no input, keeps nothing of the output.
#[derive(Clone, Default)]
pub struct Caller {
    events: Option<Arc<dyn EventSink>>,
    input: Arc<Mutex<Option<Box<dyn Read + Send>>>>,
    input_waits: Option<fn() -> bool>,
    keep_output: usize,
    terminal: Option<Arc<dyn PersonTerminal>>,
    model: bool,
    folders: Folders,
    networks: Networks,
    deadline: Option<Instant>,
    interruption: Option<Arc<dyn Interruption>>,
    ends_when_interrupted: bool,
}

impl Caller {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tell events to `sink`.
    pub fn with_events(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.events = Some(sink);
        self
    }

    /// What a guest command reads from its standard input; empty without this.
    pub fn with_input(mut self, input: Box<dyn Read + Send>) -> Self {
        self.input = Arc::new(Mutex::new(Some(input)));
        self
    }

    /// How to see whether something is there to be read from the input, without reading it.
    pub fn seeing_input(mut self, waits: fn() -> bool) -> Self {
        self.input_waits = Some(waits);
        self
    }

    /// How many bytes of each output stream the result holds, head and tail together.
    pub fn keeping_output(mut self, bytes: usize) -> Self {
        self.keep_output = bytes;
        self
    }

    /// A person sits there, at this terminal.
    pub fn with_terminal(mut self, terminal: Arc<dyn PersonTerminal>) -> Self {
        self.terminal = Some(terminal);
        self
    }

    /// The arguments come from a model, which may be led by what it reads: it gets no more of this
    /// host than these folders, no network that is forbidden, and nothing that a person did not set
    /// up.
    pub fn for_model(mut self, folders: Folders, networks: Networks) -> Self {
        self.model = true;
        self.folders = folders;
        self.networks = networks;
        self
    }

    /// An answer after that reaches nobody any more.
    pub fn with_deadline(mut self, moment: Option<Instant>) -> Self {
        self.deadline = moment;
        self
    }

    /// It can say that the work is to end.
    pub fn with_interruption(mut self, interruption: Arc<dyn Interruption>) -> Self {
        self.interruption = Some(interruption);
        self
    }

    /// The commands of this caller are asked to end by an interruption, and answered for. Without
    /// this it drops the call.
    pub fn ending_when_interrupted(mut self) -> Self {
        self.ends_when_interrupted = true;
        self
    }

    /// Comes when a command of this caller is to end.
    pub async fn command_is_to_end(&self) {
        match self.ends_when_interrupted {
            true => self.interrupted().await,
            false => pending().await,
        }
    }

    /// Comes when the work is to end, whoever does it.
    pub async fn interrupted(&self) {
        match &self.interruption {
            Some(interruption) => interruption.wait().await,
            None => pending().await,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn is_model(&self) -> bool {
        self.model
    }

    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    pub fn terminal(&self) -> Option<&dyn PersonTerminal> {
        self.terminal.as_deref()
    }

    pub fn emit(&self, event: Event<'_>) -> Result<(), Disconnected> {
        match &self.events {
            Some(sink) => sink.event(event),
            None => Ok(()),
        }
    }

    /// The input, once: the first command that asks gets it.
    pub fn take_input(&self) -> Option<Box<dyn Read + Send>> {
        self.input
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }

    /// Whether there is an input that nothing has taken.
    pub fn has_input(&self) -> bool {
        let input = self.input.lock();
        let input = input.unwrap_or_else(std::sync::PoisonError::into_inner);
        input.is_some()
    }

    /// Whether something waits in that input, as far as can be seen.
    pub fn input_waits(&self) -> bool {
        self.has_input() && self.input_waits.is_some_and(|waits| waits())
    }

    pub fn keep_output(&self) -> usize {
        self.keep_output
    }
}
