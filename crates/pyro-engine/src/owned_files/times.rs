//! What `mke2fs` 1.47.0 loses of when a file was changed: fractions of a second, and what is after 2038.
//! It writes the lower half of both, and `debugfs` is told the rest here.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Writes a command for each of those below a folder. What cannot be looked at keeps what it has, and so
/// does a name of several lines, as commands are lines.
pub(super) fn write_commands(
    root: &Path,
    to: &mut impl Write,
    wanted: &mut dyn FnMut() -> ControlFlow<()>,
) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if wanted().is_break() {
            break;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap_or(&path).as_os_str();
            let rest = rest(found.mtime(), found.mtime_nsec());
            if rest != 0 && !name.as_bytes().contains(&b'\n') {
                to.write_all(b"set_inode_field \"/")?;
                for byte in name.as_bytes() {
                    let once_or_twice = if *byte == b'"' { 2 } else { 1 };
                    to.write_all(&[*byte; 2][..once_or_twice])?;
                }
                writeln!(to, "\" mtime_extra {rest:#x}")?;
            }
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    to.flush()
}

/// As ext4 keeps it beside 32 bits of seconds with a sign: two more bits of those, and nanoseconds.
fn rest(seconds: i64, nanoseconds: i64) -> i64 {
    let lower = i64::from(seconds as i32);
    (nanoseconds << 2) | (((seconds - lower) >> 32) & 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_so_that_a_tool_takes_them_for_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plain", "a \"b\" c", "two\nlines"] {
            fs::write(folder.path().join(name), "").unwrap();
            let file = fs::File::options()
                .write(true)
                .open(folder.path().join(name));
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1500);
            file.unwrap().set_modified(time).unwrap();
        }
        let mut commands = Vec::new();
        let mut wanted = || ControlFlow::Continue(());
        write_commands(folder.path(), &mut commands, &mut wanted).unwrap();
        let commands = String::from_utf8(commands).unwrap();
        let mut commands: Vec<&str> = commands.lines().collect();
        commands.sort_unstable();
        assert_eq!(
            commands,
            [
                "set_inode_field \"/a \"\"b\"\" c\" mtime_extra 0x77359400",
                "set_inode_field \"/plain\" mtime_extra 0x77359400",
            ]
        );
    }

    #[test]
    fn what_32_bits_of_seconds_hold_needs_no_more() {
        assert_eq!(rest(0, 0), 0);
        assert_eq!(rest(-1, 0), 0);
        assert_eq!(rest(i64::from(i32::MAX), 0), 0);
        assert_eq!(rest(i64::from(i32::MAX) + 1, 0), 1);
        assert_eq!(rest(5_000_000_000, 1), 1 | 1 << 2);
        assert_eq!(rest(1_700_000_000, 123_456_789), 123_456_789 << 2);
    }
}
