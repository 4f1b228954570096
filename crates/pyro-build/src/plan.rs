//! Which stages a target needs, in the order of the file, and what each begins with.

use std::collections::BTreeMap;

use crate::error::{BuildError, Place};
use crate::instruction::{File, Instruction, Kind, Stage, Variable};
use crate::substitute::{MOST_DEEP, Reading, Unreplaced};

/// What a stage begins with, or copies from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    Environment(String),
    /// Its place among those of the plan.
    Stage(usize),
}

/// The stages that are made, the target last.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) stages: Vec<PlannedStage>,
    pub(crate) escape: char,
    pub(crate) global: BTreeMap<String, String>,
    pub(crate) given: BTreeMap<String, String>,
    /// What there is to know about the file.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct PlannedStage {
    pub(crate) at: Place,
    /// Its name, or its number in the file.
    pub(crate) name: String,
    pub(crate) base: Base,
    pub(crate) instructions: Vec<Instruction>,
    /// What each `COPY --from` means, by the place of its instruction.
    pub(crate) copies_from: BTreeMap<usize, Base>,
}

/// What Docker sets for every build; here there is one platform.
const PLATFORM: [(&str, &str); 8] = [
    ("TARGETPLATFORM", "linux/amd64"),
    ("TARGETOS", "linux"),
    ("TARGETARCH", "amd64"),
    ("TARGETVARIANT", ""),
    ("BUILDPLATFORM", "linux/amd64"),
    ("BUILDOS", "linux"),
    ("BUILDARCH", "amd64"),
    ("BUILDVARIANT", ""),
];

/// Those that may be given without an `ARG`.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

