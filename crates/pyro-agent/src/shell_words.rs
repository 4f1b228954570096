//! Words that only a shell understands, where a program was asked for: what to say when there is
//! no such program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What shells do themselves, and for which there is no program.
const BUILTINS: &[&str] = &[
    ".", ":", "alias", "bg", "builtin", "case", "cd", "command", "declare", "dirs", "eval", "exec",
    "exit", "export", "fg", "for", "function", "getopts", "hash", "history", "if", "jobs", "let",
    "local", "popd", "pushd", "read", "readonly", "return", "select", "set", "shift", "shopt",
    "source", "time", "times", "trap", "type", "typeset", "ulimit", "umask", "unalias", "unset",
    "until", "wait", "while", "{", "[[", "!",
];

/// What joins and redirects commands.
const OPERATORS: &[&str] = &[
    "&&", "||", "|", "|&", ";", "&", "<", ">", ">>", "2>", "2>>", "2>&1", "&>", "<<", "<<<",
];

/// What to do where a line needs a shell and the guest has none.
pub(crate) const NO_SHELL: &str = "\nhint: this guest has no shell, which a command line needs: give the program \
     and its arguments, each by itself, as in -- /bin/program --flag value";

/// The words of a line that mean the same without a shell; `None` for all others.
pub(crate) fn plain(line: &[u8]) -> Option<Vec<OsString>> {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b" \t-_./:,+@%=".contains(byte);
    let words: Vec<OsString> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect();
    let first = words.first()?.as_bytes();
    let is_syntax = is_assignment(first) || BUILTINS.iter().any(|one| one.as_bytes() == first);
    (line.iter().all(fine) && !is_syntax).then_some(words)
}

/// A line to follow "command not found": why, and how to fix it. Nothing, when no shell would have
/// helped.
pub(crate) fn hint(words: &[OsString]) -> String {
    why(words).map_or_else(String::new, |why| {
        format!(
            "\nhint: {why}, but several arguments are run as a program, without a shell: give the \
             whole line as one argument, as in -- 'cd /tmp && ls'"
        )
    })
}

fn why(words: &[OsString]) -> Option<String> {
    let [first, _, ..] = words else { return None };
    let known =
        |word: &OsString, of: &[&str]| of.iter().any(|one| word.as_bytes() == one.as_bytes());
    let shown = String::from_utf8_lossy(first.as_bytes());
    Some(if known(first, BUILTINS) {
        format!("`{shown}` is shell syntax")
    } else if is_assignment(first.as_bytes()) {
        format!("`{shown}` sets a variable only in a shell")
    } else if first.as_bytes().iter().any(u8::is_ascii_whitespace) {
        format!("`{shown}` is one argument")
    } else {
        let between = words.iter().find(|word| known(word, OPERATORS))?;
        format!("`{}` is shell syntax", between.display())
    })
}

/// `NAME=…`
fn is_assignment(word: &[u8]) -> bool {
    let Some(equals) = word.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (name, _) = word.split_at(equals);
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(fine) && !name[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_of_words_alone_needs_no_shell() {
        let words = |line: &str| plain(line.as_bytes()).map(|words| words.join(OsStr::new("|")));
        assert_eq!(words("/app  --flag=1 a.b").unwrap(), "/app|--flag=1|a.b");
        for line in [
            "", " ", "a | b", "echo $A", "a 'b'", "cd /tmp", "A=1 b", "a > b", "a\nb;",
        ] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    use super::*;

    #[test]
    fn words_for_a_shell_are_told_from_programs() {
        let hint = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            hint(&words)
        };
        for (words, why) in [
            (&["cd", "/tmp"][..], "`cd` is shell syntax"),
            (&["cd", "/tmp", "&&", "ls"], "`cd` is shell syntax"),
            (&["time", "ls"], "`time` is shell syntax"),
            (&["nosuch", "a", "&&", "ls"], "`&&` is shell syntax"),
            (&["A_1=x", "make"], "`A_1=x` sets a variable"),
            (&["ls -l", "/tmp"], "`ls -l` is one argument"),
        ] {
            let told = hint(words);
            assert!(told.contains(why), "{words:?}: {told}");
        }
        for words in [
            &["nosuch", "a"][..],
            &["cd"],
            &["./a=b", "x"],
            &["1=x", "y"],
            &["nosuch", "a&&b"],
        ] {
            assert_eq!(hint(words), "", "{words:?}");
        }
    }
}
