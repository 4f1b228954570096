//! The list of attempts.

use std::path::Path;

use super::call::{self, Attempted, create_in, may_write, read};
use super::plan::Plan;
use super::{files, kernel, processes, sockets};

/// Whose place the attacker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// QEMU's.
    Vmm,
    /// That of the process which forwards a guest's packets.
    Network,
    /// That of the shim, once its guest answers.
    Shim,
    /// Nobody's: a program of the same user's that looks into the shim of a VM.
    Beside,
}

/// What becomes of an attempt without a jail: the proof that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unjailed {
    /// It works, for whoever runs pyro.
    Works,
    /// It works for root. The kernel's reason why others are refused anyway.
    WorksForRoot(&'static str),
}

pub struct Attempt {
    pub name: &'static str,
    unjailed: Unjailed,
    /// A setting below `/proc/sys` with which a host refuses it to others than root, if it is more than this.
    setting: Option<(&'static str, i32)>,
    /// The file that it is at, where some kernels have none.
    needs: Option<&'static str>,
    places: &'static [Place],
    /// Why it is not stopped where a host forbids namespaces, and whether that is so for root alone.
    open_without_namespaces: Option<(&'static str, bool)>,
    /// Why it is not stopped in the shim's place.
    open_to_shim: Option<&'static str>,
    pub(super) run: fn(&Plan) -> Attempted,
}

impl Attempt {
    /// Whether it is one there: opening sockets is what the network's process is for, and it has no disk.
    pub fn is_for(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    /// Why it is known not to be stopped without namespaces.
    pub fn is_open_without_namespaces(&self, root: bool) -> Option<&'static str> {
        let (why, of_root) = self.open_without_namespaces?;
        (root || !of_root).then_some(why)
    }

    /// Why it is known not to be stopped in the shim's place.
    pub fn is_open_to_shim(&self) -> Option<&'static str> {
        self.open_to_shim
    }

    /// Why this host may refuse it without a jail.
    pub fn refused_anyway(&self, root: bool) -> Option<String> {
        if let (Unjailed::WorksForRoot(why), false) = (self.unjailed, root) {
            return Some(why.to_owned());
        }
        if let Some(file) = self.needs.filter(|file| !Path::new(file).exists()) {
            return Some(format!("this kernel has no {file}"));
        }
        let (setting, most) = self.setting.filter(|_| !root)?;
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(setting)).ok()?;
        let value: i32 = value.trim().parse().ok()?;
        (value > most).then(|| format!("the setting {setting}"))
    }

    const fn new(name: &'static str, run: fn(&Plan) -> Attempted) -> Self {
        Self {
            name,
            unjailed: Unjailed::Works,
            setting: None,
            needs: None,
            places: &[Place::Vmm, Place::Network, Place::Shim],
            open_without_namespaces: None,
            open_to_shim: None,
            run,
        }
    }

    const fn of_root(mut self, why: &'static str) -> Self {
        self.unjailed = Unjailed::WorksForRoot(why);
        self
    }

    const fn of_vmm(mut self) -> Self {
        self.places = &[Place::Vmm];
        self
    }

    /// What the network's process is there for.
    const fn not_of_network(mut self) -> Self {
        self.places = &[Place::Vmm, Place::Shim];
        self
    }

    /// What means nothing to a shim.
    const fn not_of_shim(mut self) -> Self {
        self.places = &[Place::Vmm, Place::Network];
        self
    }

    /// What a program beside a shim would learn of it.
    const fn also_beside(mut self) -> Self {
        self.places = &[Place::Vmm, Place::Network, Place::Shim, Place::Beside];
        self
    }

    const fn open_to_shim(mut self, why: &'static str) -> Self {
        self.open_to_shim = Some(why);
        self
    }

    const fn open_without_namespaces(mut self, why: &'static str) -> Self {
        self.open_without_namespaces = Some((why, false));
        self
    }

    const fn open_to_root_without_namespaces(mut self, why: &'static str) -> Self {
        self.open_without_namespaces = Some((why, true));
        self
    }