impl Plan {
    /// For the last stage, or the one of a name, with values for `ARG`.
    pub fn of(
        file: &File,
        target: Option<&str>,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, BuildError> {
        let mut plan = Self {
            stages: Vec::new(),
            escape: file.escape,
            global: PLATFORM
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            given: given.clone(),
            notes: file.notes.clone(),
        };
        for arg in &file.global_args {
            let default = arg.value.as_deref();
            let default = default
                .map(|value| plan.replaced(value, &arg.at))
                .transpose()?;
            if let Some(value) = given.get(&arg.name).cloned().or(default) {
                plan.global.insert(arg.name.clone(), value);
            }
        }
        let number = match target {
            None => file.stages.len() - 1,
            Some(name) => (stage_called(&file.stages, name)).ok_or_else(|| {
                let known = (file.stages.iter().enumerate())
                    .map(|(number, stage)| format!("`{}`", stage_name(stage, number)))
                    .collect::<Vec<_>>();
                BuildError::NoSuchStage {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })?,
        };
        let mut places = BTreeMap::new();
        plan.needed(&file.stages, number, &mut places)?;
        plan.tell_unused(file);
        Ok(plan)
    }

    /// Adds a stage after all that it needs. Each needs earlier ones of the file only, so there is no circle.
    fn needed(
        &mut self,
        stages: &[Stage],
        number: usize,
        places: &mut BTreeMap<usize, usize>,
    ) -> Result<usize, BuildError> {
        if let Some(place) = places.get(&number) {
            return Ok(*place);
        }
        let stage = &stages[number];
        let from = self.replaced(&stage.from, &stage.at)?;
        if from.is_empty() {
            let what = format!("`{}` is empty: give its `ARG` a value", stage.from);
            return Err(BuildError::malformed(&stage.at, what));
        }
        let base = match earlier(stages, number, &from, &stage.at, false)? {
            Some(earlier) => Base::Stage(self.needed(stages, earlier, places)?),
            None if from == "scratch" => {
                return Err(BuildError::unsupported(&stage.at, "`scratch`"));
            }
            None => Base::Environment(from),
        };
        let mut copies_from = BTreeMap::new();
        for (place, instruction) in stage.instructions.iter().enumerate() {
            let Kind::Copy(copy) = &instruction.kind else {
                continue;
            };
            let Some(from) = &copy.from else {
                continue;
            };
            if from.contains('$') {
                let what = "a variable in `--from`";
                return Err(BuildError::unsupported(&instruction.at, what));
            }
            let from = match earlier(stages, number, from, &instruction.at, true)? {
                Some(earlier) => Base::Stage(self.needed(stages, earlier, places)?),
                None => Base::Environment(from.clone()),
            };
            copies_from.insert(place, from);
        }
        self.stages.push(PlannedStage {
            at: stage.at.clone(),
            name: stage_name(stage, number),
            base,
            instructions: stage.instructions.clone(),
            copies_from,
        });
        let place = self.stages.len() - 1;
        places.insert(number, place);
        Ok(place)
    }

    fn replaced(&self, text: &str, at: &Place) -> Result<String, BuildError> {
        let lookup = |name: &str| self.global.get(name).cloned();
        let reading = Reading {
            escape: self.escape,
            lookup: &lookup,
            unquotes: true,
        };
        reading.word(text).map_err(|error| unreplaced(&error, at))
    }

    /// Names what was given for an `ARG` that is nowhere: most often a slip.
    fn tell_unused(&mut self, file: &File) {
        let of_stages = (file.stages.iter())
            .flat_map(|stage| &stage.instructions)
            .filter_map(|instruction| match &instruction.kind {
                Kind::Arg(args) => Some(args),
                _ => None,
            })
            .flatten();
        let declared: Vec<&Variable> = file.global_args.iter().chain(of_stages).collect();
        let unused = self.given.keys().filter(|name| {
            !PROXIES.contains(&name.as_str()) && !declared.iter().any(|arg| arg.name == **name)
        });
        let notes = unused.map(|name| format!("no `ARG` takes the build argument `{name}`"));
        self.notes.extend(notes.collect::<Vec<_>>());
    }

    /// The environments that it begins with or copies from, each with the place that names it first.
    pub fn environments(&self) -> Vec<(&str, &Place)> {
        let mut named: Vec<(&str, &Place)> = Vec::new();
        for stage in &self.stages {
            let copies = stage.copies_from.iter();
            let copies = copies.map(|(place, from)| (from, &stage.instructions[*place].at));
            for (base, at) in [(&stage.base, &stage.at)].into_iter().chain(copies) {
                if let Base::Environment(name) = base
                    && !named.iter().any(|(known, _)| known == name)
                {
                    named.push((name, at));
                }
            }
        }
        named
    }

    /// Whether a step reads files of the context.
    pub fn has_context(&self) -> bool {
        let instructions = self.stages.iter().flat_map(|stage| &stage.instructions);
        instructions
            .filter_map(|instruction| match &instruction.kind {
                Kind::Copy(copy) => Some(copy),
                _ => None,
            })
            .any(|copy| copy.from.is_none())
    }

    /// Proxies that were given for commands without such variables.
    pub(crate) fn proxies(&self, env: &[(String, String)]) -> Vec<(String, String)> {
        let is_proxy = |name: &String| {
            PROXIES.contains(&name.as_str()) && !env.iter().any(|(known, _)| known == name)
        };
        let given = self.given.iter().filter(|(name, _)| is_proxy(name));
        given
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// The stage that a name or a number means, if it comes before this one.
fn earlier(
    stages: &[Stage],
    before: usize,
    name: &str,
    at: &Place,
    by_number: bool,
) -> Result<Option<usize>, BuildError> {
    let number = name.parse::<usize>().ok().filter(|_| by_number);
    let found = (stages.iter())
        .position(|stage| stage.name.as_deref() == Some(name.to_ascii_lowercase().as_str()))
        .or(number);
    match found {
        Some(found) if found < before => Ok(Some(found)),
        // A stage that has the name of the image that it begins with.
        Some(found) if found == before && !by_number => Ok(None),
        Some(_) => Err(BuildError::NotYet {
            at: at.clone(),
            stage: name.to_owned(),
        }),
        None => Ok(None),
    }
}

fn stage_called(stages: &[Stage], name: &str) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    let number = || name.parse::<usize>().ok();
    (stages.iter())
        .position(|stage| stage.name.as_deref() == Some(lower.as_str()))
        .or_else(|| number().filter(|number| *number < stages.len()))
}

fn stage_name(stage: &Stage, number: usize) -> String {
    stage.name.clone().unwrap_or_else(|| number.to_string())
}

pub(crate) fn unreplaced(error: &Unreplaced, at: &Place) -> BuildError {
    match error {
        Unreplaced::Form(text) => BuildError::unsupported(at, format!("`{text}`")),
        Unreplaced::Open(text) => BuildError::malformed(at, format!("`{text}` lacks its `}}`")),
        Unreplaced::Deep => {
            let what = format!("variables stand in each other more than {MOST_DEEP} deep");
            BuildError::malformed(at, what)
        }
        Unreplaced::Unset { name, message } if message.is_empty() => {
            BuildError::malformed(at, format!("`{name}` has no value"))
        }
        Unreplaced::Unset { name, message } => {
            BuildError::malformed(at, format!("`{name}`: {message}"))
        }
    }
}
