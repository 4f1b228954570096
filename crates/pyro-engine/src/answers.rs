//! How much one answer holds. People and programs get all of it at once. Hosts of models cut or
//! refuse answers of more than about 25,000 tokens, so a model gets a part, and where the next one
//! begins.

use pyro_api::Caller;
use pyro_api::values::ServiceRecord;
use serde::Serialize;

use crate::machine::output::CapturedOutput;

/// How many bytes the entries of one answer to a model have together, as JSON.
pub(crate) const ENTRIES: usize = 32 * 1024;

/// How many bytes of patches a model gets when it does not say.
pub(crate) const PATCHES: usize = 24 * 1024;

/// How many bytes of a file a model gets at most, whatever it says.
pub(crate) const FILE: u32 = 1024 * 1024;

/// How much a model gets to see of words that were given: commands, patches.
const EXCERPT: usize = 4 * 1024;

/// The same where there is one of them in each entry of a list.
const LIST_EXCERPT: usize = 256;

/// How many names of what was left out a model gets.
const NAMES: usize = 50;

/// How much the entries of one answer may still take.
pub(crate) struct Budget {
    left: Option<usize>,
    taken: usize,
}

impl Budget {
    pub(crate) fn of(caller: &Caller) -> Self {
        Self {
            left: caller.is_model().then_some(ENTRIES),
            taken: 0,
        }
    }

    /// For whoever said how much it is to be.
    pub(crate) fn unlimited() -> Self {
        Self {
            left: None,
            taken: 0,
        }
    }

    /// Whether one more fits, in turn. The first always does: nobody would ever come past it.
    pub(crate) fn fits(&mut self, entry: &impl Serialize) -> bool {
        if let Some(left) = &mut self.left {
            let length = serde_json::to_vec(entry).map_or(0, |json| json.len());
            match left.checked_sub(length) {
                Some(rest) => *left = rest,
                None if self.taken == 0 => *left = 0,
                None => {
                    // What comes after it does not either: parts have no gaps.
                    *left = 0;
                    return false;
                }
            }
        }
        self.taken += 1;
        true
    }
}

/// Which of many entries one answer holds.
pub(crate) struct Page {
    skip: usize,
    most: usize,
    budget: Budget,
}

impl Page {
    /// Those behind `skip`: as many as were asked for; else as many as the budget allows, and no
    /// more than is usual.
    pub(crate) fn of(caller: &Caller, skip: u64, asked: Option<u32>, usual: u32) -> Self {
        let (most, budget) = match asked {
            Some(most) => (most, Budget::unlimited()),
            None => (usual, Budget::of(caller)),
        };
        Self {
            skip: usize::try_from(skip).unwrap_or(usize::MAX),
            most: most as usize,
            budget,
        }
    }

    /// The entries of this part, and with what `skip` the next one begins.
    pub(crate) fn take<T: Serialize, E>(
        mut self,
        entries: impl Iterator<Item = Result<T, E>>,
    ) -> Result<(Vec<T>, Option<u64>), E> {
        let mut shown = Vec::new();
        for entry in entries.skip(self.skip) {
            let next = Some((self.skip + shown.len()) as u64);
            if shown.len() == self.most {
                return Ok((shown, next));
            }
            let entry = entry?;
            if !self.budget.fits(&entry) {
                return Ok((shown, next));
            }
            shown.push(entry);
        }
        Ok((shown, None))
    }
}

/// Words that somebody gave, as an answer repeats them.
pub(crate) fn excerpt(caller: &Caller, words: String) -> String {
    at_most(caller, words, EXCERPT)
}

/// The same in an entry of a list.
pub(crate) fn list_excerpt(caller: &Caller, words: String) -> String {
    at_most(caller, words, LIST_EXCERPT)
}

/// The beginning and the end of words that are longer than a model is shown.
pub(crate) fn at_most(caller: &Caller, words: String, most: usize) -> String {
    if !caller.is_model() || words.len() <= most {
        return words;
    }
    let mut kept = CapturedOutput::new(most);
    kept.push(words.as_bytes());
    kept.into_text().text
}

