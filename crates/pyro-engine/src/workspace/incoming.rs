//! Host files on their way in: looked at first, then sent, with progress for the caller.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_api::values::{LeftOut, SeedMode};
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_transfer::Totals;
use pyro_transfer::host_paths::home;
use pyro_transfer::import::{GuestIndex, ImportError, Packed, Source, SourceKind, Survey};

use super::host_paths::{admit, allowed};
use super::selection::Selection;
use crate::error::{broke, cancelled};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// A source that was looked at and found fit.
pub(crate) struct Incoming {
    source: Source,
    survey: Survey,
    selection: Selection,
}

impl Incoming {
    pub(crate) async fn open(
        path: PathBuf,
        selection: Selection,
        caller: &Caller,
    ) -> Result<Self, Error> {
        admit(&path, caller).await?;
        let caller = caller.clone();
        let look = move || {
            let home = home();
            let source =
                Source::open(&path, home.as_deref())?.limited(selection.filter(), allowed(&caller));
            let survey = source.survey(&mut progress(&caller, "scanning", None))?;
            Ok(Self {
                source,
                survey,
                selection,
            })
        };
        tokio::task::spawn_blocking(look)
            .await
            .map_err(|error| broke(&error))?
            .map_err(unfit)
    }

    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    pub(crate) fn mode(&self) -> SeedMode {
        match self.source.kind() {
            SourceKind::Folder => SeedMode::Directory,
            SourceKind::Archive => SeedMode::TarArchive,
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.survey.totals()
    }

    /// What was left out, and what there is to know about the rest.
    pub(crate) fn told(&self) -> (LeftOut, Vec<String>) {
        let found = self.survey.left_out();
        let left_out = LeftOut {
            entry_count: found.entries,
            bytes: found.bytes,
            paths: found.paths.clone(),
            exclude: self.selection.exclude.clone(),
            gitignore: self.selection.gitignore,
        };
        (left_out, self.survey.notes())
    }

    /// Sends everything, or what the guest does not have. Blocks.
    pub(crate) fn send(
        &self,
        index: Option<&GuestIndex>,
        to: &mut dyn Write,
        caller: &Caller,
    ) -> Result<Packed, Error> {
        let mut on_progress = progress(caller, "copying in", Some(self.survey.totals()));
        self.source
            .pack(&self.survey, index, to, &mut on_progress)
            .map_err(unfit)
    }
}

/// Tells a caller how far a pass is, and ends it when nobody listens any more.
fn progress<'a>(
    caller: &'a Caller,
    doing: &'static str,
    whole: Option<Totals>,
) -> impl FnMut(Totals) -> ControlFlow<()> + 'a {
    let mut told = Instant::now();
    move |done| {
        if told.elapsed() < TELL_EVERY {
            return ControlFlow::Continue(());
        }
        told = Instant::now();
        let fraction = whole
            .filter(|whole| whole.bytes > 0)
            .map(|whole| done.bytes as f32 / whole.bytes as f32);
        let message = format!("{doing} {} entries, {} MiB", done.entries, done.bytes >> 20);
        match caller.emit(Event::Progress { message, fraction }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

fn unfit(error: ImportError) -> Error {
    let (code, hint) = match &error {
        ImportError::Cancelled => return cancelled(),
        ImportError::Changed { .. } => (
            ErrorCode::Conflict,
            "Try again when nothing writes to it; nothing was changed",
        ),
        ImportError::Stream { .. } => (ErrorCode::VmDied, "Nothing was changed; try again"),
        ImportError::Unusable { .. } | ImportError::NotASource { .. } => (
            ErrorCode::BadSeed,
            "Give a folder, or a .tar, .tar.gz, .tgz or .tar.zst file of this host",
        ),
        ImportError::Refused { .. } | ImportError::TooMany { .. } => (
            ErrorCode::BadSeed,
            "Leave it out with `--exclude` (`exclude`) or a `.pyroignore`; nothing was changed",
        ),
        ImportError::NoRules { .. } => (
            ErrorCode::BadSeed,
            "Make it a regular file of at most 1 MiB that you can read; nothing was changed",
        ),
        ImportError::Unreadable { .. } => (
            ErrorCode::BadSeed,
            "Make it readable, or leave it out with `--exclude` (`exclude`); nothing was changed",
        ),
        ImportError::Archive { .. } => (
            ErrorCode::BadSeed,
            "Check the archive with `tar tf`; nothing was changed",
        ),
    };
    Error::new(code, "The source cannot be copied in")
        .caused_by(&error)
        .hint(hint)
}
