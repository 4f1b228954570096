//! The steps of a plan: every variable replaced, every source found, every key known.

use std::collections::BTreeMap;

use pyro_oci::Config;

use crate::context::{Context, EntryKind, Found};
use crate::error::{BuildError, Place};
use crate::instruction::{Copy, Instruction, Kind, Run, Source};
use crate::key::Key;
use crate::mounts::SecretMount;
use crate::plan::{Base, Plan, PlannedStage};
use crate::source_names::{BadName, SourceName};
use crate::stage_state::StageState;

/// What is known about an environment that a plan names.
#[derive(Clone, Debug)]
pub struct BaseFacts {
    pub key: Key,
    pub config: Config,
}

/// Everything that there is to do, the target last.
#[derive(Debug)]
pub struct Resolved {
    pub stages: Vec<ResolvedStage>,
}

#[derive(Debug)]
pub struct ResolvedStage {
    pub name: String,
    pub base: Base,
    pub at: Place,
    pub steps: Vec<Step>,
    /// Of the stage when all is done.
    pub key: Key,
    pub config: Config,
    /// What a stage has that begins with this one, besides its configuration.
    pub(crate) shell: Vec<String>,
    pub(crate) args: BTreeMap<String, String>,
}

/// One instruction.
#[derive(Debug)]
pub struct Step {
    pub at: Place,
    /// As it is shown to people.
    pub text: String,
    pub action: Action,
    /// Of the disk after it. A step that changes no file has the key of the one before.
    pub key: Key,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Run(RunStep),
    Copy(CopyStep),
    /// Makes a folder.
    Folder {
        path: String,
        user: Option<String>,
    },
    /// Changes what the environment says of itself, and no file.
    Configure,
}

#[derive(Debug, PartialEq, Eq)]
pub struct RunStep {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// What is to be in a file whose path is added to the words.
    pub script: Option<String>,
    pub folder: String,
    pub user: Option<String>,
    pub env: Vec<(String, String)>,
    /// Names in `env` that the key does not depend on: proxies that the file does not name.
    pub proxies: Vec<String>,
    pub secrets: Vec<SecretMount>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct CopyStep {
    /// Absolute.
    pub destination: String,
    /// A file that is copied alone takes the destination's name, unless a folder is there: then this one.
    pub alone: Option<Vec<u8>>,
    /// A user and a group, in the guest's names or numbers.
    pub owner: Option<String>,
    pub mode: Option<u32>,
    pub what: CopyWhat,
}

#[derive(Debug, PartialEq, Eq)]
pub enum CopyWhat {
    /// Files of the context and of the Containerfile itself.
    Members {
        members: Vec<Member>,
        /// Sources that are archives are unpacked.
        unpacks: bool,
    },
    /// Files of another disk, which are found when it is there.
    Of { from: Base, sources: Vec<String> },
}

/// Something that is copied. Its name is relative to the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: Vec<u8>,
    pub mode: u32,
    /// No key depends on it.
    pub mtime_ns: i64,
    /// Whether it is a source itself, and not in a folder that is one.
    pub is_source: bool,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Folder,
    Link(Vec<u8>),
    /// A file of the context.
    File {
        path: Vec<u8>,
        size: u64,
        digest: [u8; 32],
    },
    Inline(Vec<u8>),
}

impl Plan {
    /// `facts` knows every environment that the plan names.
    pub fn resolve(
        &self,
        facts: &BTreeMap<String, BaseFacts>,
        context: Option<&Context>,
    ) -> Result<Resolved, BuildError> {
        let mut stages: Vec<ResolvedStage> = Vec::new();
        for planned in &self.stages {
            let stage = Resolver {
                plan: self,
                facts,
                context,
                done: &stages,
            }
            .stage(planned)?;
            stages.push(stage);
        }
        Ok(Resolved { stages })
    }
}

/// What a step's result depends on, besides the disk before it.
type KeyParts = Vec<Vec<u8>>;

struct Resolver<'a> {
    plan: &'a Plan,
    facts: &'a BTreeMap<String, BaseFacts>,
    context: Option<&'a Context>,
    done: &'a [ResolvedStage],
}

