//! What `mke2fs` is told when it makes a guest's disk of a folder.

/// What a guest sees; the image is sparse, so it costs nothing.
pub const SIZE: u64 = 16 << 30;

/// How much of a disk there is for each file: a disk with more files must be larger.
pub const BYTES_PER_FILE: u64 = match u64::from_str_radix(PER_FILE, 10) {
    Ok(bytes) => bytes,
    Err(_) => panic!("it is no number"),
};

/// As `mke2fs` is told it.
const PER_FILE: &str = "16384";

/// For the file that `MKE2FS_CONFIG` names. The image shall not depend on the host's, but without any
/// there are warnings.
pub const CONFIG: &str = "[fs_types]\next4 = {\nfeatures = has_journal\n}\n";

/// All but the folder (`-d`) and the file, which must be one hole of the right size. There
/// `mke2fs` sees that the inode tables are zero, says so in the group descriptors, and leaves
/// them holes.
///
/// Features are named one by one, so that the image does not depend on the host. All of them are
/// known to Linux 6.1 and to the `e2fsck` of Debian 12. With `lazy_itable_init` the guest's kernel
/// would zero the inode tables in the background, into each machine's own disk. The journal of a
/// fresh file is zero already.
pub const ARGUMENTS: [&str; 20] = [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    "4096",
    "-I",
    "256",
    "-i",
    PER_FILE,
    "-m",
    "0",
    "-L",
    "pyro-root",
    "-O",
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,\
     sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum",
    "-E",
    "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1",
    "-J",
    "size=64",
];
