//! `_methods.py` and `_async_methods.py`: the operations as methods of `Pyro`, and again, without
//! the id, of one workspace.

use std::fmt::Write;

use super::declared::{Method, Parameter};
use super::text::{docstring_begin, sentence, wrapped};
use super::types::{Results, default, of_parameter};

/// The parameter that methods of a workspace leave out, and the word in their names that goes.
const ID: &str = "workspace_id";
const WORD: &str = "_workspace";

/// The method whose parameters make a workspace.
const CREATE: &str = "create_workspace";

/// Fields of an operation that the contract's method takes as one dictionary, whose `type` is the
/// rest of the field's name.
const READINESS: &str = "readiness";
const READY: &[&str] = &["ready_file", "ready_tcp", "ready_http", "ready_command"];
const READINESS_WORDS: &str = "How it shows that it is ready: `type` is `file`, `tcp`, `http` or \
     `command`, and beside it stands `path`, `address`, `url` or `command`";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Async,
}

impl Kind {
    fn def(self) -> &'static str {
        match self {
            Self::Plain => "def",
            Self::Async => "async def",
        }
    }

    fn wait(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Async => "await ",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Async => "Async",
        }
    }
}

pub(crate) fn file(methods: &[Method], results: &mut Results, kind: Kind) -> String {
    let prefix = kind.prefix();
    let mut text = format!(
        "# Written by `cargo xtask python` from the declarations in pyro-api. Change those instead.\n\
         \"\"\"The operations as methods.\"\"\"\n\n\
         from __future__ import annotations\n\n\
         TYPE_CHECKING = False\n\
         if TYPE_CHECKING:\n    \
             import os\n    \
             from typing import Any, Callable, Literal\n\n    \
             from . import results\n    \
             from {} import {prefix}Workspace\n\n    \
             OnOutput = Callable[[Literal[\"stdout\", \"stderr\"], bytes], object]\n",
        match kind {
            Kind::Plain => "._workspace",
            Kind::Async => "._asynchronous",
        }
    );
    if methods.iter().any(takes_readiness) {
        text.push_str("\nfrom ._readiness import ready_fields\n");
    }
    let _ = write!(
        text,
        "\n\nclass {prefix}Methods:\n    \
             \"\"\"What can be asked of pyro.\"\"\"\n\n    \
             {} _call(\n        \
                 self, operation: str, arguments: dict[str, Any], on_output: OnOutput | None = None\n    \
             ) -> Any:\n        \
                 raise NotImplementedError\n",
        kind.def()
    );
    for method in methods {
        let result = results.of(method);
        text.push_str(&of_pyro(method, &result, kind));
    }
    if let Some(create) = methods.iter().find(|method| method.name == CREATE) {
        text.push_str(&context(create, kind));
    }
    let _ = write!(
        text,
        "\n\nclass {prefix}WorkspaceMethods:\n    \
             \"\"\"What can be asked of one workspace.\"\"\"\n\n    \
             workspace_id: str\n    \
             _pyro: {prefix}Methods\n"
    );
    for method in methods.iter().filter(|method| is_of_workspace(method)) {
        let result = results.of(method);
        text.push_str(&of_workspace(method, &result, kind));
    }
    text
}

/// A method of all, with the operation's name in it.
fn of_pyro(method: &Method, result: &str, kind: Kind) -> String {
    let mut text = head(method, method.name, &parameters(method), result, kind);
    text.push_str(&arguments(method));
    let hear = if method.prints { ", on_output" } else { "" };
    let _ = writeln!(
        text,
        "        result: {result} = {}self._call({:?}, arguments{hear})\n        return result",
        kind.wait(),
        method.operation
    );
    text
}

/// What goes to the operation.
fn arguments(method: &Method) -> String {
    let mut text = "        arguments: dict[str, Any] = {".to_owned();
    for parameter in &method.parameters {
        if !(takes_readiness(method) && READY.contains(&parameter.name.as_str())) {
            let _ = write!(text, "\n            {0:?}: {0},", parameter.name);
        }
    }
    if takes_readiness(method) {
        let _ = write!(text, "\n            **ready_fields({READINESS}),");
    }
    if !method.parameters.is_empty() {
        text.push_str("\n        ");
    }
    text.push_str("}\n");
    text
}

/// A method of one workspace, which hands on to that of all.
fn of_workspace(method: &Method, result: &str, kind: Kind) -> String {
    let own: Vec<Shown> = parameters(method)
        .into_iter()
        .filter(|parameter| parameter.name != ID)
        .collect();
    let name = method.name.replacen(WORD, "", 1);
    let mut text = head(method, &name, &own, result, kind);
    let mut handed = vec!["self.workspace_id".to_owned()];
    handed.extend(own.iter().map(|parameter| match parameter.positional {
        true => parameter.name.clone(),
        false => format!("{0}={0}", parameter.name),
    }));
    let _ = writeln!(
        text,
        "        return {}self._pyro.{}(\n            {},\n        )",
        kind.wait(),
        method.name,
        handed.join(",\n            ")
    );
    text
}

