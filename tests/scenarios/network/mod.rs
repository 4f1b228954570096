//! What a guest with a network reaches, and what it does not.
//!
//! The world outside is made for the test: two network namespaces and a veth pair between them. One of
//! them is the host that pyro runs on, the other everything else, with an address of every kind.
//! All that arrives anywhere is recorded, so a denial is proved by what nobody has seen.

mod denials;
mod guest;
mod lab;
mod neighbours;
mod registries;
mod rules;
