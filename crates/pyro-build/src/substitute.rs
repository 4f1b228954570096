//! Variables in a word: `$NAME`, `${NAME}`, `${NAME:-word}` and its like; quotes and escapes go with it.

/// Why a word cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreplaced {
    /// `${NAME#…}` and other forms that are not here.
    Form(String),
    /// A brace without its end.
    Open(String),
    /// `${NAME:?…}`
    Unset { name: String, message: String },
    /// More words in words than [`MOST_DEEP`].
    Deep,
}

/// How many words may stand in each other, as in `${A:-${B:-c}}`.
pub(crate) const MOST_DEEP: usize = 64;

/// How a word is read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) escape: char,
    /// What each name stands for.
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether quotes and escapes are taken away; in a here-document they stay.
    pub(crate) unquotes: bool,
}

impl Reading<'_> {
    pub(crate) fn word(&self, word: &str) -> Result<String, Unreplaced> {
        self.word_within(word, 0)
    }

    fn word_within(&self, word: &str, depth: usize) -> Result<String, Unreplaced> {
        if depth > MOST_DEEP {
            return Err(Unreplaced::Deep);
        }
        let characters: Vec<char> = word.chars().collect();
        let (mut out, mut at) = (String::new(), 0);
        let mut quote = None;
        while at < characters.len() {
            let character = characters[at];
            match (quote, character) {
                (Some('\''), '\'') | (Some('"'), '"') if self.unquotes => quote = None,
                (Some('\''), _) => out.push(character),
                (None, '\'' | '"') if self.unquotes => quote = Some(character),
                (_, it) if it == self.escape => {
                    at += 1;
                    match characters.get(at) {
                        // In double quotes a backslash stands for itself before most characters.
                        Some(next) if quote == Some('"') || !self.unquotes => {
                            let taken = match self.unquotes {
                                true => ['"', '$', self.escape].contains(next),
                                false => ['$', self.escape].contains(next),
                            };
                            if !taken {
                                out.push(it);
                            }
                            out.push(*next);
                        }
                        Some(next) => out.push(*next),
                        None => out.push(it),
                    }
                }
                (_, '$') => {
                    let (value, used) = self.variable(&characters[at..], depth)?;
                    out.push_str(&value);
                    at += used;
                    continue;
                }
                _ => out.push(character),
            }
            at += 1;
        }
        Ok(out)
    }

    /// What begins with `$` here, and how many characters that takes.
    fn variable(&self, from: &[char], depth: usize) -> Result<(String, usize), Unreplaced> {
        let inner = |word: &str| self.word_within(word, depth + 1);
        let name_at = |start: usize| -> String {
            let is_part = |it: &&char| it.is_ascii_alphanumeric() || **it == '_';
            from[start.min(from.len())..]
                .iter()
                .take_while(is_part)
                .collect()
        };
        if from.get(1) != Some(&'{') {
            let name = name_at(1);
            return Ok(match name.is_empty() {
                true => ("$".to_owned(), 1),
                false => {
                    let used = 1 + name.len();
                    ((self.lookup)(&name).unwrap_or_default(), used)
                }
            });
        }
        let whole = || from.iter().collect::<String>();
        let end = closing(from).ok_or_else(|| Unreplaced::Open(whole()))?;
        let form = || Unreplaced::Form(from[..=end].iter().collect());
        let name = name_at(2);
        if name.is_empty() {
            return Err(form());
        }
        let value = (self.lookup)(&name);
        let mut rest = 2 + name.len();
        if rest == end {
            return Ok((value.unwrap_or_default(), end + 1));
        }
        let or_empty = from[rest] == ':';
        rest += usize::from(or_empty);
        let is_set = value.as_ref().is_some_and(|it| !or_empty || !it.is_empty());
        let operator = from.get(rest).copied();
        let word: String = from[(rest + 1).min(end)..end].iter().collect();
        let value = match operator {
            Some('-') if is_set => value.unwrap_or_default(),
            Some('-') => inner(&word)?,
            Some('+') if is_set => inner(&word)?,
            Some('+') => String::new(),
            Some('?') if is_set => value.unwrap_or_default(),
            Some('?') => {
                return Err(Unreplaced::Unset {
                    name,
                    message: inner(&word)?,
                });
            }
            _ => return Err(form()),
        };
        Ok((value, end + 1))
    }
}

/// Where the brace ends that opens at 1.
fn closing(from: &[char]) -> Option<usize> {
    let mut depth = 0;
    for (at, character) in from.iter().enumerate().skip(1) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("a b".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    const READING: Reading<'static> = Reading {
        escape: '\\',
        lookup: &lookup,
        unquotes: true,
    };

    #[test]
    fn variables_quotes_and_escapes() {
        for (word, value) in [
            ("$A/x", "a b/x"),
            ("${A}x", "a bx"),
            ("$NONE.", "."),
            ("'$A'", "$A"),
            ("\"$A\"", "a b"),
            (r"\$A", "$A"),
            (r#""\$A \n""#, r"$A \n"),
            (r"two\ words", "two words"),
            ("${NONE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:+y}", "y"),
            ("${NONE:+y}", ""),
            ("${NONE:-${A}}", "a b"),
            ("$", "$"),
            ("$$", "$$"),
            ("100%", "100%"),
        ] {
            assert_eq!(READING.word(word).as_deref(), Ok(value), "{word}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        let form = |word: &str| Err(Unreplaced::Form(word.to_owned()));
        assert_eq!(READING.word("${A#x}"), form("${A#x}"));
        assert_eq!(READING.word("x${}"), form("${}"));
        let open = Err(Unreplaced::Open("${A".to_owned()));
        assert_eq!(READING.word("${A"), open);
        let unset = Unreplaced::Unset {
            name: "NONE".to_owned(),
            message: "give it".to_owned(),
        };
        assert_eq!(READING.word("${NONE:?give it}"), Err(unset));
    }

    #[test]
    fn words_in_words_have_an_end() {
        let nested = |depth: usize| format!("{}x{}", "${N:-".repeat(depth), "}".repeat(depth));
        let word = nested(MOST_DEEP);
        assert_eq!(READING.word(&word).as_deref(), Ok("x"));
        assert_eq!(READING.word(&nested(MOST_DEEP + 1)), Err(Unreplaced::Deep));
        assert_eq!(READING.word(&nested(100_000)), Err(Unreplaced::Deep));
    }

    #[test]
    fn a_document_keeps_its_quotes() {
        let document = Reading {
            unquotes: false,
            ..READING
        };
        let text = "a \"$A\" '$A' \\$A \\n\n";
        let read = document.word(text);
        assert_eq!(read.as_deref(), Ok("a \"a b\" 'a b' $A \\n\n"));
    }
}
