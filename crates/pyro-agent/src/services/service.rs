//! One service: its state, its logs, and the wish that it should end.

use std::sync::OnceLock;
use std::time::Instant;

use pyro_wire::service::{ServiceEnd, ServicePhase, ServiceState};
use tokio::sync::watch;

use super::log::Log;
use super::millis;
use crate::group::MemoryEvents;

pub(super) struct Service {
    pub(super) name: String,
    pub(super) instance: u64,
    pub(super) stdout: Log,
    pub(super) stderr: Log,
    /// Once it has begun.
    memory: OnceLock<MemoryEvents>,
    status: watch::Sender<Status>,
    /// Why it should end, once somebody wants that.
    wish: watch::Sender<Option<Wish>>,
}

#[derive(Clone, Debug)]
struct Status {
    phase: ServicePhase,
    pid: u32,
    ready: bool,
    not_ready: Option<String>,
    exit_code: Option<i32>,
    reason: Option<ServiceEnd>,
    oom_killed: bool,
    ended_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Somebody asked for it, or the one who started it has gone before it was ready.
    Stop,
    /// Everything ends.
    StopAll,
}

impl Service {
    pub(super) fn new(name: String, instance: u64) -> Self {
        Self {
            name,
            instance,
            stdout: Log::default(),
            stderr: Log::default(),
            memory: OnceLock::new(),
            status: watch::Sender::new(Status {
                phase: ServicePhase::Running,
                pid: 0,
                ready: false,
                not_ready: None,
                exit_code: None,
                reason: None,
                oom_killed: false,
                ended_at: None,
            }),
            wish: watch::Sender::new(None),
        }
    }

    pub(super) fn begun(&self, pid: u32, memory: MemoryEvents) {
        let _ = self.memory.set(memory);
        self.status.send_modify(|status| status.pid = pid);
    }

    pub(super) fn is_ready_now(&self) {
        self.status.send_modify(|status| {
            status.ready = true;
            status.not_ready = None;
        });
    }

    /// What the last look for its readiness saw instead.
    pub(super) fn is_not_ready_yet(&self, why: String) {
        self.status
            .send_modify(|status| status.not_ready = Some(why));
    }

    /// Its processes are gone, and soon their group. What the kernel counted of them stays.
    pub(super) fn note_memory(&self) {
        let oom_killed = self.oom_killed();
        self.status
            .send_modify(|status| status.oom_killed |= oom_killed);
    }

    fn oom_killed(&self) -> bool {
        self.memory.get().is_some_and(MemoryEvents::oom_killed)
    }

    /// It is over, and its logs are whole.
    pub(super) fn ended(&self, phase: ServicePhase, exit_code: i32, reason: Option<ServiceEnd>) {
        self.stdout.close();
        self.stderr.close();
        self.status.send_modify(|status| {
            status.phase = phase;
            status.exit_code = Some(exit_code);
            status.reason = reason;
            status.ended_at = Some(Instant::now());
        });
    }

    pub(super) fn runs(&self) -> bool {
        self.status.borrow().ended_at.is_none()
    }

    pub(super) fn ended_at(&self) -> Option<Instant> {
        self.status.borrow().ended_at
    }

    pub(super) fn state(&self) -> ServiceState {
        let status = self.status.borrow();
        ServiceState {
            instance: self.instance,
            name: self.name.clone(),
            phase: status.phase,
            pid: status.pid,
            ready: status.ready,
            not_ready: status.not_ready.clone(),
            exit_code: status.exit_code,
            reason: status.reason,
            oom_killed: status.oom_killed || self.oom_killed(),
            ended_ms_ago: status.ended_at.map(|at| millis(at.elapsed())),
        }
    }

    pub(super) fn ask_to_end(&self, wish: Wish) {
        self.wish.send_if_modified(|wished| {
            // Whoever asked first is the reason.
            let first = wished.is_none();
            wished.get_or_insert(wish);
            first
        });
    }

    /// Resolves when somebody wants it to end.
    pub(super) async fn asked_to_end(&self) -> Wish {
        let mut wish = self.wish.subscribe();
        match wish.wait_for(Option::is_some).await.map(|wish| *wish) {
            Ok(Some(wish)) => wish,
            // The sender lives as long as this does.
            _ => std::future::pending().await,
        }
    }

    /// Resolves when it is ready, or has ended.
    pub(super) async fn settled(&self) {
        let mut status = self.status.subscribe();
        let _ = status
            .wait_for(|status| status.ready || status.ended_at.is_some())
            .await;
    }

    /// Resolves when it has ended.
    pub(super) async fn over(&self) {
        let mut status = self.status.subscribe();
        let _ = status.wait_for(|status| status.ended_at.is_some()).await;
    }
}
