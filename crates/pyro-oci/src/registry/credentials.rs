//! Whose images one may see: what `docker login` and `podman login` have written down.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::Reference;
use oci_client::secrets::RegistryAuth;

use super::RegistryError;

/// What Docker Hub is called in these files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The first that has any; an image that needs none is fetched without.
pub(super) fn of(asked: &Reference) -> Result<RegistryAuth, RegistryError> {
    from(files(|name| env::var_os(name)), asked)
}

fn from(files: Vec<PathBuf>, asked: &Reference) -> Result<RegistryAuth, RegistryError> {
    let server = match asked.registry() {
        "docker.io" => DOCKER_HUB,
        registry => registry,
    };
    for path in files {
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let unusable = |why: String| RegistryError::Credentials {
            path: path.clone(),
            registry: asked.registry().to_owned(),
            why,
        };
        match get_credential_from_reader(BufReader::new(file), server) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                return Ok(RegistryAuth::Basic(user, password));
            }
            Ok(DockerCredential::IdentityToken(_)) => {
                return Err(unusable(
                    "it has an identity token, which cannot be used".into(),
                ));
            }
            Err(CredentialRetrievalError::NoCredentialConfigured) => {}
            Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                if stdout.contains("credentials not found") => {}
            // What a helper says may be a secret.
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                return Err(unusable(format!("`docker-credential-{helper}` has failed")));
            }
            Err(error) => return Err(unusable(error.to_string().trim().to_owned())),
        }
    }
    Ok(RegistryAuth::Anonymous)
}

/// Podman's, then Docker's, as `podman` looks for them.
fn files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let named = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = |name: &str, below: &str| named(name).map(|folder| folder.join(below));
    if let Some(file) = named("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let docker = folder("DOCKER_CONFIG", "config.json");
    let candidates = [
        folder("XDG_RUNTIME_DIR", "containers/auth.json"),
        folder("HOME", ".config/containers/auth.json"),
        docker.or_else(|| folder("HOME", ".docker/config.json")),
    ];
    candidates.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_looked_for_where_their_tools_put_them() {
        let all = |set: &[(&str, &str)]| {
            let files = files(|name| {
                let value = set.iter().find(|(set, _)| *set == name);
                value.map(|(_, value)| value.into())
            });
            let files = files.iter().map(|path| path.to_str().unwrap().to_owned());
            files.collect::<Vec<_>>()
        };
        assert_eq!(
            all(&[("REGISTRY_AUTH_FILE", "a.json"), ("HOME", "/me")]),
            ["a.json"]
        );
        assert_eq!(
            all(&[("HOME", "/me"), ("XDG_RUNTIME_DIR", "/run/me")]),
            [
                "/run/me/containers/auth.json",
                "/me/.config/containers/auth.json",
                "/me/.docker/config.json"
            ]
        );
        assert_eq!(
            all(&[("DOCKER_CONFIG", "/d"), ("HOME", "")]),
            ["/d/config.json"]
        );
    }

    #[test]
    fn the_first_file_that_knows_the_registry_says_who_asks() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        // `me:secret`, and `you:other`.
        let one = file(
            "one",
            r#"{"auths":{"example.com":{"auth":"bWU6c2VjcmV0"}}}"#,
        );
        let two = file(
            "two",
            r#"{"auths":{"example.com":{"auth":"eW91Om90aGVy"},
                "https://index.docker.io/v1/":{"auth":"eW91Om90aGVy"}}}"#,
        );
        let missing = folder.path().join("none");
        let ask = |name: &str, files: &[&PathBuf]| {
            let files = files.iter().map(|path| (*path).clone());
            from(files.collect(), &name.parse().unwrap())
        };
        let basic = |user: &str, word: &str| RegistryAuth::Basic(user.into(), word.into());
        let all = [&missing, &one, &two];
        assert_eq!(ask("example.com/x", &all).unwrap(), basic("me", "secret"));
        assert_eq!(ask("docker.io/x", &all).unwrap(), basic("you", "other"));
        assert_eq!(ask("other.org/x", &all).unwrap(), RegistryAuth::Anonymous);
        let broken = file(
            "broken",
            r#"{"auths":{"example.com":{"auth":"bm8tY29sb24="}}}"#,
        );
        let error = ask("example.com/x", &[&broken]).unwrap_err();
        assert!(
            matches!(error, RegistryError::Credentials { .. }),
            "{error}"
        );
    }
}
