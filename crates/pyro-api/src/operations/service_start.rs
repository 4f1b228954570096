use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{plain, push_content};
use crate::values::{
    CommandLine, EnvVars, PortRequests, Readiness, ReadinessKind, ReadyIntervalMs,
    ReadyTimeoutSeconds, SecretEnv, ServiceName, ServiceRecord, ServiceState, StopReason, User,
    WORKSPACE_PATH,
};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Start a service in a workspace: a command that keeps running, such as a web server
///
/// Use it instead of `command &`. Returns when the service is ready, or at once with the end of its
/// log if it dies before that. It runs until `service_stop`, until it exits, or until the VM is
/// stopped; a name can be reused once its service has ended.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceStart {
    /// Workspace id or name
    pub workspace_id: String,
    /// A name for the service: letters, digits, `.`, `_` and `-`
    pub service_name: ServiceName,
    /// A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`)
    #[command(flatten)]
    pub command: CommandLine,
    /// The folder to run in, below `/workspace`
    #[arg(long, default_value = WORKSPACE_PATH)]
    #[serde(default = "workspace_path")]
    pub cwd: String,
    /// Ready when this path below `/workspace` exists
    #[arg(long)]
    #[serde(default)]
    pub ready_file: Option<String>,
    /// Ready when this HOST:PORT, as seen in the guest, accepts connections
    #[arg(long)]
    #[serde(default)]
    pub ready_tcp: Option<String>,
    /// Ready when a GET of this http:// address, as seen in the guest, is answered with 200 to 399
    #[arg(long)]
    #[serde(default)]
    pub ready_http: Option<String>,
    /// Ready when this command, run in the same folder, succeeds
    #[arg(long)]
    #[serde(default)]
    pub ready_command: Option<String>,
    /// Seconds that the service has to become ready before it is ended
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub ready_timeout_seconds: ReadyTimeoutSeconds,
    /// Milliseconds between two readiness checks, at most
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub ready_interval_ms: ReadyIntervalMs,
    /// Secrets of the workspace to pass to the service: from secret name to variable name
    #[command(flatten)]
    #[serde(default)]
    pub secret_env: SecretEnv,
    /// Environment variables for the service, by name
    #[command(flatten)]
    #[serde(default)]
    pub env: EnvVars,
    /// Guest ports to publish on 127.0.0.1 of this host while the service runs; without `host_port`
    /// on any free port. Needs the network policy `egress+published-ports`
    #[command(flatten)]
    #[serde(default)]
    pub published_ports: PortRequests,
    /// Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if not given
    #[arg(long, value_name = "USER")]
    #[serde(default)]
    pub user: Option<User>,
}

fn workspace_path() -> String {
    WORKSPACE_PATH.to_owned()
}

impl ServiceStart {
    /// What was asked to show that the service is ready.
    pub fn readiness(&self) -> Result<Option<Readiness>, Error> {
        let given: Vec<_> = [
            (ReadinessKind::File, "ready_file", &self.ready_file),
            (ReadinessKind::Tcp, "ready_tcp", &self.ready_tcp),
            (ReadinessKind::Http, "ready_http", &self.ready_http),
            (ReadinessKind::Command, "ready_command", &self.ready_command),
        ]
        .into_iter()
        .filter_map(|(kind, name, value)| Some((kind, name, value.as_ref()?.trim())))
        .collect();
        match given.as_slice() {
            [] => Ok(None),
            [(_, name, "")] => Err(Error::invalid(format!("{name} is empty"))),
            [(_, name, value)] if value.contains('\0') => {
                Err(Error::invalid(format!("{name} contains a NUL byte")))
            }
            [(kind, _, value)] => Ok(Some(Readiness::of(*kind, (*value).to_owned()))),
            several => {
                let names: Vec<&str> = several.iter().map(|(_, name, _)| *name).collect();
                Err(Error::invalid("Only one readiness check can be given")
                    .because(format!("{} were given", names.join(" and ")))
                    .hint("`--ready-command` (`ready_command`) can check several things"))
            }
        }
    }
}

/// A service that was started.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ServiceStarted {
    #[serde(flatten)]
    pub service: ServiceRecord,
    /// The end of what it wrote, where it failed.
    pub log_tail: Option<String>,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

impl Report for ServiceStarted {
    fn report(&self, text: &mut Text) {
        if let Some(tail) = &self.log_tail {
            push_content(&mut text.err, tail);
        }
        self.service.report_as("start", text);
        if self.service.state != ServiceState::Failed {
            return;
        }
        text.err(format!(
            "[error] Service `{}` was not ready: {}{}{}",
            plain(self.service.service_name.as_str()),
            match self.service.stop_reason {
                Some(StopReason::ReadinessTimeout) => "its readiness timeout expired",
                _ if self.service.oom_killed => "it ended when the guest ran out of memory",
                _ => "its process exited",
            },
            self.service
                .not_ready
                .as_ref()
                .map(|why| format!("; last check: {}", plain(why)))
                .unwrap_or_default(),
            self.service
                .exit_code
                .map(|code| format!(" (exit_code={code})"))
                .unwrap_or_default(),
        ));
    }

    /// A service that is not there is a failure for scripts.
    fn exit_code(&self) -> u8 {
        u8::from(self.service.state == ServiceState::Failed)
    }
}

impl Operation for ServiceStart {
    type Output = ServiceStarted;

    const NAMES: Names = Names {
        operation: "service_start",
        cli: Some(Cli {
            path: &["workspace", "service", "start"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new(
                "service_start",
                "Start service",
                Profile::WorkspaceFull,
                Effect::Changes,
            )
            .open_world(),
        ),
        sdk: Some("start_service"),
    };

    fn check(&self) -> Result<(), Error> {
        self.command.check()?;
        self.readiness()?;
        self.secret_env.check()?;
        self.env.check(&self.secret_env)?;
        self.published_ports.check()
    }
}
