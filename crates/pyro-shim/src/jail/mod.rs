//! The wall behind the VMM: whoever controls its process entirely reads nothing of this host but what the VM
//! is made of, writes nothing but its disk, opens no socket, signals nobody and starts nothing.
//!
//! ```text
//! shim ──▶ pyro shim --jail PLAN PROGRAM…   in namespaces of its own where the host has them
//!            │ an empty root folder, in which the plan's files are, read-only
//!            │ limits, no capabilities, an id that is nobody's
//!            │ Landlock, a list of system calls
//!            ▼
//!          the program                      one exec, let through by the shim's gate
//! ```
//!
//! Each wall stands where the host has it, and [`Walls`](pyro_wire::jail::Walls) tells which do.
//!
//! | module | subject |
//! |---|---|
//! | `plan` | what a jail is: files, descriptors, calls, limits, as data |
//! | `start` | from a plan to a program in its jail, in the shim |
//! | `gate` | what the program may only do with the shim's help: its exec, and files opened for writing |
//! | `handed` | those files, and the ones of name servers and of chance |
//! | `name_servers` | where a host says which its name servers are |
//! | `inside` | the steps of `pyro shim --jail`, until it is the program |
//! | `root` | the root folder |
//! | `rights` | ids, capabilities, limits |
//! | `landlock` | the same files, as rules of Landlock |
//! | `calls`, `filter` | which system calls, and how the kernel is told |
//! | `shim`, `shim_calls` | the shim's own walls, once its guest answers |

use nix::sys::stat::Mode;

mod calls;
mod filter;
pub(crate) mod gate;
mod handed;
pub(crate) mod inside;
mod landlock;
mod name_servers;
mod plan;
mod rights;
mod root;
mod shim;
mod shim_calls;
mod start;

/// The umask of what is walled in: what it makes is for nobody but its user.
const PRIVATE: Mode = Mode::from_bits_truncate(0o077);

pub(crate) use gate::Gate;
pub(crate) use handed::Handed;
pub(crate) use inside::{enter, run};
pub(crate) use name_servers::NAME_SERVERS;
pub(crate) use plan::{Calls, Limits, Plan};
pub(crate) use rights::drop_capabilities;
pub(crate) use shim::OwnWalls;
pub(crate) use start::{JailError, Jailed, Prisoner};
