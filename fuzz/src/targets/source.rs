//! An archive of the host on its way into a guest, as a seed is sent: what was sent is whole. The same
//! bytes are read as the small files that a source may have.

use std::io::Write;
use std::ops::ControlFlow;

use pyro_transfer::archive::ArchiveReader;
use pyro_transfer::fuzzing;
use pyro_transfer::import::Source;

use super::archive;
use crate::seeds::{Seed, SeedError};
use crate::{Target, checksums};

pub(crate) const TARGET: Target = Target {
    name: "source",
    play,
    seeds,
    mend: checksums::of_archive,
    inputs: 1_500,
};

fn play(bytes: &[u8]) -> bool {
    let is_file = fuzzing::source_files(bytes);
    // In memory, as a target makes thousands of files in a second.
    let mut file = tempfile::Builder::new()
        .suffix(".tar")
        .tempfile_in("/dev/shm")
        .expect("a file");
    file.write_all(bytes).expect("written");
    let go_on = &mut |_| ControlFlow::Continue(());
    let source = Source::open(file.path(), None).expect("a source");
    let Ok(survey) = source.survey(go_on) else {
        return is_file;
    };
    let mut sent = Vec::new();
    let Ok(packed) = source.pack(&survey, None, &mut sent, go_on) else {
        return is_file;
    };
    let mut reader = ArchiveReader::new(sent.as_slice());
    let mut size = 0;
    while let Some(member) = reader.next_member().expect("a whole archive") {
        size += member.size;
    }
    assert_eq!(size, packed.whole.bytes);
    true
}

/// Archives, and each of the small files.
fn seeds() -> Result<Vec<Seed>, SeedError> {
    let mut seeds = archive::seeds()?;
    seeds.extend([
        Seed::new("index-2", index(2, &[("", "a/b"), ("", "a/c.log"), ("", "d")])),
        Seed::new("index-4", index(4, &[("\0", "a/b"), ("\x01", "c.log"), ("\x07", "d")])),
        Seed::new(
            "config",
            "[core]\n\tbare = false ; no\n\tworktree = \"../a \\\"b\\\"\" # yes\n\n[Branch \"x\"]\nmerge\n\
             [core]\n  worktree = ../c\\\n  d\n",
        ),
        Seed::new(
            "ignored",
            "# comment\n*.log\n!keep.log\n/build/\na/**/x\n\\#x\\ \n!b.c\n[a-c].[!o]  \n",
        ),
    ]);
    Ok(seeds)
}

/// An index of git, whose entries have what a name shares with the one before and the rest of it.
fn index(version: u32, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"DIRC".to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend((entries.len() as u32).to_be_bytes());
    for (shared, name) in entries {
        let begin = bytes.len();
        bytes.extend([7; 40 + 20]);
        bytes.extend((name.len() as u16).to_be_bytes());
        bytes.extend([shared.as_bytes(), name.as_bytes(), b"\0"].concat());
        while version < 4 && !(bytes.len() - begin).is_multiple_of(8) {
            bytes.push(0);
        }
    }
    bytes
}
