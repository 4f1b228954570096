//! Requests about files: how long each takes, and how much of it there was.

use std::path::Path;
use std::time::{Duration, Instant};

use pyro_wire::agent::{AgentRequest, Freeze};
use pyro_wire::exec::ExecControl;
use pyro_wire::files::{
    Change, ChangeReply, Diff, DiffEvent, Export, ExportEvent, List, ListEvent, Read, ReadEvent,
};
use pyro_wire::frame::{self, Frame, Kind};
use pyro_wire::session::Opener;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::{DriveError, ask};

/// Carries out one action; `false` when it is not about files.
pub(crate) async fn act(opener: &Opener, verb: &str, rest: &str) -> Result<bool, DriveError> {
    let path = || rest.as_bytes().to_vec().into();
    match verb {
        "put" => change(opener, rest, false).await?,
        "baseline" => change(opener, rest, true).await?,
        "list" => {
            let (path, recursive) = (path(), true);
            count(opener, &AgentRequest::List(List { path, recursive })).await?;
        }
        "read" => {
            let (path, offset, length) = (path(), 0, u64::MAX);
            let request = Read {
                path,
                offset,
                length,
            };
            count(opener, &AgentRequest::Read(request)).await?;
        }
        "export" => count(opener, &AgentRequest::Export(Export { path: path() })).await?,
        "diff" => {
            for _ in 0..rest.parse().unwrap_or(1) {
                let content_limit = 1 << 20;
                count(opener, &AgentRequest::Diff(Diff { content_limit })).await?;
            }
        }
        "freeze" => {
            let thaw_after_ms = rest.parse().unwrap_or(1000);
            let request = AgentRequest::Freeze(Freeze { thaw_after_ms });
            println!("{:?}", ask(opener, &request).await?);
        }
        "thaw" => println!("{:?}", ask(opener, &AgentRequest::Thaw).await?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Sends a tar archive of the host.
async fn change(opener: &Opener, archive: &str, baseline: bool) -> Result<(), DriveError> {
    let mut archive = File::open(Path::new(archive)).await?;
    let began = Instant::now();
    let request = AgentRequest::Change(Change {
        baseline,
        ..Change::default()
    });
    let mut stream = opener.open().await?;
    frame::write_message(&mut stream, &request).await?;
    let mut chunk = vec![0; frame::DATA_CHUNK];
    loop {
        let count = archive.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        frame::write_data(&mut stream, Kind::Input, &chunk[..count]).await?;
    }
    frame::write_message(&mut stream, &ExecControl::InputEnd).await?;
    let sent = began.elapsed();
    let reply: ChangeReply = frame::read_message(&mut stream).await?;
    println!("{reply:?}; sent after {sent:.1?}");
    if let ChangeReply::Done { entries, bytes, .. } = reply {
        let seconds = began.elapsed().as_secs_f64();
        let (files, megabytes) = (entries as f64, bytes as f64 / 1e6);
        println!(
            "{:.0} entries/s, {:.1} MB/s",
            files / seconds,
            megabytes / seconds
        );
    }
    Ok(())
}

/// Asks for something and counts what comes.
async fn count(opener: &Opener, request: &AgentRequest) -> Result<(), DriveError> {
    let began = Instant::now();
    let mut stream = opener.open().await?;
    frame::write_message(&mut stream, request).await?;
    let (mut messages, mut entries, mut bytes) = (0, 0, 0_u64);
    let mut first: Option<Duration> = None;
    while let Some(frame) = frame::read(&mut stream).await? {
        first.get_or_insert_with(|| began.elapsed());
        match frame.kind {
            Kind::Message => {
                messages += 1;
                entries += entries_in(&frame);
            }
            _ => bytes += frame.body.len() as u64,
        }
    }
    let took = began.elapsed();
    let rate = bytes as f64 / 1e6 / took.as_secs_f64();
    println!(
        "{messages} messages, {entries} entries, {bytes} bytes in {took:.1?} ({rate:.1} MB/s), \
         the first after {:.1?}",
        first.unwrap_or_default()
    );
    Ok(())
}

fn entries_in(frame: &Frame) -> usize {
    if let Ok(ListEvent::Entries(entries)) = frame.message() {
        return entries.len();
    }
    if let Ok(DiffEvent::Entry(_)) = frame.message() {
        return 1;
    }
    // A failure looks the same in all of them.
    if let Ok(ExportEvent::Failed(fault)) = frame.message() {
        println!("{fault:?}");
    }
    if let Ok(ReadEvent::Found { meta, .. }) = frame.message() {
        println!("{meta:?}");
    }
    0
}
