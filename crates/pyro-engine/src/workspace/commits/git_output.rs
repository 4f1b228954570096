//! What git in the guest said, as far as it makes sense.

use std::collections::HashMap;

use pyro_api::operations::workspace_diff::CommitsMade;

use super::baseline_refs::id;

/// Characters of a line that are kept.
const LONGEST: usize = 200;
const SUBJECTS: usize = 10;

/// Of what `made.sh` prints.
pub(super) fn made(said: &[u8]) -> CommitsMade {
    let mut made = CommitsMade::default();
    let mut ended = false;
    for line in said.split(|byte| *byte == b'\n') {
        let line: String = String::from_utf8_lossy(line)
            .chars()
            .take(LONGEST)
            .collect();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let number = || rest.parse().unwrap_or_default();
        match word {
            "no" if rest == "git" => {
                return unknown("git is not installed in the guest".to_owned());
            }
            // An empty repository, or one whose `HEAD` is damaged.
            "no" => return made,
            "branch" if !rest.is_empty() => made.branch = Some(rest.to_owned()),
            "count" => made.count = number(),
            "merges" => made.merges = number(),
            "unmailable" => made.unmailable = number(),
            "elsewhere" => made.elsewhere = number(),
            "base" => made.base = id(rest.as_bytes()),
            "rewritten" => made.rewritten = true,
            "subject" if made.subjects.len() < SUBJECTS => made.subjects.push(rest.to_owned()),
            "end" => ended = true,
            _ => {}
        }
    }
    match ended {
        true => made,
        false => unknown("git in the guest returned an incomplete answer".to_owned()),
    }
}

pub(super) fn unknown(because: String) -> CommitsMade {
    CommitsMade {
        unknown_because: Some(because),
        ..CommitsMade::default()
    }
}

/// A part of a mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mails {
    pub(crate) bytes: Vec<u8>,
    /// With how many commits left out the next part begins.
    pub(crate) next_skip: Option<u64>,
    /// How many commits of this part change nothing and are left out.
    pub(crate) empty: u64,
}

/// Of what `mailbox.sh` prints: as many whole mails as have room. `None`: it makes no sense.
pub(super) fn mails(said: &[u8], skip: u64, room: usize, is_whole: bool) -> Option<Mails> {
    let (ids, mails) = match said.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&said[..end], &said[end + 2..]),
        None => (&b""[..], said.strip_prefix(b"\n").unwrap_or(said)),
    };
    let ids: HashMap<&[u8], u64> = ids
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .zip(0..)
        .collect();
    // Where mails begin, and which commits they are: a message that looks like the head of a mail
    // names no commit, or an earlier one.
    let mut starts: Vec<(usize, u64)> = Vec::new();
    let mut at = 0;
    for line in mails.split_inclusive(|byte| *byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"From ")
            && let Some(named) = rest.split(|byte| *byte == b' ').next()
            && let Some(number) = ids.get(named)
            && starts.last().is_none_or(|(_, last)| last < number)
        {
            starts.push((at, *number));
        }
        at += line.len();
    }
    if starts.first().is_some_and(|(at, _)| *at > 0) || (starts.is_empty() && !mails.is_empty()) {
        return None;
    }
    let mut part = Mails::default();
    let mut written = 0;
    for (index, (start, number)) in starts.iter().enumerate() {
        let end = match starts.get(index + 1) {
            Some((next, _)) => Some(*next),
            None => is_whole.then_some(mails.len()),
        };
        let mail = end.and_then(|end| mails.get(*start..end));
        match mail {
            // `git am` stops at a commit that changes nothing.
            Some(mail) if !mail.windows(DIFF.len()).any(|line| line == DIFF) => {}
            Some(mail) if part.bytes.len() + mail.len() <= room => {
                part.bytes.extend_from_slice(mail);
                written += 1;
            }
            _ => {
                part.next_skip = Some(skip.saturating_add(*number));
                break;
            }
        }
    }
    let covered = match part.next_skip {
        Some(next) => next.saturating_sub(skip),
        None => ids.len() as u64,
    };
    part.empty = covered.saturating_sub(written);
    Some(part)
}

/// What begins a file's changes in a mail.
const DIFF: &[u8] = b"\ndiff --git ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn part(text: &str) -> String {
        text.replace("ONE", ONE).replace("TWO", TWO)
    }

    #[test]
    fn mails_come_whole_or_not_at_all() {
        // The second speaks of the first, which is no head of a mail.
        let first = part("From ONE Mon\nSubject: a\n\ndiff --git a/x b/x\n");
        let second = part("From TWO Mon\nSubject: b\n\nFrom ONE Mon\n\ndiff --git a/x b/x\n");
        let said = part("ONE\nTWO\n\n") + &first + &second;
        let all = first.clone() + &second;
        for (room, is_whole, bytes, next_skip) in [
            (1000, true, all.as_str(), None),
            (all.len(), true, all.as_str(), None),
            (all.len() - 1, true, first.as_str(), Some(6)),
            (1000, false, first.as_str(), Some(6)),
            (first.len() - 1, true, "", Some(5)),
        ] {
            let mails = mails(said.as_bytes(), 5, room, is_whole).unwrap();
            assert_eq!(mails.bytes, bytes.as_bytes());
            assert_eq!(mails.next_skip, next_skip);
            assert_eq!(mails.empty, 0);
        }
        let empty = part("ONE\n\nFrom ONE Mon\nSubject: nothing changes\n\n");
        let none = |empty| Mails {
            empty,
            ..Mails::default()
        };
        assert_eq!(mails(empty.as_bytes(), 0, 1000, true), Some(none(1)));
        // As git leaves them out, too.
        let unnamed = part("ONE\nTWO\n\n") + &first;
        let mails_of = |room| mails(unnamed.as_bytes(), 5, room, true).unwrap();
        assert_eq!(mails_of(1000).empty, 1);
        assert_eq!(mails_of(0).empty, 0);
        assert_eq!(mails(b"\n\n", 0, 10, true), Some(Mails::default()));
        assert_eq!(mails(b"words", 0, 10, true), None);
    }

    #[test]
    fn what_was_made_is_read_and_half_an_answer_is_not() {
        let said = part("branch main\ncount 2\nbase TWO\ncommit x\nsubject a b\nend\n");
        let read = made(said.as_bytes());
        assert_eq!((read.count, read.merges), (2, 0));
        assert_eq!(read.base.as_deref(), Some(TWO));
        assert_eq!(read.subjects, ["a b"]);
        assert!(made(b"count 3\n").unknown_because.is_some());
        assert!(
            made(b"no git\n")
                .unknown_because
                .unwrap()
                .contains("git is not installed")
        );
        assert_eq!(made(b"no commits\n"), CommitsMade::default());
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_taken_calmly(said: Vec<u8>, skip: u64, room in 0..200_usize) {
            let read = made(&said);
            prop_assert!(read.subjects.len() <= SUBJECTS);
            if let Some(mails) = mails(&said, skip, room, true) {
                prop_assert!(mails.bytes.len() <= room);
            }
        }
    }
}