impl Resolver<'_> {
    fn base(&self, base: &Base, at: &Place) -> Result<(Key, Config), BuildError> {
        match base {
            Base::Stage(place) => {
                let stage = &self.done[*place];
                Ok((stage.key.clone(), stage.config.clone()))
            }
            Base::Environment(name) => {
                let facts = self.facts.get(name);
                let facts = facts.ok_or_else(|| {
                    BuildError::not_found(at, format!("environment `{name}` is not there"))
                })?;
                Ok((facts.key.clone(), facts.config.clone()))
            }
        }
    }

    fn stage(&self, planned: &PlannedStage) -> Result<ResolvedStage, BuildError> {
        let (mut key, config) = self.base(&planned.base, &planned.at)?;
        let mut state = StageState::new(config, self.plan.escape);
        if let Base::Stage(below) = planned.base {
            state.shell.clone_from(&self.done[below].shell);
            state.args.clone_from(&self.done[below].args);
        }
        let mut steps = Vec::new();
        for (place, instruction) in planned.instructions.iter().enumerate() {
            let from = planned.copies_from.get(&place);
            let (action, parts) = self.action(instruction, from, &mut state)?;
            if let Some(parts) = parts {
                let parts = parts.iter().map(Vec::as_slice);
                key = Key::of("step", [key.as_str().as_bytes()].into_iter().chain(parts));
            }
            steps.push(Step {
                at: instruction.at.clone(),
                text: instruction.text.clone(),
                action,
                key: key.clone(),
            });
        }
        Ok(ResolvedStage {
            name: planned.name.clone(),
            base: planned.base.clone(),
            at: planned.at.clone(),
            steps,
            key,
            config: state.config,
            shell: state.shell,
            args: state.args,
        })
    }

    /// What is to be done, and what its result depends on besides the disk before it: nothing for what changes
    /// no file.
    fn action(
        &self,
        instruction: &Instruction,
        from: Option<&Base>,
        state: &mut StageState,
    ) -> Result<(Action, Option<KeyParts>), BuildError> {
        let at = &instruction.at;
        match &instruction.kind {
            Kind::Env(pairs) => state.set_env(pairs)?,
            Kind::Arg(args) => state.set_args(args, self.plan)?,
            Kind::Label(labels) => state.set_labels(labels)?,
            Kind::User(user) => {
                let user = state.replaced(user, at)?;
                if user.trim().is_empty() {
                    return Err(BuildError::malformed(at, "the user is empty"));
                }
                state.config.user = Some(user.trim().to_owned());
            }
            Kind::Entrypoint(form) => state.set_entrypoint(form),
            Kind::Cmd(form) => state.set_cmd(form),
            Kind::Expose(ports) => {
                for port in ports {
                    state.expose(port, at)?;
                }
            }
            Kind::Shell(words) => state.shell.clone_from(words),
            Kind::Workdir(path) => {
                let path = state.replaced(path, at)?;
                if path.trim().is_empty() {
                    return Err(BuildError::malformed(at, "the folder is empty"));
                }
                let path = state.absolute(path.trim());
                state.config.working_dir = Some(path.clone());
                let user = state.config.user.clone();
                let parts = [
                    b"folder".as_slice(),
                    path.as_bytes(),
                    bytes(user.as_deref()),
                ];
                let parts = parts.map(<[u8]>::to_vec).into();
                return Ok((Action::Folder { path, user }, Some(parts)));
            }
            Kind::Run(run) => {
                let run = self.run(run, at, state)?;
                let parts = parts_of_run(&run);
                return Ok((Action::Run(run), Some(parts)));
            }
            Kind::Copy(copy) => {
                let step = self.copy(copy, from, at, state)?;
                let parts = self.parts_of_copy(&step, at)?;
                return Ok((Action::Copy(step), Some(parts)));
            }
        }
        Ok((Action::Configure, None))
    }

    fn run(&self, run: &Run, at: &Place, state: &StageState) -> Result<RunStep, BuildError> {
        /// What the kernel takes as one argument.
        const LONGEST_WORD: usize = 128 * 1024 - 1;
        let words = match &run.script {
            Some(script) => crate::command::interpreter(script)
                .ok_or_else(|| BuildError::malformed(at, "the script names no interpreter"))?,
            None => state.words(&run.form),
        };
        if words.first().is_none_or(String::is_empty) {
            return Err(BuildError::malformed(at, "there is no command"));
        }
        if words.iter().any(|word| word.len() > LONGEST_WORD) {
            let what = "the command is longer than the 128 KiB that a kernel takes as one argument; \
                        copy it in as a file, or begin it with `#!`";
            return Err(BuildError::malformed(at, what));
        }
        let mut env = state.env();
        let proxies = self.plan.proxies(&env);
        env.extend(proxies.iter().cloned());
        Ok(RunStep {
            words,
            script: run.script.clone(),
            folder: state.folder(),
            user: state.config.user.clone(),
            env,
            proxies: proxies.into_iter().map(|(name, _)| name).collect(),
            secrets: run.secrets.clone(),
        })
    }

    fn copy(
        &self,
        copy: &Copy,
        from: Option<&Base>,
        at: &Place,
        state: &StageState,
    ) -> Result<CopyStep, BuildError> {
        let written = state.replaced(&copy.destination, at)?;
        if written.is_empty() {
            return Err(BuildError::malformed(at, "the destination is empty"));
        }
        let destination = state.absolute(&written);
        let is_folder = written.ends_with('/') || written == "." || written.ends_with("/.");
        let owner = copy.chown.as_deref();
        let owner = owner.map(|owner| state.replaced(owner, at)).transpose()?;
        let owner = owner.map(with_group);
        let mode = copy.chmod.as_deref();
        let mode = mode.map(|mode| state.replaced(mode, at)).transpose()?;
        let mode = mode.map(|mode| {
            let number = u32::from_str_radix(&mode, 8)
                .ok()
                .filter(|it| *it <= 0o7777);
            number.ok_or_else(|| {
                BuildError::unsupported(at, format!("`--chmod={mode}`, which is not octal,"))
            })
        });
        let mode = mode.transpose()?;
        let step = |alone, what| CopyStep {
            destination: destination.clone(),
            alone,
            owner: owner.clone(),
            mode,
            what,
        };
        let needs_folder = || {
            let what = "several sources need a destination that ends with `/`";
            BuildError::malformed(at, what)
        };
        if let Some(from) = from {
            let sources = (copy.sources.iter()).map(|source| match source {
                Source::Path(path) => state.replaced(path, at),
                Source::Inline { .. } => Err(BuildError::unsupported(
                    at,
                    "a here-document beside `--from`",
                )),
            });
            let sources = sources.collect::<Result<Vec<_>, _>>()?;
            for source in &sources {
                name_of(source, at)?;
            }
            if sources.len() > 1 && !is_folder {
                return Err(needs_folder());
            }
            let name = sources[0].trim_end_matches('/').rsplit('/').next();
            let alone = (!is_folder).then(|| name.unwrap_or_default().as_bytes().to_vec());
            let from = from.clone();
            return Ok(step(alone, CopyWhat::Of { from, sources }));
        }
        let mut found = FoundSources::default();
        for source in &copy.sources {
            match source {
                Source::Path(path) => {
                    let path = state.replaced(path, at)?;
                    self.find(&path, at, &mut found)?;
                }
                Source::Inline {
                    name,
                    text,
                    expands,
                } => {
                    let text = match expands {
                        true => state.document(text, at)?,
                        false => text.clone(),
                    };
                    found.count += 1;
                    found.file_name = Some(name.as_bytes().to_vec());
                    found.members.push(Member {
                        name: name.as_bytes().to_vec(),
                        mode: 0o644,
                        mtime_ns: 0,
                        is_source: true,
                        content: Content::Inline(text.into_bytes()),
                    });
                }
            }
        }
        if found.count > 1 && !is_folder {
            return Err(needs_folder());
        }
        let alone = found.file_name.filter(|_| !is_folder);
        let what = CopyWhat::Members {
            members: found.members,
            unpacks: copy.unpacks,
        };
        Ok(step(alone, what))
    }

    /// Adds what a source of the context means.
    fn find(&self, text: &str, at: &Place, found: &mut FoundSources) -> Result<(), BuildError> {
        let name = name_of(text, at)?;
        let nothing = || BuildError::not_found(at, format!("`{text}` is not in the context"));
        let context = self.context.ok_or_else(nothing)?;
        let paths = match &name {
            SourceName::Literal(path) => vec![path.clone().into_bytes()],
            SourceName::Pattern(pattern) => {
                let matching = context.paths().filter(|path| pattern.matches(path));
                matching.cloned().collect()
            }
        };
        if paths.is_empty() {
            let what = format!("nothing in the context matches `{text}`");
            return Err(BuildError::not_found(at, what));
        }
        for path in paths {
            let found_at = match context.find(&path) {
                Found::Path(path) => path,
                Found::Outside => {
                    let what = format!(
                        "`{}` leads out of the context, where nothing is copied from",
                        String::from_utf8_lossy(&path)
                    );
                    return Err(BuildError::not_found(at, what));
                }
                Found::Nothing if context.special.iter().any(|it| it.as_bytes() == path) => {
                    let what = format!("`{text}` is a socket, a pipe or a device, and no file");
                    return Err(BuildError::not_found(at, what));
                }
                Found::Nothing if context.rules().leaves_out(&path) => {
                    let what = format!("`{text}` is left out by the ignore file");
                    return Err(BuildError::not_found(at, what));
                }
                Found::Nothing => return Err(nothing()),
            };
            found.count += 1;
            add_members(context, &path, &found_at, found)?;
        }
        Ok(())
    }

    fn parts_of_copy(&self, step: &CopyStep, at: &Place) -> Result<Vec<Vec<u8>>, BuildError> {
        let mut parts = vec![
            b"copy".to_vec(),
            step.destination.as_bytes().to_vec(),
            bytes(step.alone.as_deref().map(|_| "alone")).to_vec(),
            step.alone.clone().unwrap_or_default(),
            bytes(step.owner.as_deref()).to_vec(),
            step.mode
                .map(|mode| mode.to_string())
                .unwrap_or_default()
                .into_bytes(),
        ];
        match &step.what {
            CopyWhat::Of { from, sources } => {
                let (key, _) = self.base(from, at)?;
                parts.push(key.as_str().as_bytes().to_vec());
                parts.extend(sources.iter().map(|source| source.as_bytes().to_vec()));
            }
            CopyWhat::Members { members, unpacks } => {
                for member in members {
                    parts.push(vec![u8::from(*unpacks && member.is_source)]);
                    parts.push(member.name.clone());
                    parts.push(member.mode.to_le_bytes().to_vec());
                    parts.push(match &member.content {
                        Content::Folder => b"folder".to_vec(),
                        Content::Link(target) => [b"link ".as_slice(), target].concat(),
                        Content::File { digest, .. } => [b"file ".as_slice(), digest].concat(),
                        Content::Inline(text) => [b"text ".as_slice(), text].concat(),
                    });
                }
            }
        }
        Ok(parts)
    }
}

