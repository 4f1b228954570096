//! A chain of folders as one ext4 image, written by `mke2fs`. For a process inside, where its owners
//! are who they are in a guest.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use pyro_catalog::image;
use pyro_disk::Measure;

use super::chain;
use super::inside::host;
use super::report::Failure;
use super::times;

/// What an image is larger than its files by, at least.
const ROOM: u64 = 1 << 30;

/// What is known of a tool's words.
const KEPT: usize = 2000;

const POLL: Duration = Duration::from_millis(20);

/// Fills an empty file. `progress` gets how many bytes of all are written; returns how large it is.
pub(super) fn write(
    mke2fs: &Path,
    file: &Path,
    folders: &[&Path],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, Failure> {
    let disk = chain::mount(folders).map_err(host)?;
    let own = disk.parent().unwrap_or(Path::new("/"));
    let measure = pyro_disk::measure(&disk)?;
    let image = OpenOptions::new().write(true).open(file).map_err(host)?;
    let size = size(&measure);
    image.set_len(size).map_err(host)?;

    let config = own.join("mke2fs.conf");
    fs::write(&config, image::CONFIG).map_err(host)?;
    let said = own.join("said");
    let mut command = tool(mke2fs, &said).map_err(host)?;
    let root = fs::metadata(&disk).map_err(host)?;
    let owner = format!("root_owner={}:{}", root.uid(), root.gid());
    command
        .env("MKE2FS_CONFIG", &config)
        .args(image::ARGUMENTS.map(|word| OsString::from(word.replace("root_owner=0:0", &owner))))
        .arg("-d")
        .args([&disk, file]);
    let all = measure.bytes.max(1);
    Tool::start(command)?.finish(&said, &mut || {
        let written = image.metadata().map_or(0, |found| found.blocks() * 512);
        progress(written.min(all), all)
    })?;

    let mut command = tool(&mke2fs.with_file_name("debugfs"), &said).map_err(host)?;
    command.args(["-w", "-f", "-"]).arg(file);
    // It repeats each of them.
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut debugfs = Tool::start(command)?;
    let mut wanted = || progress(all, all);
    if let Some(commands) = debugfs.process.stdin.take() {
        let mut commands = BufWriter::new(commands);
        let mode = root.permissions().mode() & 0o7777;
        // One that ends before it has heard all says why.
        let _ = writeln!(commands, "set_inode_field / mode 04{mode:04o}")
            .and_then(|()| times::write_commands(&disk, &mut commands, &mut wanted));
    }
    debugfs.finish(&said, &mut wanted)?;
    Ok(size)
}

/// As large as the disk of any guest, or as what is in it needs.
fn size(measure: &Measure) -> u64 {
    const GIB: u64 = 1 << 30;
    let tenth_more = |bytes: u64| bytes.saturating_add(bytes / 10);
    let blocks = tenth_more(measure.bytes).saturating_add(ROOM);
    let tables = tenth_more(measure.files.saturating_mul(image::BYTES_PER_FILE));
    let needed = blocks.max(tables).max(image::SIZE);
    needed.div_ceil(GIB).saturating_mul(GIB)
}

/// A tool that says what it has to say into a file.
fn tool(program: &Path, said: &Path) -> io::Result<Command> {
    let said = File::create(said)?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said);
    Ok(command)
}

/// A tool at work, which ends with this.
struct Tool {
    process: Child,
    name: String,
}

impl Tool {
    fn start(mut command: Command) -> Result<Self, Failure> {
        Ok(Self {
            process: command.spawn().map_err(host)?,
            name: command.get_program().display().to_string(),
        })
    }

    /// Waits for its end, unless nobody wants it any more.
    fn finish(
        mut self,
        said: &Path,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let status = loop {
            if let Some(status) = self.process.try_wait().map_err(host)? {
                break status;
            }
            if wanted().is_break() {
                return Err(host(Errno::ECANCELED.into()));
            }
            std::thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        let words = fs::read(said).map_err(host)?;
        let words =
            String::from_utf8_lossy(&words[words.len().saturating_sub(KEPT)..]).into_owned();
        Err(Failure {
            errno: Some(errno(&words) as i32),
            causes: vec![format!("{} failed ({status}): {}", self.name, words.trim())],
        })
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the host said, as far as a tool passes it on.
fn errno(words: &str) -> Errno {
    if words.contains("No space left on device") {
        Errno::ENOSPC
    } else if words.contains("quota exceeded") {
        Errno::EDQUOT
    } else {
        Errno::EIO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_room_for_all_that_is_to_be_in_it() {
        let of = |files, bytes| {
            size(&Measure {
                files,
                names: files,
                bytes,
            })
        };
        assert_eq!(of(10, 1 << 30), 16 << 30);
        assert_eq!(of(10, 20 << 30), 23 << 30);
        assert_eq!(of(2_000_000, 0), 34 << 30);
    }

    #[test]
    fn a_full_disk_is_known_from_what_a_tool_says() {
        let said = "mke2fs: No space left on device while populating file system";
        assert_eq!(errno(said), Errno::ENOSPC);
        assert_eq!(errno("Disk quota exceeded while writing"), Errno::EDQUOT);
        assert_eq!(errno("something else"), Errno::EIO);
    }
}
