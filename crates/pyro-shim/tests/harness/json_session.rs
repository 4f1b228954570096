//! A program in a guest that answers each line with one line of JSON.

use std::os::unix::net::UnixStream;

use pyro_wire::frame::Kind;
use serde_json::Value;

use super::{Harness, exec, input, receive};

pub(crate) struct JsonSession {
    agent: UnixStream,
    heard: Vec<u8>,
}

impl JsonSession {
    pub(crate) fn start(harness: &Harness, program: &str) -> Self {
        let mut agent = harness.agent();
        exec(&mut agent, program);
        Self {
            agent,
            heard: Vec::new(),
        }
    }

    pub(crate) fn ask(&mut self, question: &str) -> Value {
        input(&mut self.agent, format!("{question}\n").as_bytes());
        let mut errors = Vec::new();
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let answer: Vec<u8> = self.heard.drain(..=end).collect();
                return serde_json::from_slice(&answer).unwrap();
            }
            match receive(&mut self.agent) {
                Some(frame) if frame.kind == Kind::Output => self.heard.extend(frame.body),
                Some(frame) if frame.kind == Kind::ErrorOutput => errors.extend(frame.body),
                Some(frame) if frame.kind == Kind::Message => {}
                _ => panic!(
                    "no answer to {question}: {}",
                    String::from_utf8_lossy(&errors)
                ),
            }
        }
    }
}