/// Takes away what a text has beyond so many bytes; says whether there was anything.
pub(crate) fn cut(text: &mut String, most: usize) -> bool {
    let ends = text.char_indices().map(|(at, one)| at + one.len_utf8());
    let end = ends.take_while(|end| *end <= most).last();
    let end = end.unwrap_or_default();
    let is_longer = end < text.len();
    text.truncate(end);
    is_longer
}

/// A service with what was said about it, as an answer repeats that.
pub(crate) fn service(caller: &Caller, record: ServiceRecord) -> ServiceRecord {
    with_excerpts(record, |text| excerpt(caller, text))
}

/// The same in a list.
pub(crate) fn service_of_many(caller: &Caller, record: ServiceRecord) -> ServiceRecord {
    with_excerpts(record, |text| list_excerpt(caller, text))
}

fn with_excerpts(record: ServiceRecord, shown: impl Fn(String) -> String) -> ServiceRecord {
    ServiceRecord {
        command: shown(record.command),
        cwd: shown(record.cwd),
        readiness: record.readiness.map(|one| one.reworded(&shown)),
        not_ready: record.not_ready.map(&shown),
        ..record
    }
}

/// Names of what was left out; how many more there are is said in place of the rest.
pub(crate) fn names(caller: &Caller, mut names: Vec<String>) -> Vec<String> {
    if caller.is_model() && names.len() > NAMES {
        let more = names.len() - NAMES;
        names.truncate(NAMES);
        names.push(format!("… and {more} more"));
    }
    names
}

#[cfg(test)]
mod tests {
    use pyro_api::{Folders, Networks};

    use super::*;

    fn model() -> Caller {
        Caller::new().for_model(Folders::All, Networks::Allowed)
    }

    #[test]
    fn a_model_gets_entries_in_parts_without_gaps_and_others_all() {
        let long = "x".repeat(ENTRIES);
        let mut budget = Budget::of(&model());
        assert!(budget.fits(&long));
        assert!(!budget.fits(&"short"));
        let mut budget = Budget::of(&model());
        let took = [
            budget.fits(&"short"),
            budget.fits(&long),
            budget.fits(&"short"),
        ];
        assert_eq!(took, [true, false, false]);
        let mut budget = Budget::of(&Caller::new());
        assert!(budget.fits(&long) && budget.fits(&long));
    }

    #[test]
    fn parts_follow_one_another_until_there_are_no_more() {
        let entries = || (0..10_000).map(Ok::<_, ()>);
        let (mut all, mut skip, mut parts) = (Vec::new(), Some(0), 0);
        while let Some(at) = skip {
            let (shown, next) = Page::of(&model(), at, None, 9_000).take(entries()).unwrap();
            (skip, parts) = (next, parts + 1);
            all.extend(shown);
        }
        assert!(parts > 1, "{parts}");
        assert!(all.into_iter().eq(0..10_000));
        let part = |asked| Page::of(&model(), 5, asked, 9_000).take(entries()).unwrap();
        assert_eq!(part(Some(2)), (vec![5, 6], Some(7)));
        assert_eq!(part(Some(9_995)).1, None);
        let (all, next) = Page::of(&Caller::new(), 0, None, 9_000)
            .take(entries())
            .unwrap();
        assert_eq!((all.len(), next), (9_000, Some(9_000)));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (most, left, was_longer) in [
            (0, "", true),
            (2, "a", true),
            (3, "aé", true),
            (9, "aéb", false),
        ] {
            let mut text = "aéb".to_owned();
            assert_eq!((cut(&mut text, most), text.as_str()), (was_longer, left));
        }
    }

    #[test]
    fn words_keep_their_ends_and_names_are_counted() {
        let long = format!("begin{}end", "é".repeat(EXCERPT));
        let shown = excerpt(&model(), long.clone());
        assert!(shown.starts_with("beginé") && shown.ends_with("éend"));
        assert!(shown.len() < EXCERPT + 100);
        assert_eq!(excerpt(&Caller::new(), long.clone()), long);
        let many = vec![String::new(); NAMES + 2];
        assert_eq!(
            names(&model(), many.clone()).last().unwrap(),
            "… and 2 more"
        );
        assert_eq!(names(&Caller::new(), many.clone()), many);
    }
}
