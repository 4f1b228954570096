//! Python's values from and to those of the contract.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyMapping, PySequence,
    PySet, PyString,
};
use pyro_api::arguments::{Arguments, Parameter};
use pyro_api::{Error, ErrorCode};
use pythonize::pythonize;
use serde_json::{Map, Number, Value};

/// The argument that says how bytes travel as text, and what it says then.
const ENCODING: &str = "encoding";
const BASE64: &str = "base64";

/// Lists and dictionaries in each other that are taken; one may also hold itself.
const MAX_DEPTH: usize = 16;

/// Arguments by name, in the form of JSON. `None` is the same as nothing.
pub(crate) fn arguments(
    given: &Bound<'_, PyDict>,
    declared: Option<&Arguments>,
) -> PyResult<Map<String, Value>> {
    let mut arguments = Map::new();
    let mut in_bytes = None;
    for (name, value) in given {
        let name: String = name.extract().map_err(|_| {
            let py = name.py();
            to_exception(
                py,
                &Error::invalid("the name of an argument is not valid Unicode"),
            )
        })?;
        if !value.is_none() {
            let declared = declared.and_then(|declared| declared.parameter(&name).ok());
            let parameter = declared.unwrap_or_else(|| Parameter::undeclared(&name));
            if parameter.takes_bytes() && is_bytes(&value) {
                in_bytes = Some((name, value.extract::<Vec<u8>>()?));
                continue;
            }
            let value = argument(&parameter, &value, MAX_DEPTH)?;
            arguments.insert(name, value);
        }
    }
    if let Some((name, bytes)) = in_bytes {
        // What `base64.b64encode` returns is bytes as well.
        let text = match arguments.get(ENCODING) {
            Some(Value::String(given)) if given == BASE64 => {
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => BASE64_STANDARD.encode(bytes),
        };
        arguments.insert(name, text.into());
        arguments.insert(ENCODING.to_owned(), BASE64.into());
    }
    Ok(arguments)
}

fn is_bytes(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>()
}

fn argument(
    parameter: &Parameter<'_>,
    value: &Bound<'_, PyAny>,
    depth_left: usize,
) -> PyResult<Value> {
    let py = value.py();
    let refused = |shown: &str| to_exception(py, &parameter.refuse(shown));
    // Paths are text to the contract.
    let path;
    let mut value = value;
    if !value.is_instance_of::<PyString>() && value.hasattr("__fspath__")? {
        path = value.call_method0("__fspath__")?;
        value = &path;
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = value.cast::<PyString>() {
        // A name with bytes that are no UTF-8 comes with surrogates in their place.
        return text
            .to_cow()
            .map(|text| Value::String(text.into_owned()))
            .map_err(|_| {
                let error = Error::invalid(format!("{} is not valid Unicode", parameter.name()));
                to_exception(py, &error)
            });
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(truth.is_true().into());
    }
    if let Ok(number) = value.cast::<PyInt>() {
        if let Ok(small) = number.extract::<i64>() {
            return Ok(small.into());
        }
        if let Ok(large) = number.extract::<u64>() {
            return Ok(large.into());
        }
        // In sixteens, as Python refuses to write the longest numbers in tens.
        let digits = number
            .str()
            .or_else(|_| number.call_method1("__format__", ("#x",))?.str())?;
        return Err(to_exception(
            py,
            &parameter.refuse_number(&digits.to_cow()?),
        ));
    }
    if let Ok(real) = value.cast::<PyFloat>() {
        let number = Number::from_f64(real.value());
        return number
            .map(Value::Number)
            .ok_or_else(|| refused(&real.value().to_string()));
    }
    if is_bytes(value) {
        let error = parameter.refuse("bytes");
        return Err(to_exception(
            py,
            &error.hint("Pass text, as `value.decode()` makes it"),
        ));
    }
    if depth_left == 0 {
        return Err(refused("lists or dictionaries nested that deeply"));
    }
    if let Ok(fields) = value.cast::<PyMapping>() {
        let mut object = Map::new();
        for pair in fields.items()?.iter() {
            let (key, field): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
            let Ok(key) = key.extract::<String>() else {
                return Err(refused("a dictionary whose keys are not text"));
            };
            let field = argument(&parameter.field(&key), &field, depth_left - 1)?;
            object.insert(key, field);
        }
        return Ok(object.into());
    }
    if is_a_list(value) {
        let items = value.try_iter()?.enumerate();
        return items
            .map(|(index, item)| argument(&parameter.item(index), &item?, depth_left - 1))
            .collect();
    }
    let kind = value.get_type().name()?;
    Err(refused(&format!("a value of type `{kind}`")))
}

/// Sets are taken for lists, too.
fn is_a_list(value: &Bound<'_, PyAny>) -> bool {
    value.cast::<PySequence>().is_ok()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
}

pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    pythonize(py, value).map_err(|error| {
        to_exception(
            py,
            &Error::new(
                ErrorCode::Internal,
                "The result cannot be converted to Python",
            )
            .caused_by(&error),
        )
    })
}

/// The exception of an error's code.
pub(crate) fn to_exception(py: Python<'_>, error: &Error) -> PyErr {
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
pub(crate) fn misuse_error(why: &str) -> PyErr {
    PyTypeError::new_err(why.to_owned())
}
