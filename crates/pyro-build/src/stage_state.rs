//! What a stage has come to: its configuration, its arguments, its shell. Each instruction changes it or asks for
//! something to be done.

use std::collections::{BTreeMap, HashSet};

use pyro_oci::Config;

use crate::error::{BuildError, Place};
use crate::instruction::{Form, Variable};
use crate::plan::{Plan, unreplaced};
use crate::substitute::Reading;

/// Where programs are looked for when an image says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Debug)]
pub(crate) struct StageState {
    pub(crate) config: Config,
    /// Values of `ARG`, as far as the instructions before have named them.
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) shell: Vec<String>,
    /// Whether this stage has a `CMD` of its own, which an `ENTRYPOINT` leaves.
    has_cmd: bool,
    escape: char,
}

impl StageState {
    pub(crate) fn new(config: Config, escape: char) -> Self {
        Self {
            config,
            args: BTreeMap::new(),
            shell: ["/bin/sh", "-c"].map(str::to_owned).into(),
            has_cmd: false,
            escape,
        }
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let mut env = self
            .config
            .env
            .iter()
            .rev()
            .filter_map(|pair| pair.split_once('='));
        let of_env = env
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned());
        let of_env = of_env.or_else(|| self.args.get(name).cloned());
        of_env.or_else(|| (name == "PATH").then(|| PATH.to_owned()))
    }

    fn read(&self, text: &str, at: &Place, unquotes: bool) -> Result<String, BuildError> {
        let lookup = |name: &str| self.lookup(name);
        let reading = Reading {
            escape: self.escape,
            lookup: &lookup,
            unquotes,
        };
        reading.word(text).map_err(|error| unreplaced(&error, at))
    }

    pub(crate) fn replaced(&self, text: &str, at: &Place) -> Result<String, BuildError> {
        self.read(text, at, true)
    }

    pub(crate) fn document(&self, text: &str, at: &Place) -> Result<String, BuildError> {
        self.read(text, at, false)
    }

    /// All pairs see what was there before the first of them.
    pub(crate) fn set_env(&mut self, pairs: &[Variable]) -> Result<(), BuildError> {
        let values = pairs.iter().map(|pair| {
            let value = self.replaced(pair.value.as_deref().unwrap_or_default(), &pair.at)?;
            Ok((pair.name.clone(), value))
        });
        for (name, value) in values.collect::<Result<Vec<_>, _>>()? {
            let is_it = |pair: &&mut String| pair.split_once('=').is_some_and(|(it, _)| it == name);
            let pair = format!("{name}={value}");
            match self.config.env.iter_mut().find(is_it) {
                Some(old) => *old = pair,
                None => self.config.env.push(pair),
            }
        }
        Ok(())
    }

    pub(crate) fn set_args(&mut self, args: &[Variable], plan: &Plan) -> Result<(), BuildError> {
        for arg in args {
            let default = arg.value.as_deref();
            let default = default
                .map(|text| self.replaced(text, &arg.at))
                .transpose()?;
            let of_file = || plan.global.get(&arg.name).cloned();
            let value = plan.given.get(&arg.name).cloned();
            if let Some(value) = value.or(default).or_else(of_file) {
                self.args.insert(arg.name.clone(), value);
            }
        }
        Ok(())
    }

    pub(crate) fn set_labels(&mut self, labels: &[Variable]) -> Result<(), BuildError> {
        for label in labels {
            let value = self.replaced(label.value.as_deref().unwrap_or_default(), &label.at)?;
            self.config.labels.insert(label.name.clone(), value);
        }
        Ok(())
    }

    /// Where commands run, and relative paths begin.
    pub(crate) fn folder(&self) -> String {
        let folder = self.config.working_dir.as_deref().unwrap_or("/");
        absolute("/", folder)
    }

    pub(crate) fn absolute(&self, path: &str) -> String {
        absolute(&self.folder(), path)
    }

    /// A command as it is run: the shell's words before a line of it.
    pub(crate) fn words(&self, form: &Form) -> Vec<String> {
        match form {
            Form::Exec(words) => words.clone(),
            Form::Shell(text) => {
                let text = std::iter::once(text.clone());
                self.shell.iter().cloned().chain(text).collect()
            }
        }
    }

    pub(crate) fn set_entrypoint(&mut self, form: &Form) {
        self.config.entrypoint = self.words(form);
        if !self.has_cmd {
            // What the image below meant for another entry point.
            self.config.cmd.clear();
        }
    }

    pub(crate) fn set_cmd(&mut self, form: &Form) {
        self.config.cmd = self.words(form);
        self.has_cmd = true;
    }

    pub(crate) fn expose(&mut self, text: &str, at: &Place) -> Result<(), BuildError> {
        let text = self.replaced(text, at)?;
        let bad = || BuildError::malformed(at, format!("`{text}` is no port"));
        let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        if !["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str()) {
            return Err(bad());
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let port = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|it| *it > 0)
                .ok_or_else(bad)
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(bad());
        }
        let ports = &mut self.config.exposed_ports;
        let known: HashSet<String> = ports.iter().cloned().collect();
        let asked = (first..=last).map(|port| format!("{port}/{}", protocol.to_ascii_lowercase()));
        ports.extend(asked.filter(|port| !known.contains(port)));
        Ok(())
    }

    /// The variables of a command: those of the configuration, and arguments that have no such name.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let pairs = self
            .config
            .env
            .iter()
            .filter_map(|pair| pair.split_once('='));
        let mut env: Vec<(String, String)> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in &self.args {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.clone(), value.clone()));
            }
        }
        env
    }
}

/// A path from the top, without `.` and `..`.
fn absolute(folder: &str, path: &str) -> String {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{folder}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        assert_eq!(absolute("/a/b", "../c/./d/"), "/a/c/d");
        assert_eq!(absolute("/", "x"), "/x");
        assert_eq!(absolute("/a", "/../.."), "/");
    }

    #[test]
    fn ports_may_be_ranges() {
        let at = Place {
            line: 1,
            instruction: "EXPOSE".to_owned(),
        };
        let mut state = StageState::new(Config::default(), '\\');
        for port in ["80", "53/UDP", "8000-8002", "80/tcp"] {
            state.expose(port, &at).unwrap();
        }
        let ports = ["80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"];
        assert_eq!(state.config.exposed_ports, ports);
        // All there are, and each once.
        state.expose("1-65535", &at).unwrap();
        assert_eq!(state.config.exposed_ports.len(), 65_536);
        for port in ["x", "0", "9-8", "1/raw", "70000"] {
            assert!(state.expose(port, &at).is_err(), "{port}");
        }
    }
}
