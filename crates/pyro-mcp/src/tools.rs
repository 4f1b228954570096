//! The list of operations as tools.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pyro_api::arguments::Arguments;
use pyro_api::schema::{self, Schema};
use pyro_api::{
    Caller, Effect, Error, Handle, HandleAll, Listed, Profile, Report, Text, Visit, visit,
};
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value};

use crate::answer::Answer;

pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;
type Call = Box<dyn Fn(Map<String, Value>, Caller) -> AnswerFuture + Send + Sync>;

/// One operation, as a profile offers it.
pub(crate) struct ToolEntry {
    pub(crate) tool: Tool,
    pub(crate) arguments: Arguments,
    pub(crate) call: Call,
}

/// The tools of a profile, in the order of the list, each with whoever carries it out.
pub(crate) struct Tools {
    profile: Profile,
    pub(crate) offered: Vec<ToolEntry>,
    /// Those that a larger profile has.
    other_profiles: Vec<&'static str>,
}

impl Tools {
    pub(crate) fn of<E: HandleAll>(engine: &Arc<E>, profile: Profile) -> Self {
        let mut listing = Listing {
            engine,
            tools: Self {
                profile,
                offered: Vec::new(),
                other_profiles: Vec::new(),
            },
        };
        visit(&mut listing);
        listing.tools
    }

    pub(crate) fn find(&self, name: &str) -> Result<&ToolEntry, Error> {
        let found = self
            .offered
            .iter()
            .find(|offered| offered.tool.name == name);
        found.ok_or_else(|| {
            let unknown = Error::new(
                pyro_api::ErrorCode::Unsupported,
                format!("Unknown tool: {name}"),
            );
            if self.other_profiles.contains(&name) {
                return unknown
                    .because("this profile does not offer it")
                    .hint("Serve with `pyro mcp serve --profile workspace-full`");
            }
            let names: Vec<&str> = self
                .offered
                .iter()
                .map(|offered| offered.tool.name.as_ref())
                .collect();
            unknown.hint(format!("The tools are {}", names.join(", ")))
        })
    }

    fn output<O: Listed>(&self, list: Option<&str>) -> Schema {
        let mut output = schema::output::<O>(list);
        for earlier in &self.offered {
            if let Some(known) = &earlier.tool.output_schema
                && schema::refer(&mut output, &earlier.tool.name, known)
            {
                break;
            }
        }
        output
    }
}

/// The tools, while they are being listed.
struct Listing<'e, E> {
    engine: &'e Arc<E>,
    tools: Tools,
}

impl<E: HandleAll> Visit<E> for Listing<'_, E> {
    fn operation<O: Listed>(&mut self)
    where
        E: Handle<O>,
    {
        let Some(mcp) = O::NAMES.mcp else { return };
        let tools = &mut self.tools;
        if mcp.from > tools.profile {
            tools.other_profiles.push(mcp.name);
            return;
        }
        let left_out = match tools.profile {
            Profile::WorkspaceFull => &[],
            Profile::VmRun | Profile::WorkspaceCore => mcp.only_full,
        };
        let (input, description) = schema::input::<O>(left_out);
        let tool = Tool::new(mcp.name, description, input)
            .with_title(mcp.title)
            .with_raw_output_schema(Arc::new(tools.output::<O>(mcp.list)))
            .with_annotations(annotations(mcp.effect, mcp.open_world));
        let engine = Arc::clone(self.engine);
        tools.offered.push(ToolEntry {
            tool,
            arguments: Arguments::of::<O>(mcp.name, left_out),
            call: Box::new(move |arguments, caller| {
                call::<O, E>(Arc::clone(&engine), arguments, caller)
            }),
        });
    }
}

fn annotations(effect: Effect, open_world: bool) -> ToolAnnotations {
    let (reads, destroys, repeats) = match effect {
        Effect::Reads => (true, false, true),
        Effect::Adds => (false, false, false),
        Effect::Sets => (false, false, true),
        Effect::Changes => (false, true, false),
        Effect::Removes => (false, true, true),
    };
    ToolAnnotations::new()
        .read_only(reads)
        .destructive(destroys)
        .idempotent(repeats)
        .open_world(open_world)
}

fn call<O: Listed, E: Handle<O> + Send + Sync + 'static>(
    engine: Arc<E>,
    arguments: Map<String, Value>,
    caller: Caller,
) -> AnswerFuture {
    Box::pin(async move {
        let operation = O::read(arguments)?;
        operation.check()?;
        let output = engine.handle(operation, &caller).await?;
        let mut text = Text::default();
        output.report(&mut text);
        let mut facts = O::write(&output)?;
        let list = O::NAMES.mcp.and_then(|mcp| mcp.list);
        if let (Some(list), Value::Object(fields)) = (list, &mut facts) {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, value)| (schema::renamed(name, list), value))
                .collect();
        }
        Ok(Answer { facts, text })
    })
}
