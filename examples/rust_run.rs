//! The Rust library: a project with a fault goes into a workspace, is mended there, and what
//! changed comes back as a diff.
//!
//! Choose this when your program is written in Rust: an operation is a value, `handle` carries it
//! out, and dropping the future ends what it started.
//!
//!     cargo run --package pyro-engine --example rust_run

use std::path::Path;

use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::operations::workspace_delete::WorkspaceDelete;
use pyro_api::operations::workspace_diff::WorkspaceDiff;
use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::operations::workspace_patch_apply::WorkspacePatchApply;
use pyro_api::{Caller, Error, Handle, Operation};
use pyro_engine::{Config, Engine};
use serde_json::json;

const PATCH: &str = "\
--- a/median.py
+++ b/median.py
@@ -3,4 +3,5 @@

 def median(numbers):
     ordered = sorted(numbers)
-    return ordered[len(ordered) // 2]
+    middle = len(ordered) // 2
+    return (ordered[middle] + ordered[-middle - 1]) / 2
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(Config::from_environment().map_err(told)?);
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/median");
    let created = call::<WorkspaceCreate>(
        &engine,
        json!({ "environment": "debian:12", "seed_path": project }),
    )
    .await?;
    let id = created["workspace_id"].clone();
    let worked = work(&engine, &id).await;
    call::<WorkspaceDelete>(&engine, json!({ "workspace_id": id })).await?;
    worked
}

async fn work(engine: &Engine, id: &serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
    let test = json!({ "workspace_id": id, "command": "python3 -m unittest" });
    let tested = call::<WorkspaceExec>(engine, test.clone()).await?;
    println!("before: exit code {}", tested["exit_code"]);
    let patch = json!({ "workspace_id": id, "patch": PATCH });
    call::<WorkspacePatchApply>(engine, patch).await?;
    let tested = call::<WorkspaceExec>(engine, test).await?;
    println!("after: exit code {}", tested["exit_code"]);
    let diff = call::<WorkspaceDiff>(engine, json!({ "workspace_id": id })).await?;
    println!("{}", diff["patch"].as_str().unwrap_or_default());
    Ok(())
}

/// Carries out an operation. Its fields are those of the tool, its result is that of the contract.
async fn call<O>(
    engine: &Engine,
    fields: serde_json::Value,
) -> Result<serde_json::Value, Box<dyn std::error::Error>>
where
    O: Operation,
    Engine: Handle<O>,
{
    let operation: O = serde_json::from_value(fields)?;
    operation.check().map_err(told)?;
    let caller = Caller::new().keeping_output(1 << 20);
    let result = engine.handle(operation, &caller).await.map_err(told)?;
    Ok(serde_json::to_value(result)?)
}

/// What failed, why, and how to fix it.
fn told(error: Error) -> String {
    error.in_words()
}
