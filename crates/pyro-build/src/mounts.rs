//! `RUN --mount=…`: secrets. Other kinds are refused by name.

use crate::error::{BuildError, Place};

/// A secret that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount {
    pub id: String,
    /// The file in the guest, where there is one.
    pub target: Option<String>,
    /// The variable, where there is one.
    pub env: Option<String>,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    pub required: bool,
}

/// Where secrets lie for which the file says no place.
const FOLDER: &str = "/run/secrets";

pub(crate) fn parse(text: &str, at: &Place) -> Result<SecretMount, BuildError> {
    let malformed = |what: String| BuildError::malformed(at, what);
    let pairs = text.split(',').map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value)),
        None => (pair.trim(), None),
    });
    let pairs: Vec<(&str, Option<&str>)> = pairs.collect();
    let kind = pairs.iter().find(|(key, _)| *key == "type");
    match kind.and_then(|(_, value)| *value).unwrap_or("bind") {
        "secret" => {}
        kind @ ("bind" | "cache" | "tmpfs" | "ssh") => {
            return Err(BuildError::unsupported(
                at,
                format!("`--mount=type={kind}`"),
            ));
        }
        kind => {
            return Err(malformed(format!(
                "`--mount=type={kind}` is no kind of mount"
            )));
        }
    }
    let mut mount = SecretMount {
        id: String::new(),
        target: None,
        env: None,
        mode: 0o400,
        user: 0,
        group: 0,
        required: false,
    };
    for (key, value) in pairs {
        let number = |radix| {
            let number = u32::from_str_radix(value.unwrap_or_default(), radix);
            number.map_err(|_| malformed(format!("`{key}` of a mount needs a number")))
        };
        let text = || {
            let text = value.filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| malformed(format!("`{key}` of a mount needs a value")));
            text.map(str::to_owned)
        };
        match key {
            "type" => {}
            "id" => mount.id = text()?,
            "target" | "dst" | "destination" => mount.target = Some(text()?),
            "env" => mount.env = Some(text()?),
            "mode" => mount.mode = number(8)? & 0o7777,
            "uid" => mount.user = number(10)?,
            "gid" => mount.group = number(10)?,
            "required" => mount.required = value.is_none_or(|it| it == "true" || it == "1"),
            _ => return Err(BuildError::unsupported(at, format!("`{key}` of a mount"))),
        }
    }
    if mount.id.is_empty() {
        // As Docker has it: the name of the file.
        let target = mount.target.as_deref().unwrap_or_default();
        mount.id = target.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if mount.id.is_empty() {
        return Err(malformed("a secret needs an `id`".to_owned()));
    }
    if mount.target.is_none() && mount.env.is_none() {
        mount.target = Some(format!("{FOLDER}/{}", mount.id));
    }
    if let Some(target) = &mount.target {
        let is_in_memory = target.starts_with("/run/") || target.starts_with("/dev/shm/");
        if !is_in_memory || target.split('/').any(|part| part == "..") {
            return Err(BuildError::unsupported(
                at,
                format!(
                    "a secret at `{target}`, which would leave a trace on the disk (below `/run` it leaves none),"
                ),
            ));
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecretMount, String> {
        let at = Place {
            line: 3,
            instruction: "RUN".to_owned(),
        };
        parse(text, &at).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_has_a_place_in_memory() {
        let secret = read("type=secret,id=token").unwrap();
        assert_eq!(secret.target.as_deref(), Some("/run/secrets/token"));
        assert!(secret.env.is_none() && secret.mode == 0o400 && !secret.required);
        let secret = read("type=secret,id=a,env=TOKEN,required").unwrap();
        assert_eq!((secret.target, secret.env), (None, Some("TOKEN".into())));
        assert!(secret.required);
        let secret = read("type=secret,target=/run/x/key,mode=0440,uid=5,gid=6").unwrap();
        assert_eq!((secret.id.as_str(), secret.mode), ("key", 0o440));
        assert_eq!((secret.user, secret.group), (5, 6));
    }

    #[test]
    fn other_mounts_are_refused_by_name() {
        for (text, words) in [
            (
                "type=cache,target=/x",
                "`--mount=type=cache` is not supported",
            ),
            ("target=/x", "`--mount=type=bind` is not supported"),
            ("type=disk", "`--mount=type=disk` is no kind of mount"),
            ("type=secret", "a secret needs an `id`"),
            (
                "type=secret,id=a,mode=x",
                "`mode` of a mount needs a number",
            ),
            (
                "type=secret,id=a,size=1",
                "`size` of a mount is not supported",
            ),
            (
                "type=secret,id=a,target=/root/.npmrc",
                "would leave a trace",
            ),
            (
                "type=secret,id=a,target=/run/../etc/x",
                "would leave a trace",
            ),
        ] {
            let told = read(text).unwrap_err();
            assert!(
                told.starts_with("line 3 (RUN): ") && told.contains(words),
                "{told}"
            );
        }
    }
}
