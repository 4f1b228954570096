//! Random names and numbers from the host.

use std::fs::File;
use std::io::{self, Read};

use pyro_api::Error;

use crate::error::host_io;

/// A number that nothing else has: 52 bits, which every JSON reader keeps apart.
pub(crate) fn random_number() -> Result<u64, Error> {
    let hex = random_hex(7)
        .map_err(|error| host_io("This host's random source cannot be read", &error))?;
    Ok(u64::from_str_radix(&hex, 16).unwrap_or_default() >> 4)
}

/// An id for something new: twelve digits.
pub(crate) fn random_id() -> Result<String, Error> {
    random_hex(6).map_err(|error| host_io("The host does not provide random numbers", &error))
}

/// Random bytes of the host, as lower-case hex digits.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0_u8; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
