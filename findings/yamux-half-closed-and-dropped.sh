#!/usr/bin/env bash
# The Rust crate yamux 0.14.1: many streams in one connection.
#
# Expected: once one side has closed its stream and dropped it, the other side is told by then, or at the
# latest when it writes. Dropping alone is told at once, by a reset.
# Seen: the polite way is the one that leaves the peer in the dark. Closing sends a FIN, which ends the peer's
# reading only; dropping after that sends nothing, and what the peer writes from then on is taken and thrown
# away without a word. Such streams stay with the peer.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "half-closed"
version = "0.0.0"
edition = "2024"

[dependencies]
yamux = "=0.14.1"
futures = "=0.3.34"
tokio = { version = "=1.54.1", features = ["io-util", "rt", "macros", "time", "sync"] }
tokio-util = { version = "=0.7.20", features = ["compat"] }
TOML

cat >src/main.rs <<'RUST'
use std::future::poll_fn;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::compat::TokioAsyncReadCompatExt;
use yamux::{Config, Connection, Mode, Stream};

const A_WHILE: Duration = Duration::from_secs(1);

/// Both ends of one stream, of a session that both sides keep going.
async fn stream() -> (Stream, Stream) {
    let (here, there) = tokio::io::duplex(1 << 20);
    let mut here = Connection::new(here.compat(), Config::default(), Mode::Client);
    let mut there = Connection::new(there.compat(), Config::default(), Mode::Server);
    let mut opened = poll_fn(|task| here.poll_new_outbound(task)).await.unwrap();
    tokio::spawn(async move { poll_fn(|task| here.poll_next_inbound(task)).await.map(|_| ()) });
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let accepted = poll_fn(|task| there.poll_next_inbound(task)).await;
        let _ = tell.send(accepted.unwrap().unwrap());
        poll_fn(|task| there.poll_next_inbound(task)).await.map(|_| ())
    });
    opened.write_all(b"request").await.unwrap();
    let mut peer = told.await.unwrap();
    peer.read_exact(&mut [0; 7]).await.unwrap();
    (opened, peer)
}

/// Reads to the end and waits a little.
async fn is_told(peer: &mut Stream) -> bool {
    let _ = timeout(A_WHILE, peer.read(&mut [0; 1])).await;
    sleep(A_WHILE).await;
    peer.is_closed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (opened, mut peer) = stream().await;
    drop(opened);
    println!("dropped: the peer knows: {}", is_told(&mut peer).await);

    let (mut opened, mut peer) = stream().await;
    opened.close().await.unwrap();
    drop(opened);
    println!("closed, then dropped: the peer knows: {}", is_told(&mut peer).await);
    peer.write_all(&[0; 100 * 1024]).await.unwrap();
    peer.flush().await.unwrap();
    println!("100 KiB later: the peer knows: {}", is_told(&mut peer).await);
}
RUST

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$folder/target}
cargo build --quiet || {
    echo "could not be tried: cargo has not built it" >&2
    exit 2
}
cargo run --quiet | tee output
diff - output <<'TEXT' || {
dropped: the peer knows: true
closed, then dropped: the peer knows: false
100 KiB later: the peer knows: false
TEXT
    echo "changed: see above" >&2
    exit 1
}
