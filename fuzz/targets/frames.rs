//! What a guest's agent answers: frames, and every message that the host reads from them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_wire::agent::AgentReply;
use pyro_wire::exec::ExecEvent;
use pyro_wire::files::{ChangeReply, DiffEvent, ExportEvent, ListEvent, ReadEvent};
use pyro_wire::frame;
use tokio::runtime::Builder;

fuzz_target!(|bytes: &[u8]| {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut from = bytes;
        while let Ok(Some(frame)) = frame::read(&mut from).await {
            let _ = frame.message::<AgentReply>();
            let _ = frame.message::<ExecEvent>();
            let _ = frame.message::<ListEvent>();
            let _ = frame.message::<ReadEvent>();
            let _ = frame.message::<ChangeReply>();
            let _ = frame.message::<ExportEvent>();
            let _ = frame.message::<DiffEvent>();
        }
    });
});
