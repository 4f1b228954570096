//! Interactive shells. They belong to the guest and to no stream: whoever asks for one comes and
//! goes, and what it writes meanwhile is kept for the next.
//!
//! ```text
//! Open ──▶ running ──────────▶ ended: stays readable ──▶ Close: forgotten
//!             └── Close: hung up on, then killed ──────────────┘
//! ```
//!
//! Nothing here understands what a terminal is told: output is kept as the text it is, and those
//! who read it make a picture of it, outside of the guest.

mod attach;
mod canonical;
mod decoder;
mod life;
mod requests;
mod ring;
mod scrollback;
mod shell;
mod start;
mod table;

pub(crate) use requests::serve;
pub(crate) use table::Shells;
