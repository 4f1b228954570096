//! The text of a command in shell form, as the shell gets it.

/// Joins continued lines, and leaves out comments and empty lines between them.
pub(crate) fn joined(raw: &str, escape: char) -> String {
    let mut out = String::with_capacity(raw.len());
    for (number, line) in raw.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        if number > 0 && (is_comment || line.trim().is_empty()) {
            continue;
        }
        let line = line.trim_end_matches(['\r']);
        match line.trim_end().strip_suffix(escape) {
            Some(line) => out.push_str(line),
            None => out.push_str(line),
        }
    }
    out
}

/// The program that the first line of a script names, with its one argument.
pub(crate) fn interpreter(script: &str) -> Option<Vec<String>> {
    let line = script.strip_prefix("#!")?.lines().next()?.trim();
    let (program, argument) = match line.split_once([' ', '\t']) {
        Some((program, argument)) => (program, Some(argument.trim())),
        None => (line, None),
    };
    if program.is_empty() {
        return None;
    }
    Some(
        [program]
            .into_iter()
            .chain(argument)
            .map(str::to_owned)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_are_one() {
        let raw = "a && \\\n  # why\n\n  b \\\n\tc";
        assert_eq!(joined(raw, '\\'), "a &&   b \tc");
        assert_eq!(joined("echo a#b", '\\'), "echo a#b");
        assert_eq!(joined("# a", '\\'), "# a");
    }

    #[test]
    fn a_script_says_what_reads_it() {
        let read = |text| interpreter(text);
        let words = |all: &[&str]| Some(all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(read("#!/bin/sh\nx"), words(&["/bin/sh"]));
        assert_eq!(
            read("#! /usr/bin/env -S a b\nx"),
            words(&["/usr/bin/env", "-S a b"])
        );
        assert_eq!(read("x\n"), None);
        assert_eq!(read("#!\n"), None);
    }
}
