//! What a VMM that was taken over may say to its shim, by the three sockets that lead there.

use super::call::{call, close};
use super::given::Given;

/// More than any buffer there is.
const BYTES: usize = 32 << 20;

/// How often a socket that takes nothing more is tried again, and after how long.
const PATIENCE: usize = 100;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Says it all, as far as somebody listens.
pub(super) fn make() {
    let given = Given::here();
    let deep = "[".repeat(200_000) + "\n";
    let line = "x".repeat(1 << 20);
    let event = r#"{"event": "STOP"}"#.to_owned() + "\r\n";
    let job =
        r#"{"event": "BLOCK_JOB_COMPLETED", "data": {"device": 7, "error": {}}}"#.to_owned() + "\n";
    let answer = r#"{"return": {"running": false, "status": "\u001b]0;owned\u0007"}, "id": -1e308}"#
        .to_owned() + "\n";
    let escapes = "\x1b]0;owned\x07\x1b[2J\x1b[31mKernel panic\x1b[0m\u{202e}\n".to_owned();
    let zeroes = "\0".repeat(4096);
    let ones = String::from_utf8_lossy(&[0xff; 64]).into_owned();
    for (socket, words) in [
        (given.console, vec![&escapes, &line, &zeroes]),
        (given.agent, vec![&ones, &zeroes, &line, &deep]),
        (given.monitor, vec![&event, &job, &answer, &deep, &line]),
    ] {
        let Some(socket) = socket else { continue };
        for words in words {
            repeat(socket, words.as_bytes());
        }
        // The monitor's end is QEMU's.
        if given.monitor != Some(socket) {
            close(socket);
        }
    }
}

fn repeat(socket: i32, words: &[u8]) {
    let (mut said, mut refused) = (0, 0);
    while said < BYTES && refused < PATIENCE {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match call!(SYS_sendto, socket, words.as_ptr(), words.len(), flags, 0, 0) {
            Ok(count) => said += count as usize,
            Err(stopped) if stopped.errno == nix::errno::Errno::EAGAIN => {
                refused += 1;
                std::thread::sleep(PAUSE);
            }
            Err(_) => return,
        }
    }
}
