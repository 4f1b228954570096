//! What operations on workspaces share.

mod archive;
mod baseline;
mod export;
mod names;
mod seed;