#[derive(Default)]
struct FoundSources {
    count: usize,
    members: Vec<Member>,
    /// Of the last source, where it is a file.
    file_name: Option<Vec<u8>>,
}

/// A file by the name that was asked for, which may be a link's; of a folder what is in it.
fn add_members(
    context: &Context,
    asked: &[u8],
    path: &[u8],
    found: &mut FoundSources,
) -> Result<(), BuildError> {
    let content = |path: &[u8], kind: &EntryKind| -> Result<Content, BuildError> {
        Ok(match kind {
            EntryKind::Folder => Content::Folder,
            EntryKind::Link { target } => Content::Link(target.clone()),
            EntryKind::File { size } => Content::File {
                path: path.to_vec(),
                size: *size,
                digest: context.digest(path, *size)?,
            },
        })
    };
    let entry = context.entry(path);
    if let Some(entry) = entry.filter(|entry| entry.kind != EntryKind::Folder) {
        let name = asked.rsplit(|&byte| byte == b'/').next();
        let name = name.unwrap_or_default();
        found.file_name = Some(name.to_vec());
        found.members.push(Member {
            name: name.to_vec(),
            mode: entry.mode,
            mtime_ns: entry.mtime_ns,
            is_source: true,
            content: content(path, &entry.kind)?,
        });
        return Ok(());
    }
    found.file_name = None;
    for (name, entry) in context.below(path) {
        let whole = match path.is_empty() {
            true => name.to_vec(),
            false => [path, b"/", name].concat(),
        };
        found.members.push(Member {
            name: name.to_vec(),
            mode: entry.mode,
            mtime_ns: entry.mtime_ns,
            is_source: false,
            content: content(&whole, &entry.kind)?,
        });
    }
    Ok(())
}

