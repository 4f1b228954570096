//! Here-documents of `RUN` that begin anywhere in the command (`RUN python3 <<EOF`). The parser knows those that
//! a `RUN` begins with; the others are taken out for it, line for line, so that its line numbers stay right.

use std::collections::BTreeMap;

/// What was taken out, by the line of its `RUN`: the lines below the command, with their delimiters.
pub(crate) type Bodies = BTreeMap<usize, String>;

/// One mark of a here-document in a command.
struct Mark {
    delimiter: String,
    strips_tabs: bool,
}

/// The text for the parser, and what was taken out of it. `Err` is the line of a mark without its end.
pub(crate) fn take_out(text: &str, escape: char) -> Result<(String, Bodies), (usize, String)> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut out, mut bodies) = (String::with_capacity(text.len()), Bodies::new());
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let is_run = first_word(lines[at]).eq_ignore_ascii_case("RUN");
        let copies = ["COPY", "ADD"]
            .iter()
            .any(|word| first_word(lines[at]).eq_ignore_ascii_case(word));
        // The whole instruction, with the lines that continue it.
        let mut command = String::new();
        let comment = |line: &str| line.trim_start().starts_with('#');
        loop {
            let line = lines[at];
            at += 1;
            out.push_str(line);
            let continues = line.trim_end().ends_with(escape);
            if !(comment(line) && at - 1 > first) {
                let piece = line.trim_end();
                command.push_str(match continues {
                    true => &piece[..piece.len() - escape.len_utf8()],
                    false => piece,
                });
            }
            let is_instruction = !comment(lines[first]) && !lines[first].trim().is_empty();
            // Comments and empty lines do not end what is continued.
            let within = (comment(line) || line.trim().is_empty()) && at - 1 > first;
            if !is_instruction || at >= lines.len() || !(continues || within) {
                break;
            }
        }
        if !is_run && !copies {
            continue;
        }
        let marks = marks(&command);
        let by_parser = copies || marks.len() == 1 && begins_with_mark(&command);
        let mut body = String::new();
        for mark in &marks {
            loop {
                let Some(line) = lines.get(at) else {
                    return Err((first + 1, mark.delimiter.clone()));
                };
                at += 1;
                let bare = line.trim_end_matches(['\n', '\r']);
                let bare = match mark.strips_tabs {
                    true => bare.trim_start_matches('\t'),
                    false => bare,
                };
                match by_parser {
                    true => out.push_str(line),
                    false => {
                        out.push_str("#\n");
                        body.push_str(line.trim_end_matches(['\n', '\r']));
                        body.push('\n');
                    }
                }
                if bare == mark.delimiter {
                    break;
                }
            }
        }
        if !by_parser && !marks.is_empty() {
            bodies.insert(first + 1, body);
        }
    }
    Ok((out, bodies))
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// Whether nothing but options stands between the instruction and its first mark.
fn begins_with_mark(command: &str) -> bool {
    let mut words = command.split_whitespace().skip(1);
    words
        .find(|word| !word.starts_with("--"))
        .is_some_and(|word| word.starts_with("<<"))
}

fn marks(command: &str) -> Vec<Mark> {
    // In the form of an array there is no shell, so none of these.
    let after = command.split_whitespace().nth(1).unwrap_or_default();
    let mut marks = Vec::new();
    if after.starts_with('[') && command.trim_end().ends_with(']') {
        return marks;
    }
    let characters: Vec<char> = command.chars().collect();
    let (mut at, mut quote) = (0, None);
    while at < characters.len() {
        let character = characters[at];
        match (quote, character) {
            (None, '\\') | (Some('"'), '\\') => at += 1,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '<') if characters.get(at + 1) == Some(&'<') => {
                if !begins_word(&characters[..at]) {
                    // A shift, as in `$((1<<N))`.
                    at += 2;
                    continue;
                }
                if characters.get(at + 2) == Some(&'<') {
                    // A here-string of bash.
                    at += 3;
                    continue;
                }
                at += 2;
                let strips_tabs = characters.get(at) == Some(&'-');
                at += usize::from(strips_tabs);
                let open = characters.get(at).copied().filter(|it| "'\"".contains(*it));
                at += usize::from(open.is_some());
                let is_part = |it: &&char| it.is_alphanumeric() || "_-.".contains(**it);
                let delimiter: String = characters[at.min(characters.len())..]
                    .iter()
                    .take_while(is_part)
                    .collect();
                at += delimiter.chars().count() + usize::from(open.is_some());
                // A space follows in `1 << N` of some arithmetic, and a digit in `1 <<2`.
                let begins = delimiter.chars().next();
                if begins.is_some_and(|it| it.is_alphabetic() || it == '_') {
                    marks.push(Mark {
                        delimiter,
                        strips_tabs,
                    });
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    marks
}

/// Whether nothing but the number of a descriptor stands before a mark in its word.
fn begins_word(before: &[char]) -> bool {
    let last = before.iter().rev().find(|it| !it.is_ascii_digit());
    last.is_none_or(|it| it.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_behind_a_command_are_taken_out_line_for_line() {
        let text = "FROM a\nRUN python3 - <<'EOF' \\\n  && true\nRUN no\n\tEOF\nEOF\nUSER b\n";
        let (out, bodies) = take_out(text, '\\').unwrap();
        assert_eq!(out.lines().count(), text.lines().count());
        assert_eq!(out.lines().last(), Some("USER b"));
        assert_eq!(bodies[&2], "RUN no\n\tEOF\nEOF\n");
        // Two of them, the second without its tabs.
        let (_, bodies) = take_out("RUN cat <<A <<-B\n1\nA\n2\n\tB\n", '\\').unwrap();
        assert_eq!(bodies[&1], "1\nA\n2\n\tB\n");
        // With the number of a descriptor, and a delimiter of more than letters.
        let (_, bodies) =
            take_out("RUN cat /dev/fd/3 3<<the-end.1\nthe\nthe-end.1\n", '\\').unwrap();
        assert_eq!(bodies[&1], "the\nthe-end.1\n");
    }

    #[test]
    fn what_is_no_document_stays() {
        for text in [
            "RUN echo '<<EOF'\nUSER x\n",
            "RUN cat <<<word\nUSER x\n",
            "RUN [\"a\", \"<<EOF\"]\nUSER x\n",
            "RUN <<EOF\nbody\nEOF\n",
            "COPY <<EOF /x\nbody\nEOF\n",
            "RUN a \\\n# comment\n  b\nUSER x\n",
            "RUN echo $((1 << 2))\nUSER x\n",
            "RUN echo $((1 << N))\nUSER x\n",
            "RUN echo $((1<<N)) $((N<<M))\nUSER x\n",
            "# RUN cat <<EOF\nUSER x\n",
        ] {
            let (out, bodies) = take_out(text, '\\').unwrap();
            assert_eq!((out.as_str(), bodies.len()), (text, 0));
        }
    }

    #[test]
    fn one_without_an_end_is_told_with_its_line() {
        let failed = take_out("FROM a\n\nRUN cat <<END\nx\n", '\\').unwrap_err();
        assert_eq!(failed, (3, "END".to_owned()));
    }
}
