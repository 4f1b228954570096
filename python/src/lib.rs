//! The contract as the Python module `pyro_mcp`: this is `pyro_mcp._pyro`, its compiled half.
//!
//! ```text
//! Pyro.exec_workspace(…)      generated Python: names, defaults, documentation
//!        │ a name and a dictionary
//! engine.start ─▶ operations ─▶ the engine's handler, on the runtime of the process
//!        │                          │ output and the result, through a channel
//!       call ◀──────────────────────┘
//!        │ waits without the interpreter's lock; output, Ctrl-C and errors are the caller's thread's
//! ```
//!
//! Like every surface it walks the list of operations and names none of them. The half in Python is
//! written by `cargo xtask python` from the same list.
//!
//! Deliberately absent: threads of pyro that enter the interpreter, which would have to cope with
//! its end; whatever an operation does.

mod call;
mod convert;
mod engine;
mod operations;
mod process;
mod server;

use pyo3::prelude::*;

#[pymodule]
mod _pyro {
    use super::PyResult;
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::process::{after_fork_in_child, shutdown};
    #[pymodule_export]
    use super::server::Server;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
