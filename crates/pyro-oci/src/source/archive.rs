//! A tar file that is read in place: where each member lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use pyro_transfer::archive::{ArchiveReader, MemberKind};

use super::unpacked::Room;
use crate::OciError;
use crate::blob::Blob;

/// Images have a few hundred.
const MOST_MEMBERS: usize = 100_000;

/// How many links may lead to a member: Docker writes one where two layers are the same.
const MOST_LINKS: usize = 8;

/// What files begin with that are compressed as images are not, and what unpacks them.
const COMPRESSED: [(&[u8], &str); 2] = [(&[0xfd, b'7', b'z', b'X', b'Z'], "xz"), (b"BZh", "bzip2")];

#[derive(Debug)]
pub(super) struct Archive {
    file: Arc<File>,
    members: HashMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link { target: String },
}

impl Archive {
    /// One that is compressed is unpacked to a file without a name first, as members are read out of their order.
    pub(super) fn open(path: &Path, room: &Room<'_>) -> Result<Self, OciError> {
        let unreadable = |source| OciError::Path {
            path: path.to_owned(),
            source,
        };
        let no_image = |why: String| OciError::NoImage {
            path: path.to_owned(),
            why,
        };
        let file = File::open(path).map_err(unreadable)?;
        let file = Arc::new(room.unpacked(file, path)?);
        let counting = Counting {
            file: &file,
            read: 0,
        };
        let mut start = [0; 5];
        let all = Blob {
            file: Arc::clone(&file),
            offset: 0,
            size: start.len() as u64,
        };
        let _ = all.reader().read(&mut start).map_err(unreadable)?;
        if let Some((_, tool)) = COMPRESSED
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
        {
            return Err(no_image(format!(
                "it is compressed; unpack it first, with `{tool} -d`"
            )));
        }
        let mut members = HashMap::new();
        let mut reader = ArchiveReader::new(counting);
        loop {
            let member = reader
                .next_member()
                .map_err(|error| no_image(format!("it is no tar archive: {}", chain(&error))))?;
            let Some(member) = member else { break };
            let offset = reader.position();
            let found = match member.kind {
                MemberKind::File if reader.parts().is_none() => Member::File {
                    offset,
                    size: member.size,
                },
                MemberKind::Symlink { target } => Member::Link {
                    target: below(parent(&plain(&member.name)), &plain(&target)),
                },
                MemberKind::HardLink { target } => Member::Link {
                    target: plain(&target),
                },
                _ => continue,
            };
            members.insert(plain(&member.name), found);
            if members.len() > MOST_MEMBERS {
                return Err(no_image(format!("it has more than {MOST_MEMBERS} members")));
            }
        }
        Ok(Self { file, members })
    }

    pub(super) fn find(&self, path: &str) -> Result<Option<Blob>, OciError> {
        let mut path = plain(path.as_bytes());
        for _ in 0..MOST_LINKS {
            match self.members.get(&path) {
                None => return Ok(None),
                Some(Member::Link { target }) => path.clone_from(target),
                Some(&Member::File { offset, size }) => {
                    return Ok(Some(Blob {
                        file: Arc::clone(&self.file),
                        offset,
                        size,
                    }));
                }
            }
        }
        Ok(None)
    }
}

/// Whatever a tar file calls it: `./a/b`, `a//b`, `a/b`.
fn plain(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let words = name.split('/').filter(|word| !matches!(*word, "" | "."));
    words.collect::<Vec<_>>().join("/")
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Where a link leads that lies in a folder.
fn below(folder: &str, target: &str) -> String {
    let mut words: Vec<&str> = folder.split('/').filter(|word| !word.is_empty()).collect();
    for word in target.split('/') {
        match word {
            ".." => drop(words.pop()),
            word => words.push(word),
        }
    }
    words.join("/")
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

struct Counting<'a> {
    file: &'a File,
    read: u64,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.read)?;
        self.read += count as u64;
        Ok(count)
    }
}
