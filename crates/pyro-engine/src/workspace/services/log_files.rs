//! Logs of services that have ended, as files of this host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use pyro_api::Stream;
use pyro_wire::service::LOG_BYTES;
use pyro_wire::shim::{SERVICES_FOLDER, SERVICES_INDEX};

use super::agent::Log;
use crate::machine::folder::VmFolder;
use crate::private_file;
use crate::random::random_hex;
use crate::store::StoredWorkspace;
use crate::workspace::folder::WorkspaceFolder;

impl WorkspaceFolder {
    fn services(&self) -> PathBuf {
        self.path().join(SERVICES_FOLDER)
    }

    /// Keeps the log of a service that has ended.
    pub(crate) fn keep_log(&self, instance: u64, log: &Log) -> io::Result<()> {
        for (stream, bytes) in [(Stream::Stdout, &log.stdout), (Stream::Stderr, &log.stderr)] {
            if !bytes.is_empty() {
                write_whole(&self.services(), &file_name(instance, stream), bytes)?;
            }
        }
        Ok(())
    }

    /// Moves what a VM that has ended left to where it stays.
    pub(crate) fn take_logs(&self, vm: &VmFolder) {
        let from = vm.join(SERVICES_FOLDER);
        let Ok(entries) = fs::read_dir(&from) else {
            return;
        };
        let _ = make_folder(&self.services());
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name != SERVICES_INDEX {
                let _ = fs::rename(entry.path(), self.services().join(name));
            }
        }
        let _ = fs::remove_dir_all(from);
    }

    /// What is kept of a log, wherever it is by now.
    pub(crate) fn kept_log(&self, vm: &VmFolder, instance: u64) -> io::Result<Log> {
        let read = |stream| -> io::Result<Vec<u8>> {
            let name = file_name(instance, stream);
            let places = [self.services(), vm.join(SERVICES_FOLDER)];
            for place in places {
                match File::open(place.join(&name)) {
                    Ok(file) => {
                        let mut bytes = Vec::new();
                        file.take(LOG_BYTES as u64).read_to_end(&mut bytes)?;
                        return Ok(bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // Nothing was written.
            Ok(Vec::new())
        };
        Ok(Log {
            stdout: read(Stream::Stdout)?,
            stderr: read(Stream::Stderr)?,
            truncated: false,
        })
    }

    /// Removes the logs of services that have no record any more.
    pub(crate) fn remove_unknown_logs(&self, stored: &StoredWorkspace) {
        let wanted: BTreeSet<String> = stored
            .services
            .values()
            .map(|service| format!("{}.", service.instance))
            .collect();
        for entry in fs::read_dir(self.services())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !wanted
                .iter()
                .any(|instance| name.starts_with(instance.as_str()))
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn file_name(instance: u64, stream: Stream) -> String {
    let kind = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    format!("{instance}.{kind}")
}

/// Several processes may notice the same end.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    make_folder(folder)?;
    let new = folder.join(format!(".new-{}", random_hex(6)?));
    let written = private_file::create(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&new, folder.join(name)));
    written.inspect_err(|_| drop(fs::remove_file(&new)))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
