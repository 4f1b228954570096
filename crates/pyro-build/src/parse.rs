//! From text to instructions. `parse-dockerfile` reads the lines, the options, the arrays and the
//! here-documents; what an instruction may say is decided here.

use parse_dockerfile as parser;
use parser::Instruction as Read;

use crate::command;
use crate::error::{BuildError, Place};
use crate::heredocs::{self, Bodies};
use crate::instruction::{Copy, File, Form, Instruction, Kind, Run, Source, Stage, Variable};
use crate::{mounts, words};

/// Longer ones are nobody's.
const LONGEST: usize = 1024 * 1024;

/// How much of an instruction people are shown.
const LONGEST_SHOWN: usize = 120;

/// More of them are a mistake, or mischief.
const MOST_STAGES: usize = 1000;

impl File {
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let whole = Place {
            line: 0,
            instruction: String::new(),
        };
        if text.len() > LONGEST {
            return Err(BuildError::malformed(&whole, "it is longer than 1 MiB"));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let escape = escape(text);
        let (text, bodies) = heredocs::take_out(text, escape).map_err(|(line, delimiter)| {
            let at = Place {
                line,
                instruction: String::new(),
            };
            BuildError::malformed(
                &at,
                format!("the line `{delimiter}` that ends it is missing"),
            )
        })?;
        let reader = Reader {
            text: &text,
            escape,
            bodies,
        };
        reader.file()
    }
}

/// What the directive says, which only the first lines can hold.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let Some((key, value)) = (line.trim().strip_prefix('#')).and_then(|it| it.split_once('='))
        else {
            break;
        };
        if key.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

struct Reader<'a> {
    text: &'a str,
    escape: char,
    bodies: Bodies,
}

