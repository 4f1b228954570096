//! What an image says about its programs, kept with each VM and workspace that was made from it: the image may
//! be another one tomorrow.

use std::collections::BTreeMap;

use pyro_api::values::{CommandLine, ImageFacts, User};
use pyro_catalog::{Installed, InstalledImage};
use pyro_oci::Config;
use pyro_wire::Bytes;

/// Where records have it.
const CONFIG: &str = "image_config";
const DIGEST: &str = "image_digest";

/// What a record says of the image.
pub(crate) fn facts(installed: &Installed) -> Vec<(&'static str, String)> {
    let Some(image) = &installed.image else {
        return Vec::new();
    };
    // Writing plain fields into memory has no way to fail.
    let config = serde_json::to_string(&image.config).unwrap_or_default();
    vec![(DIGEST, image.digest.clone()), (CONFIG, config)]
}

/// As the contract shows an image.
pub(crate) fn described(image: &InstalledImage) -> ImageFacts {
    let config = image.config.clone();
    ImageFacts {
        digest: image.digest.clone(),
        env: config.env,
        working_dir: config.working_dir,
        user: config.user,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        exposed_ports: config.exposed_ports,
        labels: config.labels,
        devices_left_out: image.devices_left_out,
        attributes_left_out: image.attributes_left_out,
    }
}

/// What a record says of its image, and the digest of that.
pub(crate) fn of_record(metadata: &BTreeMap<String, String>) -> Option<(Config, Option<String>)> {
    let config = serde_json::from_str(metadata.get(CONFIG)?).ok()?;
    Some((config, metadata.get(DIGEST).cloned()))
}

fn config(metadata: &BTreeMap<String, String>) -> Config {
    of_record(metadata).unwrap_or_default().0
}

/// Variables of every command.
pub(crate) fn env(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let pairs = config(metadata).env.into_iter();
    pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The folder in which commands of one-shot VMs run that were given none. A relative one begins at `/`.
pub(crate) fn working_dir(metadata: &BTreeMap<String, String>) -> Option<String> {
    let folder = config(metadata).working_dir?;
    Some(match folder.starts_with('/') {
        true => folder,
        false => format!("/{folder}"),
    })
}

/// What an image runs when nobody says what: its entry point with what it is given by default.
pub(crate) fn command(image: &InstalledImage) -> CommandLine {
    let words = image.config.entrypoint.iter().chain(&image.config.cmd);
    CommandLine::Program(words.map(|word| word.clone().into_bytes()).collect())
}

/// Who runs commands when nobody is named; root when absent.
pub(crate) fn user(metadata: &BTreeMap<String, String>) -> Option<String> {
    config(metadata).user.filter(|user| !user.is_empty())
}

/// The same as the agent takes it: whoever was asked for, or else whom the image has.
pub(crate) fn user_to_wire(
    asked: Option<&User>,
    metadata: &BTreeMap<String, String>,
) -> Option<Bytes> {
    let asked = asked.filter(|user| !user.is_empty());
    let asked = asked.map(|user| user.as_str().to_owned());
    let user = asked.or_else(|| self::user(metadata))?;
    Some(user.into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_is_what_guests_get() {
        let config = Config {
            env: ["PATH=/app:/bin", "EMPTY=", "nonsense", "A=b=c"]
                .map(Into::into)
                .into(),
            working_dir: Some("/app".to_owned()),
            ..Config::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        let metadata = BTreeMap::from([(CONFIG.to_owned(), text)]);
        let pairs = [("PATH", "/app:/bin"), ("EMPTY", ""), ("A", "b=c")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(env(&metadata), pairs);
        assert_eq!(working_dir(&metadata).as_deref(), Some("/app"));
        assert!(env(&BTreeMap::new()).is_empty() && working_dir(&BTreeMap::new()).is_none());
    }

    #[test]
    fn who_was_asked_for_comes_before_whom_the_image_has() {
        let metadata = |user: Option<&str>| {
            let config = Config {
                user: user.map(Into::into),
                working_dir: Some("app".to_owned()),
                ..Config::default()
            };
            BTreeMap::from([(CONFIG.to_owned(), serde_json::to_string(&config).unwrap())])
        };
        let bytes = |text: &str| Some(Bytes::from(text.as_bytes()));
        let asked: User = "root".parse().unwrap();
        let nobody: User = "".parse().unwrap();
        let of_image = metadata(Some("app:staff"));
        assert_eq!(user_to_wire(Some(&asked), &of_image), bytes("root"));
        assert_eq!(user_to_wire(Some(&nobody), &of_image), bytes("app:staff"));
        assert_eq!(user_to_wire(None, &of_image), bytes("app:staff"));
        assert_eq!(user_to_wire(None, &metadata(None)), None);
        assert_eq!(user_to_wire(None, &metadata(Some(""))), None);
        assert_eq!(working_dir(&of_image).as_deref(), Some("/app"));
    }
}
