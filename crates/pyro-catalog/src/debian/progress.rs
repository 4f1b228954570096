//! Turns what the build prints into steps, and keeps its last lines for an error.

use std::collections::VecDeque;

use crate::monitor::report;
use crate::{Phase, ProgressMonitor};

const TAIL: usize = 40;

/// What a line begins with, and what that means. The fractions are shares of the time that a
/// pull took on two cores with a near mirror.
const MARKS: [(&str, Phase, f32, &str); 9] = [
    (
        "PYRO: bootstrap",
        Phase::Downloading,
        0.01,
        "reading package lists",
    ),
    (
        "I: running apt-get update",
        Phase::Downloading,
        0.02,
        "reading package lists",
    ),
    (
        "I: downloading packages",
        Phase::Downloading,
        0.10,
        "downloading packages",
    ),
    (
        "I: extracting archives",
        Phase::Installing,
        0.20,
        "unpacking the base system",
    ),
    (
        "I: installing essential",
        Phase::Installing,
        0.30,
        "installing the base system",
    ),
    (
        "I: installing remaining",
        Phase::Installing,
        0.50,
        "installing packages",
    ),
    (
        "PYRO: kernel",
        Phase::Kernel,
        0.75,
        "downloading the kernel",
    ),
    ("PYRO: tidy", Phase::Image, 0.80, "cleaning up"),
    ("PYRO: image", Phase::Image, 0.82, "writing the disk image"),
];

pub(crate) struct Progress<'a> {
    environment: &'static str,
    host: String,
    monitor: &'a dyn ProgressMonitor,
    step: &'static str,
    tail: VecDeque<String>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(
        environment: &'static str,
        host: &str,
        monitor: &'a dyn ProgressMonitor,
    ) -> Self {
        Self {
            environment,
            host: host.to_owned(),
            monitor,
            step: "starting",
            tail: VecDeque::with_capacity(TAIL),
        }
    }

    pub(crate) fn line(&mut self, line: &str) {
        if let Some((_, phase, fraction, what)) = MARKS.iter().find(|mark| line.starts_with(mark.0))
        {
            self.step = what;
            let message = match phase {
                Phase::Downloading => format!("{}: {what} from {}", self.environment, self.host),
                _ => format!("{}: {what}", self.environment),
            };
            report(self.monitor, *phase, *fraction, message);
        }
        if line.starts_with("PYRO: ") {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    /// The step reached, and the last lines.
    pub(crate) fn finish(self) -> (String, Vec<String>) {
        (self.step.to_owned(), self.tail.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CancelAfter;

    #[test]
    fn known_lines_become_steps_that_only_go_forward() {
        assert!(MARKS.is_sorted_by_key(|mark| mark.2));
        let monitor = CancelAfter::calls(usize::MAX);
        let mut progress = Progress::new("debian:12", "deb.debian.org", &monitor);
        for number in 0..100 {
            progress.line(&format!("noise {number}"));
        }
        progress.line("I: downloading packages with apt...");
        progress.line("E: no");
        let (step, tail) = progress.finish();
        assert_eq!(step, "downloading packages");
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail.last().unwrap(), "E: no");
        let steps = monitor.steps.borrow();
        assert_eq!(
            steps[0].message,
            "debian:12: downloading packages from deb.debian.org"
        );
    }
}