/// The number of a user is that of the group, too, where none is given.
fn with_group(owner: String) -> String {
    match owner.is_empty() || owner.contains(|it: char| !it.is_ascii_digit()) {
        true => owner,
        false => format!("{owner}:{owner}"),
    }
}

fn name_of(text: &str, at: &Place) -> Result<SourceName, BuildError> {
    SourceName::parse(text).map_err(|error| match error {
        BadName::Outside => {
            BuildError::not_found(at, format!("`{text}` is outside of what may be copied"))
        }
        BadName::NoPattern => BuildError::malformed(at, format!("`{text}` is no pattern")),
    })
}

fn parts_of_run(run: &RunStep) -> Vec<Vec<u8>> {
    let mut parts = vec![b"run".to_vec(), run.words.len().to_le_bytes().to_vec()];
    parts.extend(run.words.iter().map(|word| word.as_bytes().to_vec()));
    parts.push(bytes(run.script.as_deref()).to_vec());
    parts.push(run.folder.as_bytes().to_vec());
    parts.push(bytes(run.user.as_deref()).to_vec());
    let mut env: Vec<_> = (run.env.iter())
        .filter(|(name, _)| !run.proxies.contains(name))
        .collect();
    env.sort();
    parts.extend(
        env.iter()
            .map(|(name, value)| format!("{name}={value}").into_bytes()),
    );
    // Which secrets, never what they are: a new token is no reason to build anew.
    parts.extend(
        run.secrets
            .iter()
            .map(|secret| format!("{secret:?}").into_bytes()),
    );
    parts
}

fn bytes(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}
