//! A guest's archive on its way into a folder of the host, as an export unpacks it. Nothing comes out
//! beside its path.

#![no_main]

use std::ffi::OsStr;
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use pyro_transfer::export::Destination;
use tempfile::TempDir;

fuzz_target!(|bytes: &[u8]| {
    // In memory, as a target makes thousands of files in a second.
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let path = folder.path().join("out");
    let mut destination =
        Destination::prepare(&path, OsStr::new("name"), None, false).expect("a free path");
    let unpacked = destination.unpack(bytes, &mut |_| ControlFlow::Continue(()));
    match unpacked {
        Ok(_) => drop(destination.commit()),
        Err(_) => drop(destination),
    }
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "out"), "{names:?}");
});
