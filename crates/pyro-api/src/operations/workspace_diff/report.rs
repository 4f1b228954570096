//! The changes in words: the patch on standard output, byte for byte, and everything that it cannot
//! tell on standard error.

use std::collections::BTreeMap;

use super::{CommitsMade, DiffEntry, Differences};
use crate::{Report, Text, report::plain};

/// What makes the commits of a mailbox again, with their lines as they are.
const AM: &str = "git am --keep-cr --keep-non-patch --patch-format=mboxrd";
/// Longest subject of a commit that is shown.
const SUBJECT: usize = 72;

impl Report for Differences {
    fn report(&self, text: &mut Text) {
        text.bytes.clone_from(&self.bytes);
        match self.is_mailbox {
            true => self.report_mailbox(text),
            false => self.report_changes(text),
        }
    }

    fn only(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

impl Differences {
    fn report_changes(&self, text: &mut Text) {
        for skipped in &self.skipped {
            tell(text, format!("not compared: {skipped}"));
        }
        if !self.changed {
            text.out("No workspace changes.");
            return;
        }
        let summary = &self.summary;
        text.out(format!(
            "[workspace-diff] workspace_id={} total={} added={} modified={} deleted={} \
             type_changed={} text_patched={} non_text={}",
            self.workspace_id,
            summary.total,
            summary.added,
            summary.modified,
            summary.deleted,
            summary.type_changed,
            summary.text_patched,
            summary.non_text
        ));
        self.report_what_is_not_shown(text);
        if !self.prefix.is_empty() {
            let prefix = plain(&self.prefix);
            tell(
                text,
                format!("names begin with {prefix}, the folder of the seed in its repository"),
            );
        }
        for made in &self.commits {
            tell(text, made.in_words());
        }
        if self.repositories_left_out > 0 {
            tell(
                text,
                format!(
                    "repositories with new objects, not checked for commits: {}; check one with \
                     `--commits=FOLDER`",
                    self.repositories_left_out
                ),
            );
        }
        if self.commits.iter().any(|made| made.count > 0) {
            tell(text, format!("`--commits` prints the commits for `{AM}`"));
        }
        if let Some(next) = self.next_skip {
            let (shown, total) = (self.entries.len(), summary.total);
            tell(
                text,
                format!(
                    "THIS PATCH IS NOT COMPLETE, it covers {shown} of {total} changed files: \
                     `--skip {next}` writes the next part, to be applied after this one"
                ),
            );
        }
    }

    fn report_what_is_not_shown(&self, text: &mut Text) {
        let mut in_repositories: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut missing, mut ways) = (0_u64, BTreeMap::new());
        for (at, entry) in (self.first..).zip(&self.entries) {
            let path = plain(&entry.path);
            match entry.no_patch_because.as_deref() {
                Some("repository") if !acts(&entry.path) => {
                    let folder = match entry.own_folder.as_deref() {
                        Some("") | None => ".",
                        Some(folder) => folder,
                    };
                    *in_repositories.entry(folder).or_default() += 1;
                    continue;
                }
                Some("mode") | None => {}
                Some(why) => {
                    tell(text, format!("no text diff ({why}): {path}"));
                    if let Some(way) = way_to(why, at) {
                        missing += 1;
                        ways.entry(why).or_insert(way);
                    }
                }
            }
            if let Some((old, new)) = entry.untold_modes() {
                tell(text, format!("mode changed from {old} to {new}: {path}"));
            }
        }
        for (folder, count) in in_repositories {
            let folder = plain(folder);
            tell(
                text,
                format!("no text diff (repository): {count} files in {folder}"),
            );
        }
        if missing > 0 {
            // Of several that are too long the first is named.
            let ways: Vec<String> = ways.into_values().collect();
            let ways = ways.join("; ");
            tell(
                text,
                format!("THIS PATCH IS NOT COMPLETE, it lacks {missing} files: {ways}"),
            );
        }
    }

    fn report_mailbox(&self, text: &mut Text) {
        for made in &self.commits {
            tell(text, made.in_words());
        }
        if !self.prefix.is_empty() && !self.patch.is_empty() {
            let folder = plain(self.prefix.trim_end_matches('/'));
            tell(
                text,
                format!(
                    "the seed is {folder} in its repository: `{AM} --directory={folder}` puts the \
                     files there"
                ),
            );
        }
        if self.empty_commits > 0 {
            tell(
                text,
                format!(
                    "commits that change no file and are left out: {} (`git bundle` keeps them)",
                    self.empty_commits
                ),
            );
        }
        match self.next_skip {
            Some(next) if self.patch.is_empty() => tell(
                text,
                format!(
                    "commit {next} is larger than --max-bytes; raise that, or export a `git bundle`"
                ),
            ),
            Some(next) => tell(
                text,
                format!("this mailbox is not complete; continue with --skip {next}"),
            ),
            None if self.patch.is_empty() => tell(text, "no commits to print"),
            None => {}
        }
    }
}

impl DiffEntry {
    /// A change of mode that is not in the patch.
    fn untold_modes(&self) -> Option<(&str, &str)> {
        let (old, new) = (self.old_mode.as_deref()?, self.new_mode.as_deref()?);
        let runs = |mode: &str| u32::from_str_radix(mode, 8).is_ok_and(|mode| mode & 0o100 != 0);
        let is_told = self.no_patch_because.is_none() && runs(old) != runs(new);
        (!is_told).then_some((old, new))
    }
}

impl CommitsMade {
    fn in_words(&self) -> String {
        let repository = plain(&self.repository);
        if let Some(why) = &self.unknown_because {
            return format!("commits in {repository}: unknown, {}", plain(why));
        }
        let on = match &self.branch {
            Some(branch) => format!(" ({})", plain(branch)),
            None => " (detached HEAD)".to_owned(),
        };
        let mut words = format!("commits made in {repository}{on}: {}", self.count);
        let subjects: Vec<String> = self.subjects.iter().map(|one| quoted(one)).collect();
        if !subjects.is_empty() {
            words.push_str(&format!(", newest first {}", subjects.join(", ")));
        }
        if self.count > self.subjects.len() as u64 {
            words.push_str(", …");
        }
        if self.unmailable > 0 {
            words.push_str(&format!(
                "; with a message that `git am` would mistake for a patch: {} (use `git bundle` \
                 for them)",
                self.unmailable
            ));
        }
        if self.merges > 0 {
            words.push_str(&format!(
                "; merges, which a mailbox cannot hold: {}",
                self.merges
            ));
        }
        if self.elsewhere > 0 {
            words.push_str(&format!(
                "; on other branches: {} (`git bundle create FILE --branches` includes them)",
                self.elsewhere
            ));
        }
        if self.rewritten {
            let base = self.base.as_deref().unwrap_or("nothing");
            words.push_str(&format!(
                "; history was rewritten, they are based on {base}"
            ));
        }
        words
    }
}

fn tell(text: &mut Text, words: impl AsRef<str>) {
    text.err(format!("[workspace-diff] {}", words.as_ref()));
}

fn quoted(subject: &str) -> String {
    let short: String = subject.chars().take(SUBJECT).collect();
    format!("\"{}\"", plain(&short))
}

/// How to get what is not in the patch; `None` where no patch has it.
fn way_to(why: &str, at: u64) -> Option<String> {
    Some(match why {
        "binary" => "`--binary` includes binary files".to_owned(),
        "limit" => {
            format!("`--skip {at}` with a larger `--max-bytes` starts at what was too long")
        }
        "too_large" => "`pyro workspace export` copies large files".to_owned(),
        _ => return None,
    })
}

/// Whether a file of a repository's own folder changes what commands on it do.
fn acts(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    let name = parts.next().unwrap_or_default();
    matches!(
        name,
        ".git" | "config" | "config.worktree" | "config.toml" | "attributes" | "hgrc"
    ) || parts.any(|part| part == "hooks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_in_a_repository_is_named_by_itself() {
        for path in [
            ".git/hooks/post-checkout",
            "sub/.git/config",
            ".git/modules/x/config",
            ".hg/hgrc",
            "sub/.git",
        ] {
            assert!(acts(path), "{path}");
        }
        for path in [".git/objects/ab/cd", ".git/HEAD", ".git/logs/HEAD"] {
            assert!(!acts(path), "{path}");
        }
    }
}
