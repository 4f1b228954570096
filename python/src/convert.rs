//! Python's values from and to those of the contract.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyro_api::{Error, ErrorCode};
use pythonize::{depythonize, pythonize};
use serde_json::{Map, Value};

/// Arguments by name. `None` is the same as nothing.
pub(crate) fn arguments(given: &Bound<'_, PyDict>) -> PyResult<Map<String, Value>> {
    let mut arguments = Map::new();
    for (name, value) in given {
        let name: String = name.extract()?;
        if !value.is_none() {
            let value = argument(&name, &value)?;
            arguments.insert(name, value);
        }
    }
    Ok(arguments)
}

fn argument(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let refused = |why: String| {
        let error = Error::invalid(format!("{name} {why}"));
        raised(value.py(), &error)
    };
    // Paths are text to the contract.
    let path;
    let mut value = value;
    if !value.is_instance_of::<PyString>() && value.hasattr("__fspath__")? {
        path = value.call_method0("__fspath__")?;
        value = &path;
    }
    if let Ok(text) = value.cast::<PyString>() {
        // A name with bytes that are no UTF-8 comes with surrogates in their place.
        return text
            .to_cow()
            .map(|text| Value::String(text.into_owned()))
            .map_err(|_| refused("is not valid Unicode".to_owned()));
    }
    depythonize(value).map_err(|_| {
        let kind = value
            .get_type()
            .name()
            .map_or_else(|_| "this".to_owned(), |name| name.to_string());
        refused(format!("cannot be a {kind}"))
    })
}

pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    pythonize(py, value).map_err(|error| {
        raised(
            py,
            &Error::new(ErrorCode::Internal, "The result cannot be shown to Python")
                .caused_by(&error),
        )
    })
}

/// The exception of an error's code.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let make = || {
        py.import("pyro_mcp.errors")?.getattr("from_facts")?.call1((
            &error.error,
            error.code.to_string(),
            error.causes.clone(),
            error.hint.as_deref(),
        ))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    }
}

/// For what only a mistake in the Python half can bring about.
pub(crate) fn misuse(why: &str) -> PyErr {
    PyTypeError::new_err(why.to_owned())
}
