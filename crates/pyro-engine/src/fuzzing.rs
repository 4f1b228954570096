//! Ways into the parsers of a guest's bytes, for the targets in `fuzz/` and nobody else.

use std::ffi::OsStr;
use std::io::Write;
use std::ops::ControlFlow;

use pyro_wire::shells::Size;
use tempfile::TempDir;

use crate::shells::ScreenModes;
use crate::shells::screen;
use crate::workspace::archive::ArchiveReader;
use crate::workspace::export::Destination;
use crate::workspace::seed::{self, Source};

/// In memory, where that is possible: a target makes thousands of files in a second.
const ROOM: &str = "/dev/shm";

/// Unpacks an archive as an export does, and checks that nothing came out beside its path.
pub fn export_archive(bytes: &[u8]) {
    let room = TempDir::new_in(ROOM).expect("a folder");
    let path = room.path().join("out");
    let mut destination =
        Destination::prepare(&path, OsStr::new("name"), None, false).expect("a free path");
    let unpacked = destination.unpack(bytes, &mut |_, _| ControlFlow::Continue(()));
    match unpacked {
        Ok(_) => drop(destination.commit()),
        Err(_) => drop(destination),
    }
    let names: Vec<_> = std::fs::read_dir(room.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(names.iter().all(|name| name == "out"), "{names:?}");
}

/// Sends an archive of the host as a seed is sent, and reads what was sent; the same bytes are read as
/// the other files that a source may have.
pub fn source(bytes: &[u8]) {
    seed::try_files(bytes);
    let mut file = tempfile::Builder::new()
        .suffix(".tar")
        .tempfile_in(ROOM)
        .expect("a file");
    file.write_all(bytes).expect("written");
    let watch = &mut |_| ControlFlow::Continue(());
    let source = Source::open(file.path(), None).expect("a source");
    let Ok(survey) = source.survey(watch) else {
        return;
    };
    let mut sent = Vec::new();
    if let Ok(packed) = source.pack(&survey, None, &mut sent, watch) {
        let mut reader = ArchiveReader::new(sent.as_slice());
        let mut size = 0;
        while let Some(member) = reader.next().expect("a whole archive") {
            size += member.size;
        }
        assert_eq!(size, packed.whole.bytes);
    }
}

/// Reads what a terminal was told, in two parts, on a screen whose size the first bytes say.
pub fn terminal(bytes: &[u8]) {
    let [cols, rows, cut, text @ ..] = bytes else {
        return;
    };
    let size = Size {
        cols: (*cols).into(),
        rows: (*rows).into(),
    };
    let text = String::from_utf8_lossy(text);
    let middle = text.chars().count() * usize::from(*cut) / 256;
    let cut = text.char_indices().nth(middle).map_or(0, |(at, _)| at);
    let (before, part) = text.split_at(cut);
    let seen = screen::seen(size, before, part);
    assert!(seen.chars().all(|c| c == '\n' || !c.is_control()));
    let _ = screen::repaint(size, part);
    let mut modes = ScreenModes::default();
    modes.feed(part.as_bytes());
    let undo = modes.undo();
    modes.feed(undo.as_bytes());
    assert_eq!(modes.repeat(), "");
}
