//! The list of operations as methods.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use pyro_api::{Caller, Error, ErrorCode, Handle, Operation, Visit, visit};
use pyro_engine::Engine;
use serde_json::{Map, Value};

pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send>>;
type Method = fn(Arc<Engine>, Map<String, Value>, Caller) -> Answering;

struct Methods(HashMap<&'static str, Method>);

/// The method that carries out an operation.
pub(crate) fn method(operation: &str) -> Option<Method> {
    static METHODS: OnceLock<Methods> = OnceLock::new();
    let methods = METHODS.get_or_init(|| {
        let mut methods = Methods(HashMap::new());
        visit::<Engine>(&mut methods);
        methods
    });
    methods.0.get(operation).copied()
}

impl Visit<Engine> for Methods {
    fn operation<O: Operation>(&mut self)
    where
        Engine: Handle<O>,
    {
        if O::NAMES.sdk.is_some() {
            self.0.insert(O::NAMES.operation, carry_out::<O>);
        }
    }
}

fn carry_out<O: Operation>(
    engine: Arc<Engine>,
    arguments: Map<String, Value>,
    caller: Caller,
) -> Answering
where
    Engine: Handle<O>,
{
    Box::pin(async move {
        let operation: O = read(arguments)?;
        operation.check()?;
        let output = engine.handle(operation, &caller).await?;
        let mut result = serde_json::to_value(&output).map_err(|error| {
            let what = "The result cannot be written as JSON";
            Error::new(ErrorCode::Internal, what).caused_by(&error)
        })?;
        // Where a list is the whole answer, the contract's methods return just that.
        let list = O::NAMES.mcp.and_then(|mcp| mcp.list);
        Ok(match list.and_then(|list| result.get_mut(list)) {
            Some(list) => list.take(),
            None => result,
        })
    })
}

/// Reads an operation, and says of which argument a value is refused.
fn read<O: Operation>(arguments: Map<String, Value>) -> Result<O, Error> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let name = error.path().to_string();
        let why = error.into_inner().to_string();
        let named = why.contains(name.split(['.', '[']).next().unwrap_or(&name));
        match name.as_str() {
            "." => Error::invalid(why),
            // The parsers of the declared values say themselves which value they refuse.
            _ if named => Error::invalid(why),
            _ => Error::invalid(format!("{name}: {why}")),
        }
    })
}