    const fn at(mut self, file: &'static str) -> Self {
        self.needs = Some(file);
        self
    }

    const fn up_to(mut self, setting: &'static str, most: i32) -> Self {
        self.setting = Some((setting, most));
        self
    }
}

const NO_NAMES: &str = "Landlock hides no names";
const KCORE: &str = "/proc/kcore";
const SYSRQ: &str = "/proc/sysrq-trigger";
const OWNED: &str = "the file is root's";
const RIGHT: &str = "it takes a capability";
const TRACING: &str = "kernel/yama/ptrace_scope";
const USER_NAMESPACES: &str = "kernel/apparmor_restrict_unprivileged_userns";

/// All of them. Those that may end the process or replace it are the last of their kind.
pub const ATTEMPTS: &[Attempt] = &[
    // --- reading
    Attempt::new("read a key in the home", |plan| read(&plan.key)),
    Attempt::new("read it by `openat2`", files::by_openat2),
    Attempt::new("read it by a handle of the file", files::open_by_handle).of_root(RIGHT),
    Attempt::new("see that it is there", |plan| files::see(&plan.key))
        .open_without_namespaces(NO_NAMES)
        .open_to_shim(NO_NAMES),
    Attempt::new("list the home", |plan| files::list(&plan.home)),
    Attempt::new("read /etc/passwd", |_| read(Path::new("/etc/passwd"))),
    Attempt::new("climb out of the folders at hand", files::climb),
    Attempt::new("read what was left open", files::read_what_was_left_open).not_of_shim(),
    Attempt::new("read pyro's database", |plan| read(&plan.database)),
    Attempt::new("read secrets.key", |plan| read(&plan.secrets_key)),
    Attempt::new("read another VM's disk", |plan| read(&plan.other_disk)),
    Attempt::new("read another VM's launch file", |plan| {
        read(&plan.other_launch_file)
    }),
    Attempt::new("read its own launch file", files::read_own_launch_file).of_vmm(),
    Attempt::new("read the environment of a stranger", |plan| {
        read(&Plan::of(plan.stranger, "environ"))
    })
    .also_beside(),
    Attempt::new("read the memory of a stranger by /proc", |plan| {
        call::open(&Plan::of(plan.stranger, "mem"), libc::O_RDWR).map(call::close)
    })
    .up_to(TRACING, 0)
    .also_beside(),
    Attempt::new("read a file that a stranger has open", |plan| {
        read(&Plan::of(plan.stranger, "fd/0"))
    })
    .also_beside(),
    Attempt::new("read the key below a stranger's root", |plan| {
        let key = plan.key.strip_prefix("/").unwrap_or(&plan.key);
        read(&Plan::of(plan.stranger, "root").join(key))
    })
    .also_beside(),
    Attempt::new("list what another VM's QEMU has open", |plan| {
        files::list(&Plan::of(plan.other_vmm, "fd"))
    })
    .open_to_shim("it looks for its children in `/proc`; these are numbers alone"),
    Attempt::new(
        "attach shared memory of System V",
        files::attach_shared_memory,
    ),
    Attempt::new("open a device of root's", |plan| {
        call::open(&plan.device, libc::O_RDONLY).map(call::close)
    })
    .of_root(OWNED),
    Attempt::new("read the kernel's memory", |_| read(Path::new(KCORE)))
        .at(KCORE)
        .of_root(OWNED),
    Attempt::new("read the kernel's log", files::kernel_log).of_root(RIGHT),
    Attempt::new("watch the home for changes", files::watch),
    // --- writing
    Attempt::new("make a file in the home", |plan| create_in(&plan.home)),
    Attempt::new("make a folder in the home", files::make_folder),
    Attempt::new("make a file in /tmp", |_| create_in(Path::new("/tmp"))),
    Attempt::new("make a file in the cache", |plan| create_in(&plan.cache)),
    Attempt::new("make a file beside its own disk", files::create_beside_disk).of_vmm(),
    Attempt::new("write to a file in the home", |plan| may_write(&plan.notes)),
    Attempt::new("write to the environment's image", |plan| {
        may_write(&plan.image)
    }),
    Attempt::new("write to pyro's database", |plan| may_write(&plan.database)),
    Attempt::new("write to another VM's disk", |plan| {
        may_write(&plan.other_disk)
    }),
    Attempt::new(
        "write to what was given for reading",
        files::write_what_is_read,
    )
    .of_vmm(),
    Attempt::new(
        "open that for reading and writing",
        files::write_and_read_what_is_read,
    )
    .of_vmm(),
    Attempt::new(
        "open its descriptors again for writing",
        files::reopen_for_writing,
    )
    .of_vmm(),
    Attempt::new("change the mode of the key", files::chmod),
    Attempt::new("change its owner", files::chown),
    Attempt::new("change its times", files::set_times),
    Attempt::new("give it an attribute", files::set_attribute),
    Attempt::new("cut a file in the home", files::truncate),
    Attempt::new("rename it", files::rename),
    Attempt::new("make a second name for the key", files::hard_link),
    Attempt::new("place a link to the key", files::symbolic_link),
    Attempt::new(
        "put a link in the place of the disk",
        files::swap_disk_for_link,
    ),
    Attempt::new("let others read its own disk", files::open_up_disk).of_vmm(),
    Attempt::new("make its own disk a tebibyte long", files::grow_disk).of_vmm(),
    Attempt::new(
        "write a tebibyte into its own disk",
        files::write_far_into_disk,
    )
    .of_vmm(),
    Attempt::new("make a device", files::make_device).of_root(RIGHT),
    Attempt::new("make a message queue", files::message_queue),
    Attempt::new("write to the user's terminal", |plan| {
        may_write(&plan.terminal)
    }),
    Attempt::new("name a program for core dumps", |_| {
        may_write(Path::new("/proc/sys/kernel/core_pattern"))
    })
    .of_root(OWNED),
    Attempt::new("write to /proc/sysrq-trigger", |_| {
        may_write(Path::new(SYSRQ))
    })
    .at(SYSRQ)
    .of_root(OWNED),
    // --- sockets
    Attempt::new("connect to a port on loopback", sockets::tcp).not_of_network(),
    Attempt::new("send a datagram to loopback", sockets::udp).not_of_network(),
    Attempt::new("listen on a port", sockets::listen)
        .open_to_shim("a guest's services are published by it"),
    Attempt::new("connect to an abstract socket", sockets::abstract_name),
    Attempt::new("take an abstract name", sockets::bind_local),
    Attempt::new("connect to the session bus", |plan| {
        sockets::local(&plan.bus)
    }),
    Attempt::new("connect to its own shim", sockets::own_control),
    Attempt::new("connect to another VM's shim", |plan| {
        sockets::local(&plan.other_control)
    }),
    // The network asks it for the host's addresses.
    Attempt::new("open a socket of netlink's", |_| {
        sockets::opens(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
    })
    .not_of_network(),
    Attempt::new("open a socket of a rare protocol", |_| {
        sockets::opens(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)
    }),
    Attempt::new("open a socket of the kernel's events", |_| {
        sockets::opens(
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_KOBJECT_UEVENT,
        )
    }),
    Attempt::new("open a socket to a hypervisor", |_| {
        sockets::opens(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
    }),
    Attempt::new("open a packet socket", |_| {
        sockets::opens(libc::AF_PACKET, libc::SOCK_RAW, 0x0300)
    })
    .of_root(RIGHT),
    Attempt::new("open a raw socket", |_| {
        sockets::opens(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP)
    })
    .of_root(RIGHT),
    // --- other processes
    Attempt::new("signal a stranger", processes::kill_stranger),
    Attempt::new("signal its thread by `tgkill`", processes::tgkill),
    Attempt::new("signal its thread by `tkill`", processes::tkill),
    Attempt::new("signal it by `rt_sigqueueinfo`", processes::queue),
    Attempt::new("signal it by a descriptor of it", processes::by_pidfd),
    Attempt::new(
        "signal it by a descriptor's owner",
        processes::by_descriptor,
    ),
    Attempt::new("signal its parent", processes::kill_parent),
    Attempt::new("signal another VM's shim", processes::kill_other_shim),
    Attempt::new("signal another VM's QEMU", processes::kill_other_vmm),
    Attempt::new("trace a stranger", processes::trace)
        .up_to(TRACING, 0)
        .also_beside(),
    Attempt::new("read a stranger's memory", processes::read_memory)
        .up_to(TRACING, 0)
        .also_beside(),
    Attempt::new("take a stranger's descriptor", processes::take_descriptor)
        .up_to(TRACING, 0)
        .also_beside(),
    Attempt::new("limit a stranger", processes::limit_other),
    Attempt::new("slow a stranger down", processes::slow_other),
    Attempt::new(
        "move a stranger to another processor",
        processes::move_other,
    ),
    Attempt::new("compare itself with a stranger", processes::compare_other).also_beside(),
    // --- more of itself
    Attempt::new("fork", processes::fork),
    Attempt::new("fork by `clone3`", processes::fork_anew),
    Attempt::new("fork and wait for an exec", processes::vfork),
    Attempt::new("start 6,000 threads", processes::threads)
        .open_to_root_without_namespaces("the limit does not bind root's id")
        .open_to_shim("it has no limit of threads"),
    Attempt::new("outlive the shim", processes::outlive).not_of_shim(),
    Attempt::new("dump core", processes::dump_core),
    Attempt::new("lock a gibibyte of memory", kernel::lock_memory)
        .of_root("the limit of memory to lock"),
    // --- the kernel
    Attempt::new("make a user namespace", |_| {
        kernel::unshare(libc::CLONE_NEWUSER)
    })
    .up_to(USER_NAMESPACES, 0),
    Attempt::new("fork into one", processes::fork_into_namespace).up_to(USER_NAMESPACES, 0),
    Attempt::new("make a mount namespace", |_| {
        kernel::unshare(libc::CLONE_NEWNS)
    })
    .of_root(RIGHT),
    Attempt::new(
        "enter the namespace of a stranger",
        processes::enter_namespace,
    )
    .of_root(RIGHT),
    Attempt::new("mount a file system", kernel::mount).of_root(RIGHT),
    Attempt::new("mount by `fsopen`", kernel::new_mount).of_root(RIGHT),
    Attempt::new("copy the tree of mounts", kernel::copy_mounts).of_root(RIGHT),
    Attempt::new("change its root folder", kernel::change_root).of_root(RIGHT),
    Attempt::new("name the host", kernel::host_name).of_root(RIGHT),
    Attempt::new("become another user", kernel::become_another).of_root(RIGHT),
    Attempt::new("become root", kernel::become_root).of_root(RIGHT),
    Attempt::new("take a capability", kernel::capabilities).of_root(RIGHT),
    Attempt::new("reach the ports of devices", kernel::ports).of_root(RIGHT),
    Attempt::new("load a kernel module", kernel::load_module).of_root(RIGHT),
    Attempt::new("make a BPF map", kernel::bpf).of_root("`unprivileged_bpf_disabled`"),
    Attempt::new("count events of the processor", kernel::perf)
        .up_to("kernel/perf_event_paranoid", 2),
    Attempt::new("make an io_uring", kernel::ring).up_to("kernel/io_uring_disabled", 0),
    Attempt::new("handle page faults", kernel::fault_handler),
    Attempt::new("add a key to a keyring", kernel::add_key),
    Attempt::new("see the session's keyring", kernel::session_keys),
    Attempt::new("see the table of segments", kernel::descriptor_table),
    // --- other programs, which may take its place
    Attempt::new("execute a shell", processes::shell),
    Attempt::new("execute itself again", processes::itself),
    Attempt::new(
        "execute a program that is in no file",
        processes::from_memory,
    ),
    Attempt::new("execute a set-user-ID program", processes::set_user_id),
];
