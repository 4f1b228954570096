//! Words as Python source.

use std::fmt::Write;

const WIDTH: usize = 96;

/// Puts words on lines, each with the same indentation but the first.
pub(crate) fn wrapped(words: &str, first: usize, rest: usize) -> String {
    let mut text = " ".repeat(first);
    let mut column = first;
    let mut begun = false;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if begun && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{}", " ".repeat(rest));
            column = rest;
            begun = false;
        }
        if begun {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        begun = true;
    }
    text
}

/// A doc comment as paragraphs of whole sentences, none of which ends the string it goes into.
pub(crate) fn paragraphs(words: &str, indent: usize) -> String {
    let paragraphs: Vec<String> = words
        .split("\n\n")
        .map(|paragraph| wrapped(&sentence(paragraph), indent, indent))
        .collect();
    paragraphs.join("\n\n")
}

/// The same, as the beginning of a documentation string.
pub(crate) fn docstring_begin(words: &str, indent: usize) -> String {
    let text = paragraphs(words, indent);
    format!("{}\"\"\"{}", " ".repeat(indent), text.trim_start())
}

pub(crate) fn sentence(words: &str) -> String {
    let mut words = words.trim().replace('\\', "\\\\").replace("\"\"\"", "'''");
    if words.ends_with(|last: char| last.is_alphanumeric() || "`)".contains(last)) {
        words.push('.');
    }
    words
}

/// `workspace_exec` or `GuestIo` in capitals that begin words.
pub(crate) fn capitals(name: &str) -> String {
    name.split(['_', '-'])
        .map(|word| {
            let mut chars = word.chars();
            let first = chars.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(chars).collect::<String>()
        })
        .collect()
}
