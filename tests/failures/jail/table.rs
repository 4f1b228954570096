//! What stopped each attempt, as docs/security.md shows it.

use std::collections::BTreeSet;

use nix::errno::Errno;
use pyro_tests::attack::{ATTEMPTS, Attempt, Outcome, Place, Stopped};
use pyro_tests::page;

use super::attack::Outcomes;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");

/// One run of the attacker.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) of_root: bool,
    pub(super) with_namespaces: bool,
    pub(super) outcomes: Outcomes,
}

impl Column {
    /// Why this is not stopped here, where that is known.
    pub(super) fn known_open(&self, place: Place, attempt: &Attempt) -> Option<&'static str> {
        if place == Place::Shim {
            return attempt.is_open_to_shim();
        }
        let why = attempt.is_open_without_namespaces(self.of_root);
        why.filter(|_| !self.with_namespaces)
    }
}

/// The attempts of a place, with what came of them in each run. Those that worked for nobody without a jail
/// are marked: this kernel has nothing of the kind.
pub(super) fn table(place: Place, columns: &[Column], proven: &BTreeSet<usize>) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut table = format!("| attempt | {} |\n|---|", titles.join(" | "));
    table += &"---|".repeat(columns.len());
    table.push('\n');
    for (number, attempt) in of(place) {
        let cells = columns
            .iter()
            .map(|column| match column.known_open(place, attempt) {
                Some(why) => format!("*not stopped*: {why}"),
                None => cell(place, column.outcomes.get(&number)),
            });
        let cells: Vec<String> = cells.collect();
        let mark = if proven.contains(&number) { "" } else { "°" };
        table += &format!("| {}{mark} | {} |\n", attempt.name, cells.join(" | "));
    }
    table
}

pub(super) fn of(place: Place) -> impl Iterator<Item = (usize, &'static Attempt)> {
    let all = ATTEMPTS.iter().enumerate();
    all.filter(move |(_, attempt)| attempt.is_for(place))
}

fn cell(place: Place, outcome: Option<&Outcome>) -> String {
    match outcome {
        Some(Outcome::Stopped(stopped)) => {
            format!("{}, `{:?}`", layer(place, stopped), stopped.errno)
        }
        Some(Outcome::Worked) => "**not stopped**".to_owned(),
        Some(Outcome::Gone) => "**gone**".to_owned(),
        None => "**not tried**".to_owned(),
    }
}

/// Whose answer it is. Nothing of what is attempted is missing outside of the jail, where all of it works.
fn layer(place: Place, stopped: &Stopped) -> &'static str {
    match stopped.errno {
        // What the filter answers to all that is not on its list.
        Errno::ENOSYS => "filter",
        Errno::ENOENT => "root folder",
        Errno::EROFS => "read-only",
        Errno::ESRCH => "process ids",
        // It opens nothing without asking.
        Errno::EACCES if place == Place::Network && stopped.call == "openat" => "gate",
        Errno::EACCES if stopped.mode_allows || stopped.call == "bind" => "Landlock",
        Errno::EACCES => "owner",
        Errno::EFBIG | Errno::EAGAIN | Errno::EMFILE | Errno::ENOMEM => "limit",
        Errno::EBADF => "descriptors",
        Errno::EPERM if stopped.call == "SIGIO" => "Landlock",
        Errno::EPERM => "no right",
        _ => "other",
    }
}

/// That the page shows what was seen; `PYRO_WRITE_PAGE=1` puts it in. On another series of the kernel an
/// errno may be another one, so that only the attempts are compared.
pub(super) fn assert_on_page(name: &str, table: &str) {
    let page = std::fs::read_to_string(PAGE).expect("docs/security.md");
    let wanted = page::with(&page, name, table);
    if std::env::var_os("PYRO_WRITE_PAGE").is_some() {
        std::fs::write(PAGE, wanted).expect("docs/security.md can be written");
        return;
    }
    let attempts = |page: &str| -> BTreeSet<String> {
        let rows = page.lines().filter(|line| line.starts_with("| "));
        rows.map(|row| row.split(" | ").next().unwrap_or_default().to_owned())
            .collect()
    };
    let series = kernel_series();
    let is_same = if page.contains(&format!("Linux {series}")) {
        page == wanted
    } else {
        attempts(&page) == attempts(&wanted)
    };
    assert!(
        is_same,
        "docs/security.md does not show what was seen (PYRO_WRITE_PAGE=1 puts it right):\n{table}"
    );
}

/// `6.18`
fn kernel_series() -> String {
    let names = nix::sys::utsname::uname().expect("the name of this kernel");
    let release = names.release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}
