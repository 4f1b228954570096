//! One service: its state, its logs, and the request that it should stop.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pyro_wire::service::{ServiceEnd, ServicePhase, ServiceState};
use tokio::sync::watch;

use super::log::Log;
use crate::cgroup::MemoryEvents;

pub(super) struct Service {
    pub(super) name: String,
    pub(super) instance: u64,
    pub(super) stdout: Log,
    pub(super) stderr: Log,
    /// Once it has begun.
    memory: OnceLock<MemoryEvents>,
    status: watch::Sender<Status>,
    /// Once somebody wants it to stop.
    stop_request: watch::Sender<Option<StopRequest>>,
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
pub(super) enum StopRequest {
    /// Somebody asked for it, or the one who started it has gone before it was ready.
    Service,
    /// Everything ends.
    Everything,
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
            stop_request: watch::Sender::new(None),
        }
    }

    pub(super) fn set_started(&self, pid: u32, memory: MemoryEvents) {
        let _ = self.memory.set(memory);
        self.status.send_modify(|status| status.pid = pid);
    }

    pub(super) fn set_ready(&self) {
        self.status.send_modify(|status| {
            status.ready = true;
            status.not_ready = None;
        });
    }

    /// What the last probe saw instead.
    pub(super) fn set_not_ready(&self, why: String) {
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
    pub(super) fn set_ended(
        &self,
        phase: ServicePhase,
        exit_code: i32,
        reason: Option<ServiceEnd>,
    ) {
        self.stdout.close();
        self.stderr.close();
        self.status.send_modify(|status| {
            status.phase = phase;
            status.exit_code = Some(exit_code);
            status.reason = reason;
            status.ended_at = Some(Instant::now());
        });
    }

    pub(super) fn is_running(&self) -> bool {
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

    pub(super) fn request_stop(&self, request: StopRequest) {
        self.stop_request.send_if_modified(|requested| {
            // Whoever asked first is the reason.
            let first = requested.is_none();
            requested.get_or_insert(request);
            first
        });
    }

    /// Resolves when somebody wants it to stop.
    pub(super) async fn stop_requested(&self) -> StopRequest {
        let mut request = self.stop_request.subscribe();
        match request
            .wait_for(Option::is_some)
            .await
            .map(|request| *request)
        {
            Ok(Some(request)) => request,
            // The sender lives as long as this does.
            _ => std::future::pending().await,
        }
    }

    /// Resolves when it is ready, or has ended.
    pub(super) async fn ready_or_ended(&self) {
        let mut status = self.status.subscribe();
        let _ = status
            .wait_for(|status| status.ready || status.ended_at.is_some())
            .await;
    }

    /// Resolves when it has ended.
    pub(super) async fn ended(&self) {
        let mut status = self.status.subscribe();
        let _ = status.wait_for(|status| status.ended_at.is_some()).await;
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
