//! What an operation is, and how the surfaces call it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::schema::Schema;
use crate::{Caller, Error, Report};

/// One thing that pyro can do. The type's fields are its arguments on every surface.
pub trait Operation:
    clap::Args + DeserializeOwned + JsonSchema + Send + Sync + Sized + 'static
{
    type Output: Serialize + JsonSchema + Report + Send + Sync + 'static;

    const NAMES: Names;

    /// Rules across fields. Rules on one value live in that value's own parser.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// An operation of the list. What every surface does with its types is compiled here, once: as generic
/// functions, each surface would compile it for itself.
pub trait Listed: Operation {
    /// Reads the arguments, and says of which one a value is refused.
    fn read(arguments: Map<String, Value>) -> Result<Self, Error>;

    /// The result as JSON.
    fn write(output: &Self::Output) -> Result<Value, Error>;

    /// The schema of the arguments, as it was declared.
    fn input_schema() -> Schema;

    /// The schema of the result, as it was declared.
    fn output_schema() -> Schema;
}

/// Carries out one operation.
///
/// The future is boxed, so that all of it is compiled where the handler stands; otherwise each
/// surface would compile the engine again, for itself.
#[async_trait]
pub trait Handle<O: Operation> {
    /// Dropping the future cancels the operation: what it started ends, what it half made goes.
    async fn handle(&self, operation: O, caller: &Caller) -> Result<O::Output, Error>;
}

/// What the operation is called on each surface. Absent means that it is not offered there.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The operation's own name, noun and verb.
    pub operation: &'static str,
    pub cli: Option<Cli>,
    pub mcp: Option<Mcp>,
    pub sdk: Option<&'static str>,
}

/// Where the operation stands in the command line's tree.
#[derive(Clone, Copy, Debug)]
pub struct Cli {
    pub path: &'static [&'static str],
    pub json: JsonFlag,
    /// A flag that prints one thing and nothing else; see [`Report::only`].
    pub only: Option<Only>,
}

/// A flag such as `--id-only`.
#[derive(Clone, Copy, Debug)]
pub struct Only {
    pub flag: &'static str,
    pub help: &'static str,
}

/// What the operation is as an MCP tool. Its description is the doc comment of its type.
#[derive(Clone, Copy, Debug)]
pub struct Mcp {
    pub name: &'static str,
    /// Two or three words for a person who looks at a list of tools.
    pub title: &'static str,
    /// The smallest profile that offers it; the larger ones do so too.
    pub from: Profile,
    pub effect: Effect,
    /// Arguments that only the largest profile offers.
    pub only_full: &'static [&'static str],
    /// The field of the output that the contract calls `result` here, where a list is the whole
    /// answer.
    pub list: Option<&'static str>,
    /// Whether it may reach others than this host: it has a guest do something, and some guests
    /// have a network.
    pub open_world: bool,
}

impl Mcp {
    pub const fn new(
        name: &'static str,
        title: &'static str,
        from: Profile,
        effect: Effect,
    ) -> Self {
        Self {
            name,
            title,
            from,
            effect,
            only_full: &[],
            list: None,
            open_world: false,
        }
    }

    pub const fn only_full(mut self, arguments: &'static [&'static str]) -> Self {
        self.only_full = arguments;
        self
    }

    pub const fn open_world(mut self) -> Self {
        self.open_world = true;
        self
    }

    pub const fn list(mut self, field: &'static str) -> Self {
        self.list = Some(field);
        self
    }
}

/// A set of tools, each a part of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Profile {
    /// One command in a throw-away VM
    VmRun,
    /// Workspaces: files, commands, review
    #[default]
    WorkspaceCore,
    /// Everything: also shells, services, snapshots, disks, and VMs step by step
    WorkspaceFull,
}

/// What an operation does to what is there, for hosts that ask before they call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing.
    Reads,
    /// Makes something new and leaves the rest alone.
    Adds,
    /// Changes what is there, and may be repeated without another effect.
    Sets,
    /// May change or remove what is there.
    Changes,
    /// Removes something for good; repeated, it has no other effect.
    Removes,
}

/// How a command answers in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFlag {
    /// With `--json`.
    Offered,
    /// Always.
    Implied,
}
