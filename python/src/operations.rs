//! The list of operations as methods.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use pyro_api::arguments::Arguments;
use pyro_api::{Caller, Error, Handle, Listed, Visit, visit};
use pyro_engine::Engine;
use serde_json::{Map, Value};

pub(crate) type ResultFuture = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send>>;

/// How an operation is carried out, and what it takes.
pub(crate) struct Method {
    pub(crate) execute: fn(Arc<Engine>, Map<String, Value>, Caller) -> ResultFuture,
    pub(crate) arguments: Arguments,
}

struct Methods(HashMap<&'static str, Method>);

/// The method that carries out an operation.
pub(crate) fn method(operation: &str) -> Option<&'static Method> {
    static METHODS: OnceLock<Methods> = OnceLock::new();
    let methods = METHODS.get_or_init(|| {
        let mut methods = Methods(HashMap::new());
        visit::<Engine>(&mut methods);
        methods
    });
    methods.0.get(operation)
}

impl Visit<Engine> for Methods {
    fn operation<O: Listed>(&mut self)
    where
        Engine: Handle<O>,
    {
        if let Some(name) = O::NAMES.sdk {
            let method = Method {
                execute: execute::<O>,
                arguments: Arguments::of::<O>(name, &[]),
            };
            self.0.insert(O::NAMES.operation, method);
        }
    }
}

fn execute<O: Listed>(
    engine: Arc<Engine>,
    arguments: Map<String, Value>,
    caller: Caller,
) -> ResultFuture
where
    Engine: Handle<O>,
{
    Box::pin(async move {
        let operation = O::read(arguments)?;
        operation.check()?;
        let output = engine.handle(operation, &caller).await?;
        let mut result = O::write(&output)?;
        // Where a list is the whole answer, the contract's methods return just that.
        let list = O::NAMES.mcp.and_then(|mcp| mcp.list);
        Ok(match list.and_then(|list| result.get_mut(list)) {
            Some(list) => list.take(),
            None => result,
        })
    })
}
