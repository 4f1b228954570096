//! What operations on workspaces share.

mod archive;
mod export;
mod names;
mod seed;
