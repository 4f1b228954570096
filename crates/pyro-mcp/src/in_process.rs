//! The same tools without a transport, for a program that holds the server in its own hands.

use std::future::Future;
use std::sync::Arc;

use pyro_api::arguments::Arguments;
use pyro_api::{Error, HandleAll, Profile};
use rmcp::model::CallToolResult;
use serde_json::{Map, Value};

use crate::access::Access;
use crate::answer::{Form, refused};
use crate::progress::CallEvents;
use crate::tools::Tools;

/// The tools of a profile, to be listed and called.
pub struct InProcess {
    tools: Tools,
    access: Access,
}

impl InProcess {
    /// Refuses settings of the environment that mean nothing.
    pub fn new<E: HandleAll>(engine: &Arc<E>, profile: Profile) -> Result<Self, Error> {
        Ok(Self {
            tools: Tools::of(engine, profile),
            access: Access::from_environment()?,
        })
    }

    /// What a client would get to see.
    pub fn tools(&self) -> Result<Vec<Value>, Error> {
        let offered = self.tools.offered.iter();
        offered
            .map(|offered| serde_json::to_value(&offered.tool).map_err(Error::not_json))
            .collect()
    }

    /// What a tool takes, where there is such a tool.
    pub fn arguments(&self, name: &str) -> Option<&Arguments> {
        self.tools.find(name).ok().map(|tool| &tool.arguments)
    }

    /// What a client would get as the result, refusals included. Dropping the future ends what
    /// the call had started.
    pub fn call(
        &self,
        name: &str,
        arguments: Map<String, Value>,
    ) -> impl Future<Output = Result<Value, Error>> + Send + use<> {
        let events = Arc::new(CallEvents::default());
        let begun = self.tools.find(name).and_then(|tool| {
            let arguments = tool.arguments.normalize(arguments)?;
            let caller = self.access.program_caller(&events);
            Ok((tool.call)(arguments, caller))
        });
        async move {
            let outcome = match begun {
                Ok(call) => call.await,
                Err(error) => Err(error),
            };
            let result: CallToolResult = match outcome {
                Ok(answer) => answer.into_result(&events.output_text(), Form::Structured),
                Err(error) => refused(&error, Form::Structured),
            };
            serde_json::to_value(result).map_err(Error::not_json)
        }
    }
}
