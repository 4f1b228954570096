//! What a registry did not give.

use std::io;
use std::path::PathBuf;

use oci_client::errors::{OciDistributionError, OciErrorCode};

use super::ImageName;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no image `{name}`{}", near_words(near))]
    NoSuchImage { name: String, near: Vec<String> },
    #[error("{registry} does not let this user see `{name}`")]
    NotAllowed { name: String, registry: String },
    #[error("the credentials for {registry} in {} cannot be used: {why}", path.display())]
    Credentials {
        path: PathBuf,
        registry: String,
        why: String,
    },
    #[error("{registry} could not be reached")]
    Unreachable {
        registry: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("{registry} did not answer within {seconds} s")]
    Silent { registry: String, seconds: u64 },
    #[error("{registry} was asked for `{name}`, and refused")]
    Refused {
        name: String,
        registry: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("the registry broke off while it sent `{name}`")]
    BrokeOff {
        name: String,
        #[source]
        source: io::Error,
    },
}

impl RegistryError {
    pub(super) fn of(name: &ImageName, error: OciDistributionError) -> Self {
        let (whole, registry) = (name.to_string(), name.registry().to_owned());
        let status = match &error {
            OciDistributionError::ServerError { code, .. } => Some(*code),
            OciDistributionError::RequestError(error) => error.status().map(|it| it.as_u16()),
            _ => None,
        };
        match &error {
            OciDistributionError::ImageManifestNotFoundError(_) => Self::NoSuchImage {
                name: whole,
                near: Vec::new(),
            },
            OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::UnauthorizedError { .. } => Self::NotAllowed {
                name: whole,
                registry,
            },
            OciDistributionError::RegistryError { envelope, .. } => {
                let says = |codes: &[OciErrorCode]| {
                    envelope.errors.iter().any(|one| codes.contains(&one.code))
                };
                if says(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    Self::NoSuchImage {
                        name: whole,
                        near: Vec::new(),
                    }
                } else if says(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    Self::NotAllowed {
                        name: whole,
                        registry,
                    }
                } else {
                    Self::Refused {
                        name: whole,
                        registry,
                        source: Box::new(error),
                    }
                }
            }
            _ => match status {
                Some(404) => Self::NoSuchImage {
                    name: whole,
                    near: Vec::new(),
                },
                Some(401 | 403) => Self::NotAllowed {
                    name: whole,
                    registry,
                },
                Some(500..) => Self::Unreachable {
                    registry,
                    source: Box::new(error),
                },
                None if matches!(error, OciDistributionError::RequestError(_)) => {
                    Self::Unreachable {
                        registry,
                        source: Box::new(error),
                    }
                }
                _ => Self::Refused {
                    name: whole,
                    registry,
                    source: Box::new(error),
                },
            },
        }
    }

    /// Whether another try is of no use.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::BrokeOff { .. })
    }
}

fn near_words(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; its tags are {}", near.join(", ")),
    }
}
