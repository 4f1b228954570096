//! What crosses between host and guest as an archive: safe on the way in, hostile on the way out.
//!
//! ```text
//! host ── import::Source ──▶ tar stream ──▶ guest       all of it is looked at before a byte is sent
//! host ◀─ export::Destination ── tar stream ── guest    every byte of it may be a lie
//! ```
//!
//! [`archive`] reads and writes the streams, [`import`] packs files of this host for a guest,
//! [`export`] puts those of a guest at one path of this host. [`host_paths`] says which paths of
//! this host a caller may name. Whatever an archive says, memory is bounded, nothing is opened
//! through a link, and nothing is written outside of the destination.
//!
//! ```
//! use std::ffi::OsStr;
//! use std::fs;
//! use std::ops::ControlFlow;
//!
//! use pyro_transfer::export::Destination;
//! use pyro_transfer::import::Source;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (project, copy) = (folder.path().join("project"), folder.path().join("copy"));
//! fs::create_dir(&project)?;
//! fs::write(project.join("main.py"), "print('hello')\n")?;
//!
//! // In: the whole source is looked at before the guest gets any of it.
//! let mut go_on = |_| ControlFlow::Continue(());
//! let source = Source::open(&project, None)?;
//! let survey = source.survey(&mut go_on)?;
//! let mut stream = Vec::new();
//! let packed = source.pack(&survey, None, &mut stream, &mut go_on)?;
//! assert_eq!(packed.whole.entries, 1);
//!
//! // Out: the path is as it was until the last step, which puts everything in place at once.
//! let mut destination = Destination::prepare(&copy, OsStr::new("project"), None, false)?;
//! destination.unpack(stream.as_slice(), &mut go_on)?;
//! assert!(!copy.exists());
//! destination.commit()?;
//! assert_eq!(fs::read_to_string(copy.join("main.py"))?, "print('hello')\n");
//! # Ok(())
//! # }
//! ```
//!
//! Deliberately absent: how a stream reaches a guest (the engine's); what a caller is told to do
//! about an error (the engine's); async: all of it blocks, so it belongs on a thread of its own, and
//! the stream's other end sets the pace. The agent unpacks and packs with code of its own.

pub mod archive;
pub mod export;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod host_paths;
pub mod import;
mod mode;
mod name_sample;
mod names;
mod progress;

pub use progress::{OnProgress, Totals};
