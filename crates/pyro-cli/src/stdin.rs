//! Whether somebody put something into standard input, seen without reading it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Devices, `/dev/null` above all, are what programs get for want of an input.
pub(crate) fn has_data() -> bool {
    has_data_in(io::stdin())
}

fn has_data_in(input: impl AsFd) -> bool {
    let input = input.as_fd();
    let Ok(file) = input.try_clone_to_owned().map(File::from) else {
        return false;
    };
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        return metadata.len() > 0;
    }
    let mut seen = [PollFd::new(input, PollFlags::POLLIN)];
    (kind.is_fifo() || kind.is_socket())
        && poll(&mut seen, PollTimeout::ZERO).is_ok()
        && (seen[0].revents()).is_some_and(|found| found.contains(PollFlags::POLLIN))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_pipe_with_something_in_it_is_seen_and_stays_as_it_is() {
        let (reads, mut writes) = io::pipe().unwrap();
        assert!(!has_data_in(&reads));
        writes.write_all(b"x").unwrap();
        assert!(has_data_in(&reads) && has_data_in(&reads));
        let (reads, writes) = io::pipe().unwrap();
        drop(writes);
        assert!(!has_data_in(reads), "it is at its end");
        assert!(!has_data_in(File::open("/dev/null").unwrap()));
    }
}
