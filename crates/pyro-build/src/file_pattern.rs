//! Patterns of paths as Docker reads them, in `COPY` and in `.dockerignore`.

use globset::{Error, GlobBuilder, GlobMatcher};

/// `*` and `?` stay within a name, `**` does not, and braces are letters like others.
pub(crate) fn compile(pattern: &str) -> Result<GlobMatcher, Error> {
    let glob = GlobBuilder::new(&with_plain_braces(pattern))
        .literal_separator(true)
        .backslash_escape(true)
        .build()?;
    Ok(glob.compile_matcher())
}

/// Escapes braces, except where they are plain already: escaped, or in a class.
fn with_plain_braces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                out.push(character);
                out.extend(characters.next());
            }
            '[' => {
                out.push(character);
                out.extend(characters.next_if(|it| ['!', '^'].contains(it)));
                // One that comes first does not end the class.
                out.extend(characters.next_if_eq(&']'));
                for character in characters.by_ref() {
                    out.push(character);
                    if character == ']' {
                        break;
                    }
                }
            }
            '{' | '}' => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_letters() {
        for (pattern, path) in [
            ("{a,b}*", "{a,b}.c"),
            ("}*{", "}x{"),
            (r"\{*", "{x"),
            ("[{]*[!}]", "{x"),
            ("[]{]*", "{x"),
        ] {
            assert!(compile(pattern).unwrap().is_match(path), "{pattern}");
        }
        assert!(!compile("{a,b}*").unwrap().is_match("a.c"));
        assert!(compile("[{").is_err());
    }
}
