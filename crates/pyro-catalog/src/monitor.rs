//! How a long call says what it does, and learns that nobody waits for it any more.

/// Lent by the caller of a pull. Asked and told from the calling thread only.
pub trait ProgressMonitor {
    fn progress(&self, step: &Step);
    /// Once true, the call ends within about 200 ms with `Cancelled` and leaves nothing.
    fn cancelled(&self) -> bool;
}

/// A [`ProgressMonitor`] that neither listens nor cancels.
#[derive(Debug, Clone, Copy)]
pub struct NoMonitor;

impl ProgressMonitor for NoMonitor {
    fn progress(&self, _step: &Step) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// What a pull is doing just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub phase: Phase,
    pub message: String,
    /// How far the whole pull is, from 0 to 1, where that can be said.
    pub fraction: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Another process pulls the same environment.
    Waiting,
    /// What is installed is compared with its digest.
    Checking,
    /// Package lists and packages come from the mirror.
    Downloading,
    /// Packages are unpacked and configured.
    Installing,
    /// The kernel is fetched and its drivers are picked.
    Kernel,
    /// The disk image is written.
    Image,
    /// The result is hashed, synced and renamed into the cache.
    Publishing,
}

impl Phase {
    /// A stable word, for events and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Checking => "checking",
            Self::Downloading => "downloading",
            Self::Installing => "installing",
            Self::Kernel => "kernel",
            Self::Image => "image",
            Self::Publishing => "publishing",
        }
    }
}

/// Tells `monitor` where a pull is.
pub(crate) fn report(
    monitor: &dyn ProgressMonitor,
    phase: Phase,
    fraction: f32,
    message: impl Into<String>,
) {
    monitor.progress(&Step {
        phase,
        message: message.into(),
        fraction: Some(fraction),
    });
}
