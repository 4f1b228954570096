//! What operations on workspaces share.

mod archive;
mod names;
mod seed;
