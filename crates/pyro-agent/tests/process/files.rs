//! Requests about files, as a host makes them.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use pyro_wire::Bytes;
use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::ExecControl;
use pyro_wire::fault::Fault;
use pyro_wire::files::{
    Change, ChangeReply, Diff, DiffEntry, DiffEvent, Entry, Export, ExportEvent, List, ListEvent,
    Meta, Read, ReadEvent, Stamp,
};
use pyro_wire::frame::{self, Kind};
use pyro_wire::session::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use crate::agent::{Agent, LIMIT};

/// Fifty thousand files take ten seconds alone, and a minute and more on a disk that others write to.
const CHANGE_LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    text.as_ref().to_vec().into()
}

/// A change whose archive is below the workspace itself.
pub(crate) fn change() -> Change {
    Change::default()
}

pub(crate) fn baseline() -> Change {
    Change {
        baseline: true,
        ..Change::default()
    }
}

impl Agent {
    pub(crate) async fn open(&self, request: &AgentRequest) -> Stream {
        let mut stream = self.opener.open().await.unwrap();
        frame::write_message(&mut stream, request).await.unwrap();
        stream
    }

    pub(crate) async fn list(&self, path: &str, recursive: bool) -> Result<Vec<Entry>, Fault> {
        let path = bytes(path);
        let request = AgentRequest::List(List { path, recursive });
        let mut stream = self.open(&request).await;
        let mut all = Vec::new();
        loop {
            let event = timeout(LIMIT, frame::read_message(&mut stream)).await;
            match event.unwrap().unwrap() {
                ListEvent::Entries(entries) => all.extend(entries),
                ListEvent::End => return Ok(all),
                ListEvent::Failed(fault) => return Err(fault),
            }
        }
    }

    pub(crate) async fn read(
        &self,
        path: impl AsRef<[u8]>,
        offset: u64,
        length: u64,
    ) -> Result<(Meta, Vec<u8>), Fault> {
        let path = bytes(path);
        let request = AgentRequest::Read(Read {
            path,
            offset,
            length,
        });
        let mut stream = self.open(&request).await;
        let (mut found, mut content) = (None, Vec::new());
        loop {
            let frame = timeout(LIMIT, frame::read(&mut stream)).await.unwrap();
            let frame = frame.unwrap().unwrap();
            if frame.kind == Kind::Output {
                content.extend(frame.body);
                continue;
            }
            match frame.message().unwrap() {
                ReadEvent::Found { meta, .. } => found = Some(meta),
                ReadEvent::End => return Ok((found.unwrap(), content)),
                ReadEvent::Failed(fault) => return Err(fault),
            }
        }
    }

    pub(crate) async fn stamp(&self, path: &str) -> Stamp {
        let entries = self.list(path, false).await.unwrap();
        entries.into_iter().next().unwrap().stamp
    }

    pub(crate) async fn change(
        &self,
        request: Change,
        archive: &[u8],
    ) -> Result<(u64, u64, u64), Fault> {
        let mut stream = self.open(&AgentRequest::Change(request)).await;
        let (mut from, mut to) = tokio::io::split(&mut stream);
        let send = async {
            // A change that fails early reads no further.
            if frame::write_data(&mut to, Kind::Input, archive)
                .await
                .is_ok()
            {
                let _ = frame::write_message(&mut to, &ExecControl::InputEnd).await;
            }
        };
        let receive = frame::read_message(&mut from);
        let ((), reply) = timeout(CHANGE_LIMIT, async { tokio::join!(send, receive) })
            .await
            .unwrap();
        match reply.unwrap() {
            ChangeReply::Done {
                entries,
                bytes,
                removed,
            } => Ok((entries, bytes, removed)),
            ChangeReply::Failed(fault) => Err(fault),
        }
    }

