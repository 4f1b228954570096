//! What a registry did not give.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use oci_client::Reference;
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;

use super::ImageName;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no image `{name}`{}", near_words(near))]
    NoSuchImage { name: String, near: Vec<String> },
    #[error(
        "{registry} does not show `{name}` {}",
        if *has_credentials { "to the user of the credentials that it got" } else { "without credentials" }
    )]
    NotAllowed {
        name: String,
        registry: String,
        /// Whether the registry was told who asks.
        has_credentials: bool,
    },
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
    #[error("the certificate of {registry} is not trusted: {why}")]
    Certificate { registry: String, why: String },
    #[error("{registry} was asked with TLS, and answered without")]
    NoTls { registry: String },
    #[error("{registry} has been asked too often of late")]
    TooOften { registry: String },
    #[error("{registry} did not answer within {seconds} s")]
    Silent { registry: String, seconds: u64 },
    #[error("{registry} was asked for `{name}`, and refused with status {status}")]
    Status {
        name: String,
        registry: String,
        status: u16,
    },
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
    pub(super) fn of(name: &ImageName, asked: &Reference, error: OciDistributionError) -> Self {
        let (whole, registry) = (name.to_string(), asked.registry().to_owned());
        let status = match &error {
            OciDistributionError::ServerError { code, .. } => Some(*code),
            OciDistributionError::RequestError(error) => error.status().map(|it| it.as_u16()),
            OciDistributionError::ImageManifestNotFoundError(_) => Some(404),
            OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::UnauthorizedError { .. } => Some(401),
            OciDistributionError::RegistryError { envelope, .. } => {
                use OciErrorCode::{
                    Denied, ManifestUnknown, NameUnknown, NotFound, Toomanyrequests, Unauthorized,
                };
                let says = |codes: &[OciErrorCode]| {
                    envelope.errors.iter().any(|one| codes.contains(&one.code))
                };
                if says(&[ManifestUnknown, NameUnknown, NotFound]) {
                    Some(404)
                } else if says(&[Unauthorized, Denied]) {
                    Some(401)
                } else if says(&[Toomanyrequests]) {
                    Some(429)
                } else {
                    None
                }
            }
            _ => None,
        };
        match (status, &error) {
            (Some(500..), _) => Self::Unreachable {
                registry,
                source: Box::new(error),
            },
            (Some(status @ (401 | 403 | 404 | 429)), _) => Self::of_status(name, asked, status),
            (None, OciDistributionError::RequestError(request)) => match tls(request) {
                Some(rustls::Error::InvalidCertificate(why)) => Self::Certificate {
                    registry,
                    why: match why.to_string() {
                        // Debug words of another crate, for what `openssl req -x509` makes.
                        why if why.contains("CaUsedAsEndEntity") => {
                            "it is an authority's own, which is not taken for a server's".to_owned()
                        }
                        why => why,
                    },
                },
                Some(rustls::Error::InvalidMessage(_)) => Self::NoTls { registry },
                _ => Self::Unreachable {
                    registry,
                    source: Box::new(error),
                },
            },
            _ => Self::Refused {
                name: whole,
                registry,
                source: Box::new(error),
            },
        }
    }

    pub(super) fn of_status(name: &ImageName, asked: &Reference, status: u16) -> Self {
        let (name, registry) = (name.to_string(), asked.registry().to_owned());
        match status {
            404 => Self::NoSuchImage {
                name,
                near: Vec::new(),
            },
            401 | 403 => Self::NotAllowed {
                name,
                registry,
                has_credentials: false,
            },
            429 => Self::TooOften { registry },
            status => Self::Status {
                name,
                registry,
                status,
            },
        }
    }

    /// As it is for one who asks with these credentials.
    pub(super) fn to(mut self, auth: &RegistryAuth) -> Self {
        if let Self::NotAllowed {
            has_credentials, ..
        } = &mut self
        {
            *has_credentials = !matches!(auth, RegistryAuth::Anonymous);
        }
        self
    }

    /// Whether another try is of no use.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff { .. } => false,
            Self::Status { status, .. } => *status < 500,
            _ => true,
        }
    }
}

/// What TLS found wrong, somewhere behind an error.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // One that an error of I/O carries is not its source, but what stands for it.
        let carried = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match carried {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn near_words(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; its tags are {}", near.join(", ")),
    }
}
