//! The fields of results against the contract: each field of the peer is there, with its type.
//! Fields may be added; what takes the place of a removed one is named here with its reason.

use pyro_api::{Handle, Listed, Names, Visit, visit};
use pyro_engine::Engine;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::contract;

/// Fields of the peer that describe parts which pyro does not have.
const NOT_OURS: &[(&str, &str)] = &[
    // Paths of the peer's bundle of Firecracker binaries.
    ("doctor.runtime", "bundle_root"),
    ("doctor.runtime", "manifest_path"),
    ("doctor.runtime", "firecracker_bin"),
    ("doctor.runtime", "jailer_bin"),
    ("doctor.runtime", "guest_init_path"),
    ("doctor.runtime", "artifacts_dir"),
    ("doctor.runtime", "artifacts_present"),
    ("doctor.runtime", "notice_path"),
];

/// Operations beyond the contract.
const OURS: &[&str] = &[
    "bench",
    "env_build",
    "env_create",
    "env_delete",
    "env_export",
    "env_import",
    "shell_attach",
    "try_out",
];

/// The schema of each operation's result.
pub(crate) struct Results(pub(crate) Vec<(Names, Value)>);

impl Visit<Engine> for Results {
    fn operation<O: Listed>(&mut self)
    where
        Engine: Handle<O>,
    {
        let generator = SchemaSettings::draft2020_12()
            .for_serialize()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator();
        let schema = generator.into_root_schema_for::<O::Output>().to_value();
        self.0.push((O::NAMES, schema));
    }
}

#[test]
fn results_hold_every_field_of_the_contract() {
    let contract = contract("payloads.json");
    let mut results = Results(Vec::new());
    visit::<Engine>(&mut results);
    let mut compared = 0;
    for (names, schema) in results.0 {
        let operation = &contract["operations"][names.operation];
        if OURS.contains(&names.operation) {
            assert!(
                operation.is_null(),
                "{} is in the contract",
                names.operation
            );
            continue;
        }
        assert!(
            operation.is_object(),
            "{} is not in the contract",
            names.operation
        );
        let fields = match operation["result"].as_str() {
            // The command line wraps the list, and that is how it is declared.
            Some("array of environment, by name") => {
                compare(
                    &contract,
                    names.operation,
                    &contract["shapes"]["environment"],
                    &schema["properties"]["environments"]["items"],
                    &mut compared,
                );
                continue;
            }
            Some(shape) => contract["shapes"][shape].clone(),
            None => operation["fields"].clone(),
        };
        // With a network a VM has more to tell; both answers are one declaration.
        let (fields, more) = match fields.get("without_network") {
            Some(without) => (without.clone(), fields.get("with_network").cloned()),
            None => (fields, None),
        };
        if let Some(more) = more {
            compare(&contract, names.operation, &more, &schema, &mut compared);
        }
        compare(&contract, names.operation, &fields, &schema, &mut compared);
        if operation["plus_fields"].is_object() {
            compare(
                &contract,
                names.operation,
                &operation["plus_fields"],
                &schema,
                &mut compared,
            );
        }
    }
    assert!(compared > 80, "only {compared} fields were compared");
}

fn compare(contract: &Value, path: &str, wanted: &Value, ours: &Value, compared: &mut usize) {
    let wanted = wanted
        .as_object()
        .unwrap_or_else(|| panic!("{path}: no fields in the contract"));
    for (name, field) in wanted {
        if NOT_OURS.contains(&(path, name)) {
            assert!(
                ours["properties"].get(name).is_none(),
                "{path}.{name} is listed as not ours"
            );
            continue;
        }
        let property = &ours["properties"][name];
        assert!(property.is_object(), "{path}.{name} is missing");
        let kind = field["type"].as_str().unwrap_or("object");
        assert!(
            kinds(property).iter().any(|have| have == kind),
            "{path}.{name} is {:?}, the contract says {kind}",
            kinds(property)
        );
        *compared += 1;
        if field["fields"].is_object() {
            let below = format!("{path}.{name}");
            compare(
                contract,
                &below,
                &field["fields"],
                object(property),
                compared,
            );
        } else if let Some(fields) = field["items"]
            .as_str()
            .map(|shape| &contract["shapes"][shape])
            .filter(|fields| fields.is_object())
        {
            let below = format!("{path}.{name}[]");
            compare(contract, &below, fields, &property["items"], compared);
        } else if let Some(shape) = field["shape"].as_str()
            && shape != "vm_metadata"
        {
            let below = format!("{path}.{name}");
            let shape = &contract["shapes"][shape];
            if let Some(choices) = shape["one_of"].as_array() {
                // Ours has the fields of each, and says which it is by `type`.
                for field in choices.iter().filter_map(Value::as_object).flatten() {
                    let property = &object(property)["properties"][field.0];
                    assert!(property.is_object(), "{below}.{} is missing", field.0);
                    *compared += 1;
                }
                continue;
            }
            compare(contract, &below, shape, object(property), compared);
        }
    }
}

/// The object behind a field that may also be null.
fn object(property: &Value) -> &Value {
    property["anyOf"]
        .as_array()
        .and_then(|choices| {
            choices
                .iter()
                .find(|choice| choice["properties"].is_object())
        })
        .unwrap_or(property)
}

/// The JSON types that a field may have.
fn kinds(property: &Value) -> Vec<String> {
    let mut kinds = Vec::new();
    match &property["type"] {
        Value::String(kind) => kinds.push(kind.clone()),
        Value::Array(several) => {
            kinds.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        _ => {}
    }
    for choices in [&property["anyOf"], &property["oneOf"]] {
        for choice in choices.as_array().into_iter().flatten() {
            kinds.extend(self::kinds(choice));
        }
    }
    if property["enum"].is_array() || property["const"].is_string() {
        kinds.push("string".to_owned());
    }
    kinds
}
