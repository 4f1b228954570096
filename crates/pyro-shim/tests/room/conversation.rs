//! A program in a guest that answers each line with one line of JSON.

use std::os::unix::net::UnixStream;

use pyro_wire::frame::Kind;
use serde_json::Value;

use super::{Room, exec, hear, input};

pub(crate) struct Conversation {
    line: UnixStream,
    heard: Vec<u8>,
}

impl Conversation {
    pub(crate) fn start(room: &Room, program: &str) -> Self {
        let mut line = room.line();
        exec(&mut line, program);
        Self {
            line,
            heard: Vec::new(),
        }
    }

    pub(crate) fn ask(&mut self, question: &str) -> Value {
        input(&mut self.line, format!("{question}\n").as_bytes());
        let mut errors = Vec::new();
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let answer: Vec<u8> = self.heard.drain(..=end).collect();
                return serde_json::from_slice(&answer).unwrap();
            }
            match hear(&mut self.line) {
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