impl Reader<'_> {
    fn file(&self) -> Result<File, BuildError> {
        let mut file = File {
            global_args: Vec::new(),
            stages: Vec::new(),
            escape: self.escape,
            notes: Vec::new(),
        };
        let read = parser::parse_iter(self.text).map_err(|error| self.failed(&error))?;
        for instruction in read {
            let instruction = instruction.map_err(|error| self.failed(&error))?;
            self.take(instruction, &mut file)?;
        }
        if file.stages.is_empty() {
            let at = self.at(0);
            return Err(BuildError::malformed(
                &Place { line: 0, ..at },
                "there is no `FROM` in it",
            ));
        }
        Ok(file)
    }

    fn failed(&self, error: &parser::Error) -> BuildError {
        let line = error.line();
        let first = self.text.lines().nth(line.saturating_sub(1));
        let word = first.and_then(|line| line.split_whitespace().next());
        let words = error.to_string();
        // It ends with the place, which is told before it.
        let what = words.split(" at line ").next().unwrap_or_default();
        let what = what.replace('\'', "`");
        BuildError::Malformed {
            at: Place {
                line,
                instruction: word.unwrap_or_default().to_owned(),
            },
            what,
        }
    }

    fn at(&self, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let word = self.text[offset.min(self.text.len())..]
            .split_whitespace()
            .next();
        Place {
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            instruction: word.unwrap_or_default().to_ascii_uppercase(),
        }
    }

    fn take(&self, read: Read<'_>, file: &mut File) -> Result<(), BuildError> {
        let at = self.at(start(&read));
        let text = self.shown(start(&read));
        let kind = match read {
            Read::From(it) => return self.from(it, at, file),
            Read::Arg(it) => {
                let args = self.args(&it.arguments.value, &at)?;
                if file.stages.is_empty() {
                    file.global_args.extend(args);
                    return Ok(());
                }
                Kind::Arg(args)
            }
            Read::Run(it) => Kind::Run(self.run(&it, &at)?),
            Read::Copy(it) => {
                let (sources, to) = (self.sources(&it.src), it.dest.value.into_owned());
                Kind::Copy(copy(false, &it.options, sources, to, &at)?)
            }
            Read::Add(it) => {
                let (sources, to) = (self.sources(&it.src), it.dest.value.into_owned());
                let copy = copy(true, &it.options, sources, to, &at)?;
                for source in &copy.sources {
                    refuse_remote(source, &at)?;
                }
                Kind::Copy(copy)
            }
            Read::Env(it) => Kind::Env(self.pairs(&it.arguments.value, &at)?),
            Read::Label(it) => Kind::Label(self.pairs(&it.arguments.value, &at)?),
            Read::Workdir(it) => Kind::Workdir(it.arguments.value.into_owned()),
            Read::User(it) => Kind::User(it.arguments.value.into_owned()),
            Read::Entrypoint(it) => Kind::Entrypoint(self.form(&it.arguments)),
            Read::Cmd(it) => Kind::Cmd(self.form(&it.arguments)),
            Read::Expose(it) => Kind::Expose(
                (it.arguments.iter())
                    .map(|port| port.value.to_string())
                    .collect(),
            ),
            Read::Shell(it) => Kind::Shell(
                (it.arguments.iter())
                    .map(|word| word.value.to_string())
                    .collect(),
            ),
            Read::Healthcheck(_) | Read::Stopsignal(_) | Read::Volume(_) | Read::Maintainer(_) => {
                if file.stages.is_empty() {
                    return Err(no_stage(&at));
                }
                file.notes
                    .push(format!("{at}: has no meaning here, and was left out"));
                return Ok(());
            }
            _ => {
                let what = format!("`{}`", at.instruction);
                return Err(BuildError::unsupported(&at, what));
            }
        };
        let stage = file.stages.last_mut().ok_or_else(|| no_stage(&at))?;
        stage.instructions.push(Instruction { at, text, kind });
        Ok(())
    }

    fn from(
        &self,
        read: parser::FromInstruction<'_>,
        at: Place,
        file: &mut File,
    ) -> Result<(), BuildError> {
        for option in &read.options {
            let value = option.value.as_ref().map(|it| it.value.as_ref());
            match (option.name.value.as_ref(), value) {
                (
                    "platform",
                    Some(
                        "linux/amd64" | "$TARGETPLATFORM" | "$BUILDPLATFORM" | "${TARGETPLATFORM}"
                        | "${BUILDPLATFORM}",
                    ),
                ) => {}
                ("platform", Some(other)) => {
                    return Err(BuildError::unsupported(&at, format!("platform `{other}`")));
                }
                (name, _) => return Err(BuildError::unsupported(&at, format!("`--{name}`"))),
            }
        }
        if file.stages.len() == MOST_STAGES {
            let what = format!("there are more than {MOST_STAGES} stages");
            return Err(BuildError::malformed(&at, what));
        }
        let name = read.as_.map(|(_, name)| name.value.to_ascii_lowercase());
        if name.as_deref().is_some_and(|name| !is_stage_name(name)) {
            let name = name.unwrap_or_default();
            let what = format!(
                "`{name}` is no name of a stage: a letter, then letters, digits, `-`, `_` and `.`"
            );
            return Err(BuildError::malformed(&at, what));
        }
        if name.is_some() && file.stages.iter().any(|stage| stage.name == name) {
            let what = format!("stage `{}` is there already", name.unwrap_or_default());
            return Err(BuildError::malformed(&at, what));
        }
        file.stages.push(Stage {
            at,
            from: read.image.value.into_owned(),
            name,
            instructions: Vec::new(),
        });
        Ok(())
    }

    fn args(&self, text: &str, at: &Place) -> Result<Vec<Variable>, BuildError> {
        let words = words::split(text, self.escape).into_iter();
        words
            .map(|word| {
                let (name, value) = match word.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word, None),
                };
                variable(at, name, value)
            })
            .collect()
    }

    fn pairs(&self, text: &str, at: &Place) -> Result<Vec<Variable>, BuildError> {
        let pairs = words::pairs(text, self.escape);
        let pairs = pairs
            .map_err(|word| BuildError::malformed(at, format!("`{word}` is no NAME=VALUE")))?;
        let named = pairs.into_iter().map(|(name, value)| {
            // Names of labels may be quoted, and have dots in them.
            let name = match at.instruction.as_str() {
                "LABEL" => name.trim_matches(['"', '\'']).to_owned(),
                _ => return variable(at, name, Some(value)),
            };
            Ok(Variable {
                at: at.clone(),
                name,
                value: Some(value),
            })
        });
        named.collect()
    }

    fn form(&self, read: &parser::Command<'_>) -> Form {
        match read {
            parser::Command::Exec(words) => Form::Exec(
                words
                    .value
                    .iter()
                    .map(|word| word.value.to_string())
                    .collect(),
            ),
            parser::Command::Shell(text) => Form::Shell(command::joined(text.value, self.escape)),
            // The crate says that more may come.
            _ => Form::Exec(Vec::new()),
        }
    }

    fn run(&self, read: &parser::RunInstruction<'_>, at: &Place) -> Result<Run, BuildError> {
        let mut secrets = Vec::new();
        for option in &read.options {
            let value = option.value.as_ref().map(|it| it.value.to_string());
            match (option.name.value.as_ref(), value) {
                ("mount", Some(value)) => {
                    secrets.push(mounts::parse(&value, at)?);
                }
                ("network", Some(value)) if value == "default" => {}
                (name, _) => return Err(BuildError::unsupported(at, format!("`--{name}`"))),
            }
        }
        let form = self.form(&read.arguments);
        if let Form::Shell(text) = &form {
            if let Some(document) = read.here_docs.first() {
                let body = document.value.to_string();
                // The parser's words begin behind the mark.
                let whole =
                    command::joined(self.instruction_text(read.run.span.start), self.escape);
                let mark = whole.find("<<").map_or("", |at| whole[at..].trim());
                if !is_one_mark(mark) {
                    // The shell reads the document itself.
                    let end = delimiter(mark);
                    return Ok(Run {
                        form: Form::Shell(format!("{mark}\n{body}{end}\n")),
                        script: None,
                        secrets,
                    });
                }
                let is_script = command::interpreter(&body).is_some();
                return Ok(Run {
                    form: Form::Shell(match is_script {
                        true => String::new(),
                        false => body.clone(),
                    }),
                    script: is_script.then_some(body),
                    secrets,
                });
            }
            if let Some(body) = self.bodies.get(&at.line) {
                return Ok(Run {
                    form: Form::Shell(format!("{text}\n{body}")),
                    script: None,
                    secrets,
                });
            }
            if text.trim().is_empty() {
                return Err(BuildError::malformed(at, "there is no command"));
            }
        }
        Ok(Run {
            form,
            script: None,
            secrets,
        })
    }

    fn sources(&self, read: &[parser::Source<'_>]) -> Vec<(Source, usize)> {
        (read.iter())
            .map(|source| match source {
                parser::Source::HereDoc(it) => {
                    let source = Source::Inline {
                        name: self.delimiter_of(it),
                        text: it.value.to_string(),
                        expands: it.expand,
                    };
                    (source, it.span.start)
                }
                parser::Source::Path(it) => (Source::Path(it.value.to_string()), it.span.start),
                _ => (Source::Path(String::new()), 0),
            })
            .collect()
    }

    /// The name that a document's file has: the line that ends it.
    fn delimiter_of(&self, document: &parser::HereDoc<'_>) -> String {
        let after = &self.text[document.span.end.min(self.text.len())..];
        let last = self.text[..document.span.end.min(self.text.len())]
            .lines()
            .last();
        let next = after.lines().next().unwrap_or_default().trim();
        match next.is_empty() {
            true => last.unwrap_or_default().trim().to_owned(),
            false => next.to_owned(),
        }
    }

    /// The first line of an instruction, cut to a length.
    fn shown(&self, offset: usize) -> String {
        let line = self.text[offset..].lines().next().unwrap_or_default();
        let joined = command::joined(self.instruction_text(offset), self.escape);
        let text: String = joined.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = if text.is_empty() {
            line.to_owned()
        } else {
            text
        };
        match text.char_indices().nth(LONGEST_SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    /// An instruction with the lines that continue it.
    fn instruction_text(&self, offset: usize) -> &str {
        let rest = &self.text[offset..];
        let mut end = 0;
        for (number, line) in rest.split_inclusive('\n').enumerate() {
            end += line.len();
            let is_comment = number > 0 && line.trim_start().starts_with('#');
            if !line.trim_end().ends_with(self.escape) && !is_comment {
                break;
            }
        }
        rest[..end].trim_end()
    }
}

/// Whether a command is nothing but the mark of a here-document.
fn is_one_mark(text: &str) -> bool {
    text.starts_with("<<") && !text.contains(char::is_whitespace)
}

fn delimiter(text: &str) -> String {
    let mark = text.trim_start_matches("<<").trim_start_matches('-');
    let is_part = |it: &char| it.is_alphanumeric() || *it == '_';
    mark.trim_start_matches(['"', '\''])
        .chars()
        .take_while(is_part)
        .collect()
}

fn no_stage(at: &Place) -> BuildError {
    BuildError::malformed(at, "only `ARG` may stand before the first `FROM`")
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|it: char| it.is_ascii_lowercase())
        && name
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || "-_.".contains(it))
}

