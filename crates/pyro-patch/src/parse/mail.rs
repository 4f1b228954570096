//! Mails whose bodies were encoded for the way: quoted-printable or base64 becomes what the sender
//! wrote. `git format-patch` encodes nothing, but what sends and keeps mails does.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::PatchError;
use crate::text::{is_blank, without_cr};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy)]
enum Encoding {
    QuotedPrintable,
    Base64,
}

/// What the fields in front of a body say.
#[derive(Default)]
struct Fields<'t> {
    encoding: Option<Encoding>,
    boundary: Option<&'t [u8]>,
}

/// The text with the bodies of its mails as they were written; a text without any as it is.
pub(crate) fn decode(text: &[u8]) -> Result<Cow<'_, [u8]>, PatchError> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut out = Vec::new();
    let mut changed = false;
    let mut boundaries: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !is_head(&lines, at, &boundaries) {
            out.extend_from_slice(lines[at]);
            at += 1;
            continue;
        }
        let start = at;
        at += usize::from(!is_field(lines[at]));
        let fields = read_fields(&lines, &mut at);
        boundaries.extend(fields.boundary);
        out.extend(lines[start..at].iter().flat_map(|line| line.iter()));
        let Some(encoding) = fields.encoding else {
            continue;
        };
        let first = at;
        while at < lines.len()
            && !is_head(&lines, at, &boundaries)
            && !is_end(lines[at], &boundaries)
        {
            at += 1;
        }
        let body = match encoding {
            Encoding::QuotedPrintable => quoted_printable(&lines[first..at]),
            Encoding::Base64 => base64(&lines[first..at]),
        };
        out.extend(body.ok_or(PatchError::Syntax {
            line: first + 1,
            problem: "the mail's encoded text that begins here is damaged; save the mail again, or \
                      create the patch with `git format-patch`",
        })?);
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        changed = true;
    }
    Ok(match changed {
        true => Cow::Owned(out),
        false => Cow::Borrowed(text),
    })
}

/// Whether fields begin at a line: at the beginning of the text, or behind what begins a mail or a
/// part of one.
fn is_head(lines: &[&[u8]], at: usize, boundaries: &[&[u8]]) -> bool {
    let fields_follow = || lines.get(at + 1).is_some_and(|line| is_field(line));
    let line = lines[at];
    (at == 0 && is_field(line))
        || (line.starts_with(b"From ") && fields_follow())
        || (is_boundary(line, boundaries, b"") && fields_follow())
}

/// Behind the last part of a mail.
fn is_end(line: &[u8], boundaries: &[&[u8]]) -> bool {
    is_boundary(line, boundaries, b"") || is_boundary(line, boundaries, b"--")
}

fn is_boundary(line: &[u8], boundaries: &[&[u8]], end: &[u8]) -> bool {
    let name = line.strip_prefix(b"--").map(<[u8]>::trim_ascii_end);
    let name = name.and_then(|name| name.strip_suffix(end));
    name.is_some_and(|name| boundaries.contains(&name))
}

/// `Name: value`.
fn is_field(line: &[u8]) -> bool {
    let name = line.iter().position(|byte| *byte == b':').unwrap_or(0);
    name > 0
        && line[..name]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Reads fields up to what comes behind the blank line at their end.
fn read_fields<'t>(lines: &[&'t [u8]], at: &mut usize) -> Fields<'t> {
    let mut fields = Fields::default();
    let mut name: &[u8] = b"";
    while let Some(line) = lines.get(*at) {
        let goes_on = line.starts_with(b" ") || line.starts_with(b"\t");
        if is_blank(line) {
            *at += 1;
            return fields;
        }
        let value = match line.iter().position(|byte| *byte == b':') {
            _ if goes_on => line,
            Some(colon) if is_field(line) => {
                name = &line[..colon];
                &line[colon + 1..]
            }
            // These are no fields, and so is what came before.
            _ => break,
        };
        *at += 1;
        if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            let value = value.trim_ascii();
            fields.encoding = match () {
                () if value.eq_ignore_ascii_case(b"quoted-printable") => {
                    Some(Encoding::QuotedPrintable)
                }
                () if value.eq_ignore_ascii_case(b"base64") => Some(Encoding::Base64),
                () => None,
            };
        } else if name.eq_ignore_ascii_case(b"Content-Type") {
            fields.boundary = fields.boundary.or(boundary(value));
        }
    }
    Fields::default()
}

/// Makes the lines between the parts of a mail blank, as `git format-patch --attach` has them: they
/// begin as removed lines do.
pub(crate) fn blank_boundaries(lines: &mut [&[u8]]) {
    const NAME: &[u8] = b"boundary=\"";
    let mut boundary: Option<&[u8]> = None;
    for passed in lines {
        let line = *passed;
        if line.starts_with(b"Content-Type: multipart/")
            && let Some(start) = line.windows(NAME.len()).position(|part| part == NAME)
        {
            let rest = &line[start + NAME.len()..];
            let end = rest.iter().position(|byte| *byte == b'"');
            boundary = end.map(|end| &rest[..end]).filter(|name| !name.is_empty());
            continue;
        }
        let Some(boundary) = boundary else {
            continue;
        };
        let is_boundary = line.strip_prefix(b"--").is_some_and(|rest| {
            matches!(
                rest.strip_prefix(boundary),
                Some(b"" | b"--" | b"\r" | b"--\r")
            )
        });
        if is_boundary {
            *passed = b"";
        }
    }
}

