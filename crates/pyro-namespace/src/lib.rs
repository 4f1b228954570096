//! A program in user, mount, PID, network, IPC and UTS namespaces of its own, with subordinate ids.
//!
//! In the user namespace, id 0 is the caller (root or an ordinary user) and the ids from 1 on are
//! subordinate ids, so files in there belong to whom they must, and nobody in there is anybody on
//! the host but the caller. The program is the first process of its PID namespace, so its end is the end of
//! everything it started; and it ends with its caller, however that ends.
//!
//! What the program does in there (mounts, a new root) is its own affair.
//!
//! | module | subject |
//! |---|---|
//! | `id_map` | which ids mean which |
//! | `subordinate_ids` | the ranges of `/etc/subuid` and `/etc/subgid` |
//! | `program` | what to start, and how it is started |
//! | `in_child` | from clone(2) to exec(2), in the child |
//! | `write_map` | the maps of a child, by the caller or by `newuidmap` |
//! | `tasks` | whether its processes are counted apart |
//! | `tool` | a program that answers at once |
//! | `child` | the handle of what was started |
//! | `remove` | a tree of files that belong to ids of a namespace, removed |
//! | `root` | a root folder of one's own, from inside |
//! | `overlay` | folders on one another as one file system, from inside |
//! | `forbidden` | why namespaces are refused here, and what to do about it |

mod child;
mod error;
mod forbidden;
mod id_map;
mod in_child;
pub mod overlay;
mod program;
mod remove;
pub mod root;
mod subordinate_ids;
mod tasks;
mod tool;
mod write_map;

pub use child::{Child, Killer, pidfd};
pub use error::NamespaceError;
pub use forbidden::{Forbidden, forbidden_by_setting};
pub use id_map::{IdMap, Ids};
pub use program::{Namespaces, Program};
pub use remove::remove_tree;
pub use subordinate_ids::command_for_this_user;
pub use tasks::counts_tasks_apart;