fn variable(at: &Place, name: String, value: Option<String>) -> Result<Variable, BuildError> {
    let is_name = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && name
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || "_-.".contains(it));
    if !is_name {
        return Err(BuildError::malformed(
            at,
            format!("`{name}` is no name of a variable"),
        ));
    }
    Ok(Variable {
        at: at.clone(),
        name,
        value,
    })
}

fn refuse_remote(source: &Source, at: &Place) -> Result<(), BuildError> {
    let Source::Path(path) = source else {
        return Ok(());
    };
    let lower = path.to_ascii_lowercase();
    let is_remote = ["http://", "https://", "git://", "git@", "ssh://"];
    if is_remote.iter().any(|start| lower.starts_with(start)) {
        return Err(BuildError::unsupported(
            at,
            format!("a source of the network (`{path}`)"),
        ));
    }
    Ok(())
}

fn copy(
    unpacks: bool,
    options: &[parser::Flag<'_>],
    sources: Vec<(Source, usize)>,
    destination: String,
    at: &Place,
) -> Result<Copy, BuildError> {
    let mut copy = Copy {
        unpacks,
        from: None,
        chown: None,
        chmod: None,
        sources: sources.into_iter().map(|(source, _)| source).collect(),
        destination,
    };
    for option in options {
        let name = option.name.value.as_ref();
        let value = option.value.as_ref().map(|it| it.value.to_string());
        match (name, value) {
            ("from", Some(value)) if !unpacks => copy.from = Some(value),
            ("chown", Some(value)) => copy.chown = Some(value),
            ("chmod", Some(value)) => copy.chmod = Some(value),
            // How layers lie on each other is pyro's own business.
            ("link", _) => {}
            ("from" | "chown" | "chmod", _) => {
                return Err(BuildError::malformed(
                    at,
                    format!("`--{name}` needs a value"),
                ));
            }
            _ => return Err(BuildError::unsupported(at, format!("`--{name}`"))),
        }
    }
    Ok(copy)
}

fn start(read: &Read<'_>) -> usize {
    let keyword = match read {
        Read::Add(it) => &it.add,
        Read::Arg(it) => &it.arg,
        Read::Cmd(it) => &it.cmd,
        Read::Copy(it) => &it.copy,
        Read::Entrypoint(it) => &it.entrypoint,
        Read::Env(it) => &it.env,
        Read::Expose(it) => &it.expose,
        Read::From(it) => &it.from,
        Read::Healthcheck(it) => &it.healthcheck,
        Read::Label(it) => &it.label,
        Read::Maintainer(it) => &it.maintainer,
        Read::Onbuild(it) => &it.onbuild,
        Read::Run(it) => &it.run,
        Read::Shell(it) => &it.shell,
        Read::Stopsignal(it) => &it.stopsignal,
        Read::User(it) => &it.user,
        Read::Volume(it) => &it.volume,
        Read::Workdir(it) => &it.workdir,
        _ => return 0,
    };
    keyword.span.start
}