fn boundary(value: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"boundary=";
    let start = value
        .windows(NAME.len())
        .position(|part| part.eq_ignore_ascii_case(NAME))?;
    let rest = &value[start + NAME.len()..];
    let name = match rest {
        [b'"', rest @ ..] => rest.split(|byte| *byte == b'"').next(),
        _ => rest
            .split(|byte| *byte == b';' || byte.is_ascii_whitespace())
            .next(),
    };
    name.filter(|name| !name.is_empty())
}

fn quoted_printable(lines: &[&[u8]]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for line in lines {
        // Blanks at an end were added on the way.
        let mut rest = line.trim_ascii_end();
        loop {
            let Some(sign) = rest.iter().position(|byte| *byte == b'=') else {
                out.extend_from_slice(rest);
                out.push(b'\n');
                break;
            };
            out.extend_from_slice(&rest[..sign]);
            match &rest[sign + 1..] {
                [] => break,
                [high, low, after @ ..] => {
                    let digit = |byte: &u8| char::from(*byte).to_digit(16);
                    out.push((digit(high)? * 16 + digit(low)?) as u8);
                    rest = after;
                }
                _ => return None,
            }
        }
    }
    Some(out)
}

fn base64(lines: &[&[u8]]) -> Option<Vec<u8>> {
    let signs = lines.iter().flat_map(|line| line.iter());
    let signs: Vec<u8> = signs
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let mut out = BASE64.decode(signs).ok()?;
    // Text is encoded with the ends that lines have on the way.
    let lines = || out.split_inclusive(|byte| *byte == b'\n');
    if lines().all(|line| line.ends_with(b"\r\n")) {
        let text = lines().flat_map(|line| {
            let line = without_cr(line.strip_suffix(b"\n").unwrap_or(line));
            line.iter().copied().chain([b'\n'])
        });
        out = text.collect();
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str =
        "Say a\n---\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n a\n+a=3 \u{e9}\n";
    const QUOTED: &str =
        "Say a\n---\ndiff --git a/x b/x\n--- a/x\n+++ b=\n/x\n@@ -1 +1,2 @@\n a\n+a=3D3 =C3=a9\n";

    fn mail(fields: &str, body: &str) -> String {
        format!(
            "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nSubject: [PATCH]\n a\nMIME-Version: 1.0\n{fields}\n{body}"
        )
    }

    fn of(text: &str) -> String {
        String::from_utf8(decode(text.as_bytes()).unwrap().into_owned()).unwrap()
    }

    #[test]
    fn a_body_is_what_was_written() {
        let quoted = "Content-Transfer-Encoding: Quoted-Printable\n";
        let based = "content-transfer-encoding: base64\n";
        let mut encoded = base64::prelude::BASE64_STANDARD.encode(PATCH);
        encoded.insert(40, '\n');
        encoded.push('\n');
        let dos = PATCH.replace('\n', "\r\n");
        let dos = base64::prelude::BASE64_STANDARD.encode(dos);
        for (fields, body) in [(quoted, QUOTED), (based, &encoded), (based, &dos)] {
            let text = mail(fields, body);
            assert_eq!(of(&text), mail(fields, PATCH));
            // Saved without the line in front, and two in one file.
            let saved = text.split_once('\n').unwrap().1;
            assert!(of(saved).ends_with(PATCH), "{saved}");
            let two = format!("{}{text}", mail("", PATCH));
            assert_eq!(
                of(&two),
                format!("{}{}", mail("", PATCH), mail(fields, PATCH))
            );
        }
        assert_eq!(
            of(&mail(quoted, QUOTED).replace('\n', "\r\n")).replace('\r', ""),
            mail(quoted, PATCH)
        );
    }

    #[test]
    fn each_part_has_its_own_encoding() {
        let parts = |body: &str| {
            mail(
                "Content-Type: multipart/mixed;\n boundary=\"--b=1\"\n",
                &format!(
                    "----b=1\nContent-Type: text/plain\n\na=3D\n----b=1\nContent-Type: text/x-patch\nContent-Transfer-Encoding: quoted-printable\n\n{body}----b=1--\n=3D\n"
                ),
            )
        };
        assert_eq!(of(&parts(QUOTED)), parts(PATCH));
    }

    #[test]
    fn other_texts_are_left_alone() {
        for text in [
            "",
            PATCH,
            QUOTED,
            &mail("Content-Transfer-Encoding: 8bit\n", QUOTED),
            &format!("Look: a patch\n{QUOTED}"),
            &format!(
                "--- /dev/null\n+++ b/x\n@@ -0,0 +1,3 @@\n+Content-Transfer-Encoding: base64\n+\n+{QUOTED}"
            ),
        ] {
            assert!(
                matches!(decode(text.as_bytes()), Ok(Cow::Borrowed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn damage_is_told() {
        for (encoding, body) in [
            ("quoted-printable", "+a=3\n"),
            ("quoted-printable", "+a=zz\n"),
            ("base64", "a!b=\n"),
        ] {
            let text = mail(&format!("Content-Transfer-Encoding: {encoding}\n"), body);
            let error = decode(text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.contains("line 7") && error.contains("damaged"),
                "{error}"
            );
        }
    }
}