    /// Waits until nothing is left of the way that the last change has gone.
    pub(crate) async fn settle(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.folder.state().join("change").exists() {
            assert!(Instant::now() < deadline, "the change is not cleaned up");
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn export(&self, path: &str) -> Result<(Vec<u8>, Vec<Bytes>), Fault> {
        let path = bytes(path);
        let mut stream = self.open(&AgentRequest::Export(Export { path })).await;
        let mut archive = Vec::new();
        loop {
            let frame = timeout(LIMIT, frame::read(&mut stream)).await.unwrap();
            let frame = frame.unwrap().unwrap();
            if frame.kind == Kind::Output {
                archive.extend(frame.body);
                continue;
            }
            match frame.message().unwrap() {
                ExportEvent::End { skipped, .. } => return Ok((archive, skipped)),
                ExportEvent::Failed(fault) => return Err(fault),
            }
        }
    }

    pub(crate) async fn diff(&self, content_limit: u64) -> Result<Differences, Fault> {
        let request = AgentRequest::Diff(Diff { content_limit });
        let mut stream = self.open(&request).await;
        let mut all = Differences::default();
        loop {
            let frame = timeout(LIMIT, frame::read(&mut stream)).await.unwrap();
            let frame = frame.unwrap().unwrap();
            if frame.kind == Kind::Output {
                let (entry, content) = all.entries.last_mut().unwrap();
                assert!(entry.content);
                content.extend(frame.body);
                continue;
            }
            match frame.message().unwrap() {
                DiffEvent::Entry(entry) => all.entries.push((entry, Vec::new())),
                DiffEvent::ContentEnd => all.ends += 1,
                DiffEvent::End { skipped } => {
                    all.skipped = skipped;
                    let with = all.entries.iter().filter(|(entry, _)| entry.content);
                    assert_eq!(with.count(), all.ends);
                    // What it remembers for the next time it writes down after it has answered.
                    let end = timeout(LIMIT, frame::read(&mut stream)).await.unwrap();
                    assert!(end.unwrap().is_none());
                    return Ok(all);
                }
                DiffEvent::Failed(fault) => return Err(fault),
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Differences {
    pub(crate) entries: Vec<(DiffEntry, Vec<u8>)>,
    pub(crate) skipped: Vec<Bytes>,
    ends: usize,
}

impl Differences {
    /// One line for each: `path: before -> after`, where a file is its mode and size.
    pub(crate) fn lines(&self) -> Vec<String> {
        let show = |meta: &Option<Meta>| match meta {
            None => "none".to_owned(),
            Some(meta) => {
                let mut text = format!("{:?} {:o}", meta.kind, meta.mode);
                if let Some(target) = &meta.target {
                    text = format!("Symlink {}", String::from_utf8_lossy(target));
                } else if meta.size > 0 {
                    text += &format!(" {}", meta.size);
                }
                text
            }
        };
        let entries = self.entries.iter();
        entries
            .map(|(entry, content)| {
                let path = String::from_utf8_lossy(&entry.path);
                let mut line = format!("{path}: {} -> {}", show(&entry.before), show(&entry.after));
                if entry.content {
                    line += &format!(" {:?}", String::from_utf8_lossy(content));
                }
                line
            })
            .collect()
    }
}

/// Builds an archive with a writer that is not the agent's own.
pub(crate) struct Tar {
    builder: tar::Builder<Vec<u8>>,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self {
            builder: tar::Builder::new(Vec::new()),
        }
    }

    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_with(name, 0o644, content)
    }

    pub(crate) fn file_with(mut self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        let mut header = header(tar::EntryType::Regular, mode);
        header.set_size(content.len() as u64);
        self.builder
            .append_data(&mut header, name, content)
            .unwrap();
        self
    }

    pub(crate) fn folder(mut self, name: &str, mode: u32) -> Self {
        let mut header = header(tar::EntryType::Directory, mode);
        self.builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
        self
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(tar::EntryType::Symlink, name, target)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(tar::EntryType::Link, name, target)
    }

    fn link(mut self, kind: tar::EntryType, name: &str, target: &str) -> Self {
        let mut header = header(kind, 0o777);
        self.builder.append_link(&mut header, name, target).unwrap();
        self
    }

    /// A member whose name nobody looks at.
    pub(crate) fn raw(mut self, name: &[u8], kind: tar::EntryType, link: &[u8]) -> Self {
        let mut header = header(kind, 0o644);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.builder.append(&header, std::io::empty()).unwrap();
        self
    }

    /// What the next member's header has no room for.
    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.builder.append_pax_extensions([(key, value)]).unwrap();
        self
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(1234);
    header.set_gid(1234);
    header.set_mtime(1_000_000_000);
    header.set_size(0);
    header
}

/// Reads an archive with a reader that is not the agent's own: name, kind, content or target.
pub(crate) fn members(archive: &[u8]) -> Vec<(String, tar::EntryType, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            let mut content = Vec::new();
            match entry.link_name_bytes() {
                Some(target) => content = target.into_owned(),
                None => {
                    entry.read_to_end(&mut content).unwrap();
                }
            }
            (name, kind, content)
        })
        .collect()
}

/// All of a folder as text, to be compared: path, mode, content.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;

    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(folder)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let about = path.symlink_metadata().unwrap();
            let mode = about.permissions().mode() & 0o7777;
            if about.is_symlink() {
                let target = path.read_link().unwrap();
                all.push(format!("{name} -> {}", target.to_string_lossy()));
            } else if about.is_dir() {
                all.push(format!("{name}/ {mode:o}"));
                folders.push(path);
            } else if about.is_file() {
                let content = std::fs::read(&path).unwrap();
                let content = String::from_utf8_lossy(&content).into_owned();
                all.push(format!("{name} {mode:o} {content:?}"));
            } else {
                all.push(format!("{name} special"));
            }
        }
    }
    all.sort_unstable();
    all
}

/// Reads a stream to its end, whatever comes.
pub(crate) async fn drain(stream: &mut Stream) {
    let mut rest = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
}
