//! Terminal output as the text that a person sees: bytes of a guest in, text out.
//!
//! ```
//! use pyro_wire::shells::Size;
//!
//! let size = Size { cols: 80, rows: 24 };
//! let output = "building\u{1b}[2K\rdone\r\n";
//! assert_eq!(pyro_screen::visible_text(size, "", output), "done\n");
//! ```
//!
//! Deliberately absent: the terminal itself, and anything that knows where the output comes from.

mod modes;
mod screen;

pub use modes::ScreenModes;
pub use screen::{repaint, visible_text};
