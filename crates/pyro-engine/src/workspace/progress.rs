//! Work that blocks, and those who wait for it: they are told how far it is, and it ends when they
//! have gone.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyro_api::{Caller, Event};

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// Stays with whoever waits; dropping it ends the work.
pub(crate) struct CancelOnDrop(Arc<AtomicBool>);

/// The second half goes with the work, which calls it again and again with how many bytes of all
/// are done.
pub(crate) fn report_progress(
    caller: &Caller,
    doing: &'static str,
) -> (
    CancelOnDrop,
    impl FnMut(u64, u64) -> ControlFlow<()> + Send + 'static,
) {
    let cancelled = Arc::new(AtomicBool::new(false));
    let guard = CancelOnDrop(Arc::clone(&cancelled));
    let caller = caller.clone();
    let mut reported = Instant::now();
    let progress = move |done: u64, size: u64| {
        if cancelled.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if reported.elapsed() < REPORT_EVERY {
            return ControlFlow::Continue(());
        }
        reported = Instant::now();
        let message = format!("{doing}, {} of {} MiB", done >> 20, size >> 20);
        let fraction = Some(done as f32 / size.max(1) as f32);
        match caller.emit(Event::Progress { message, fraction }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    (guard, progress)
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