/// `workspace(...)`, for `with`.
fn context(create: &Method, kind: Kind) -> String {
    let prefix = kind.prefix();
    let mut shown = parameters(create);
    shown.push(Shown {
        name: "keep".to_owned(),
        kind: "bool".to_owned(),
        default: Some("False".to_owned()),
        positional: false,
        words: "Whether the workspace stays when the block is left".to_owned(),
    });
    let mut text = format!(
        "\n    def workspace({}) -> {prefix}Workspace:\n",
        list(&shown)
    );
    let with = if kind == Kind::Async {
        "async with"
    } else {
        "with"
    };
    text.push_str(&documentation(
        &format!(
            "A workspace for a block of code\n\n`{with} pyro.workspace(environment=\"debian:12\") \
             as workspace:` creates it and deletes it when the block is left, whatever way. Its \
             methods are those of `{prefix}Pyro`, without the id."
        ),
        &shown,
    ));
    let import = match kind {
        Kind::Plain => "from ._workspace import Workspace",
        Kind::Async => "from ._asynchronous import AsyncWorkspace",
    };
    let _ = write!(
        text,
        "        {import}\n\n{}        return {prefix}Workspace(self, create=arguments, keep=keep)\n",
        arguments(create)
    );
    text
}

fn is_of_workspace(method: &Method) -> bool {
    let first = method.parameters.first();
    first.is_some_and(|parameter| parameter.name == ID && parameter.positional)
}

fn takes_readiness(method: &Method) -> bool {
    let has = |name: &&str| {
        method
            .parameters
            .iter()
            .any(|parameter| parameter.name == **name)
    };
    READY.iter().all(has)
}

/// A parameter as it stands in a signature.
struct Shown {
    name: String,
    kind: String,
    default: Option<String>,
    positional: bool,
    words: String,
}

impl Shown {
    fn declaration(&self) -> String {
        match &self.default {
            Some(default) => format!("{}: {} = {default}", self.name, self.kind),
            None => format!("{}: {}", self.name, self.kind),
        }
    }
}

fn parameters(method: &Method) -> Vec<Shown> {
    let readiness = takes_readiness(method);
    let mut shown = Vec::new();
    for parameter in &method.parameters {
        if readiness && READY.contains(&parameter.name.as_str()) {
            if parameter.name == READY[0] {
                shown.push(Shown {
                    name: READINESS.to_owned(),
                    kind: "dict[str, Any] | None".to_owned(),
                    default: Some("None".to_owned()),
                    positional: false,
                    words: READINESS_WORDS.to_owned(),
                });
            }
            continue;
        }
        shown.push(show(parameter));
    }
    if method.prints {
        shown.push(Shown {
            name: "on_output".to_owned(),
            kind: "OnOutput | None".to_owned(),
            default: Some("None".to_owned()),
            positional: false,
            words: "Called with `\"stdout\"` or `\"stderr\"` and bytes, as the command prints them"
                .to_owned(),
        });
    }
    shown
}

fn show(parameter: &Parameter) -> Shown {
    Shown {
        name: parameter.name.clone(),
        kind: of_parameter(parameter),
        default: (!parameter.required).then(|| default(parameter)),
        positional: parameter.positional,
        words: parameter.schema["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}

fn head(method: &Method, name: &str, shown: &[Shown], result: &str, kind: Kind) -> String {
    let mut text = format!(
        "\n    {} {name}({}) -> {result}:\n",
        kind.def(),
        list(shown)
    );
    text.push_str(&documentation(&method.words, shown));
    text
}

/// The parameters between the parentheses, each on its line.
fn list(shown: &[Shown]) -> String {
    if shown.is_empty() {
        return "self".to_owned();
    }
    let mut text = "\n        self,\n".to_owned();
    let (places, names): (Vec<&Shown>, Vec<&Shown>) =
        shown.iter().partition(|parameter| parameter.positional);
    for parameter in places {
        let _ = writeln!(text, "        {},", parameter.declaration());
    }
    if !names.is_empty() {
        text.push_str("        *,\n");
    }
    for parameter in names {
        let _ = writeln!(text, "        {},", parameter.declaration());
    }
    text.push_str("    ");
    text
}

fn documentation(words: &str, shown: &[Shown]) -> String {
    let mut text = docstring_begin(words, 8);
    if !shown.is_empty() {
        text.push_str("\n\n        Args:\n");
        for parameter in shown {
            let line = format!("{}: {}", parameter.name, sentence(&parameter.words));
            let _ = writeln!(text, "{}", wrapped(&line, 12, 16));
        }
        text.push_str("        \"\"\"\n");
    } else if words.contains("\n\n") {
        text.push_str("\n        \"\"\"\n");
    } else {
        text.push_str("\"\"\"\n");
    }
    text
}
