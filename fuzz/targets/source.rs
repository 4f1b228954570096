//! An archive of the host on its way into a guest, as a seed is sent: what was sent is whole. The same
//! bytes are read as the small files that a source may have.

#![no_main]

use std::io::Write;
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use pyro_transfer::archive::ArchiveReader;
use pyro_transfer::fuzzing;
use pyro_transfer::import::Source;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::source_files(bytes);
    // In memory, as a target makes thousands of files in a second.
    let mut file = tempfile::Builder::new()
        .suffix(".tar")
        .tempfile_in("/dev/shm")
        .unwrap();
    file.write_all(bytes).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    let source = Source::open(file.path(), None).expect("a source");
    let Ok(survey) = source.survey(go_on) else {
        return;
    };
    let mut sent = Vec::new();
    if let Ok(packed) = source.pack(&survey, None, &mut sent, go_on) {
        let mut reader = ArchiveReader::new(sent.as_slice());
        let mut size = 0;
        while let Some(member) = reader.next_member().expect("a whole archive") {
            size += member.size;
        }
        assert_eq!(size, packed.whole.bytes);
    }
});
