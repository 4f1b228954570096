/// One member of an archive, without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As the archive has it: not checked, not made plain.
    pub name: Vec<u8>,
    pub kind: MemberKind,
    /// Permission bits, with set-user-id and its like.
    pub mode: u32,
    pub mtime_ns: i64,
    /// Bytes of data that follow; 0 for all but files.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    File,
    Folder,
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of an earlier member.
    HardLink {
        target: Vec<u8>,
    },
    /// What it is, for people: [`FIFO`], or another kind.
    Special(&'static str),
}

/// The kind of a named pipe.
pub const FIFO: &str = "a FIFO";
