//! The operations as methods: what Python needs to know of each.

use async_trait::async_trait;
use pyro_api::{Caller, Error, ErrorCode, Handle, Listed, Operation, Visit, visit};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) operation: &'static str,
    /// The doc comment.
    pub(crate) words: String,
    pub(crate) parameters: Vec<Parameter>,
    /// The schema of the result, with its `$defs`.
    pub(crate) output: Value,
    /// The field that is the whole answer, where the contract returns just a list.
    pub(crate) list: Option<&'static str>,
    /// Whether a command runs meanwhile, whose output can be heard.
    pub(crate) prints: bool,
}

pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) schema: Value,
    pub(crate) required: bool,
    /// Whether it may be given without its name.
    pub(crate) positional: bool,
}

/// Every operation that is a method, in the order of the list.
pub(crate) fn declared() -> Vec<Method> {
    let mut methods = Methods(Vec::new());
    visit::<NoEngine>(&mut methods);
    methods.0
}

/// Stands where an engine does. Nothing is asked of it, and it is much sooner compiled.
struct NoEngine;

#[async_trait]
impl<O: Operation> Handle<O> for NoEngine {
    async fn handle(&self, _: O, _: &Caller) -> Result<O::Output, Error> {
        Err(Error::new(ErrorCode::Internal, "there is no engine"))
    }
}

struct Methods(Vec<Method>);

impl Visit<NoEngine> for Methods {
    fn operation<O: Listed>(&mut self)
    where
        NoEngine: Handle<O>,
    {
        let Some(name) = O::NAMES.sdk else { return };
        let input = schema::<O>(
            SchemaSettings::draft2020_12()
                .for_deserialize()
                .with(|settings| settings.inline_subschemas = true),
        );
        let output = schema::<O::Output>(SchemaSettings::draft2020_12().for_serialize());
        let has = |schema: &Value, field: &str| schema["properties"].get(field).is_some();
        self.0.push(Method {
            name,
            operation: O::NAMES.operation,
            words: input["description"].as_str().unwrap_or_default().to_owned(),
            parameters: parameters::<O>(&input),
            list: O::NAMES.mcp.and_then(|mcp| mcp.list),
            prints: has(&input, "command") && has(&output, "stdout"),
            output,
        });
    }
}

fn schema<T: schemars::JsonSchema>(settings: SchemaSettings) -> Value {
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

fn parameters<O: Listed>(input: &Value) -> Vec<Parameter> {
    let command = O::augment_args(clap::Command::new(O::NAMES.operation));
    let places: Vec<&str> = command
        .get_arguments()
        .filter(|argument| argument.is_positional() && !argument.is_last_set())
        .map(|argument| argument.get_id().as_str())
        .collect();
    let nothing = Map::new();
    let properties = input["properties"].as_object().unwrap_or(&nothing);
    let required: Vec<&str> = input["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    properties
        .iter()
        .map(|(name, schema)| {
            let required = required.contains(&name.as_str());
            // What the method is about needs no name, as on the command line. An environment is
            // what something is made from, unless there is nothing else.
            let about = name != "environment" || properties.len() == 1;
            Parameter {
                name: name.clone(),
                schema: schema.clone(),
                required,
                positional: required && about && places.contains(&name.as_str()),
            }
        })
        .collect()
}
