//! `NAME=VALUE` pairs, as `ENV`, `ARG` and `LABEL` have them. Quotes stay, for the substitution to take away.

/// Words apart at blanks that are neither quoted nor escaped.
pub(crate) fn split(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, ' ' | '\t' | '\n' | '\r') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None | Some('"'), it) if it == escape => {
                word.push(it);
                word.extend(characters.next());
                continue;
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), it) if it == open => quote = None,
            _ => {}
        }
        word.push(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Pairs of `ENV` and `LABEL`; one pair without `=` is the old form, where the value is the rest of the line.
/// `Err` is a word that is no pair.
pub(crate) fn pairs(text: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(text, escape);
    let first = words.first().cloned().unwrap_or_default();
    if !first.contains('=') {
        let rest = text.trim_start();
        let rest = rest[first.len().min(rest.len())..].trim();
        return match rest.is_empty() {
            true => Err(first),
            false => Ok(vec![(first, rest.to_owned())]),
        };
    }
    words.into_iter().map(pair).collect()
}

fn pair(word: String) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_in_both_forms() {
        let read = |text| pairs(text, '\\');
        let owned = |all: &[(&str, &str)]| -> Result<Vec<_>, String> {
            Ok(all
                .iter()
                .map(|(a, b)| ((*a).into(), (*b).into()))
                .collect())
        };
        assert_eq!(
            read(r#"A=1 B="two words" C=three\ words D='x y'"#),
            owned(&[
                ("A", "1"),
                ("B", r#""two words""#),
                ("C", r"three\ words"),
                ("D", "'x y'")
            ])
        );
        assert_eq!(read("A  all of it = x"), owned(&[("A", "all of it = x")]));
        assert_eq!(read("A="), owned(&[("A", "")]));
        assert_eq!(read("A=1 B"), Err("B".to_owned()));
        assert_eq!(read("=1"), Err("=1".to_owned()));
        assert_eq!(read("A"), Err("A".to_owned()));
    }
}
