//! What `docker save` writes: `manifest.json`, which names configurations and layers by their paths.

use serde::Deserialize;

use super::Source;
use crate::image::json;
use crate::{Digest, Image, OciError};

/// The file that lists the images.
pub(super) const LIST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn image(source: &Source<'_>) -> Result<Image, OciError> {
    let list = source
        .find(LIST)?
        .ok_or_else(|| source.no_image("there is no `manifest.json` in it"))?
        .document("`manifest.json`")?;
    let list: Vec<Entry> = json(&list, "`manifest.json`")?;
    let entry = named(source, &list)?;
    let find = |path: &str| {
        let found = source.find(path)?;
        found.ok_or_else(|| source.no_image(format!("`{path}` is not in it")))
    };
    let config = find(&entry.config)?.document("the configuration")?;
    let digest = Digest::of(&config);
    // The file is called by it, so a changed one is told.
    if let Some(expected) = digest_in(&entry.config)
        && expected != digest
    {
        return Err(OciError::WrongDigest {
            what: "the configuration".to_owned(),
            expected,
            found: digest,
        });
    }
    let layers = entry.layers.iter().map(|path| Ok((find(path)?, None)));
    let layers = layers.collect::<Result<_, OciError>>()?;
    Image::of_config(digest, &config, layers)
}

/// `HEX.json` of old archives, `blobs/sha256/HEX` of new ones.
fn digest_in(path: &str) -> Option<Digest> {
    let name = path.rsplit('/').next()?;
    let hex = name.strip_suffix(".json").unwrap_or(name);
    Digest::parse(&format!("sha256:{hex}")).ok()
}

fn named<'a>(source: &Source<'_>, list: &'a [Entry]) -> Result<&'a Entry, OciError> {
    let tags = |entry: &Entry| entry.repo_tags.clone().unwrap_or_default();
    let path = || source.path().to_owned();
    let known = || list.iter().flat_map(tags).collect();
    if let Some(name) = source.name() {
        let latest = format!("{name}:latest");
        let is_meant = |tag: &String| {
            // `app` means `docker.io/library/app:latest`, as for Docker; tools write one or the other.
            let short = tag.strip_prefix("docker.io/").unwrap_or(tag);
            let shorter = short.strip_prefix("library/").unwrap_or(short);
            [tag, short, shorter]
                .iter()
                .any(|tag| *tag == name || *tag == latest)
        };
        let found = list.iter().find(|entry| tags(entry).iter().any(is_meant));
        return found.ok_or_else(|| OciError::NoSuchName {
            path: path(),
            name: name.to_owned(),
            known: known(),
        });
    }
    match list {
        [] => Err(source.no_image("its `manifest.json` lists no image")),
        [only] => Ok(only),
        _ => Err(OciError::SeveralImages {
            path: path(),
            known: known(),
        }),
    }
}
