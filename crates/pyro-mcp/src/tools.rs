//! The list of operations as tools.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pyro_api::arguments::{self, Arguments};
use pyro_api::schema::{self, Schema};
use pyro_api::{Caller, Effect, Error, Handle, HandleAll, Operation, Profile, Report, Text};
use pyro_api::{Visit, visit};
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value};

use crate::answer::Answer;

pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;
type Call<E> = fn(Arc<E>, Map<String, Value>, Caller) -> AnswerFuture;

/// One operation, as a profile offers it.
pub(crate) struct ToolEntry<E> {
    pub(crate) tool: Tool,
    pub(crate) arguments: Arguments,
    pub(crate) call: Call<E>,
}

/// The tools of a profile, in the order of the list.
pub(crate) struct Tools<E> {
    profile: Profile,
    pub(crate) offered: Vec<ToolEntry<E>>,
    /// Those that a larger profile has.
    other_profiles: Vec<&'static str>,
}

impl<E: HandleAll> Tools<E> {
    pub(crate) fn of(profile: Profile) -> Self {
        let mut tools = Self {
            profile,
            offered: Vec::new(),
            other_profiles: Vec::new(),
        };
        visit(&mut tools);
        tools
    }

    pub(crate) fn find(&self, name: &str) -> Result<&ToolEntry<E>, Error> {
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

    fn output<O: Operation>(&self, list: Option<&str>) -> Schema {
        let mut output = schema::output::<O::Output>(list);
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

impl<E: HandleAll> Visit<E> for Tools<E> {
    fn operation<O: Operation>(&mut self)
    where
        E: Handle<O>,
    {
        let Some(mcp) = O::NAMES.mcp else { return };
        if mcp.from > self.profile {
            self.other_profiles.push(mcp.name);
            return;
        }
        let left_out = match self.profile {
            Profile::WorkspaceFull => &[],
            Profile::VmRun | Profile::WorkspaceCore => mcp.only_full,
        };
        let (input, description) = schema::input::<O>(left_out);
        let tool = Tool::new(mcp.name, description, input)
            .with_title(mcp.title)
            .with_raw_output_schema(Arc::new(self.output::<O>(mcp.list)))
            .with_annotations(annotations(mcp.effect, mcp.open_world));
        self.offered.push(ToolEntry {
            tool,
            arguments: Arguments::of::<O>(mcp.name, left_out),
            call: call::<O, E>,
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

fn call<O: Operation, E: Handle<O> + Send + Sync + 'static>(
    engine: Arc<E>,
    arguments: Map<String, Value>,
    caller: Caller,
) -> AnswerFuture {
    Box::pin(async move {
        let operation: O = arguments::read(arguments)?;
        operation.check()?;
        let output = engine.handle(operation, &caller).await?;
        let mut text = Text::default();
        output.report(&mut text);
        let mut facts = serde_json::to_value(&output).map_err(|error| {
            let what = "The result cannot be written as JSON";
            Error::new(pyro_api::ErrorCode::Internal, what).caused_by(&error)
        })?;
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
