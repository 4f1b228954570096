use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::yes_no;
use crate::values::{Environment, Platform};
use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Check whether this host can run VMs, and show how to fix what is missing
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Doctor {
    /// The platform to check for
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub platform: Platform,
}

/// The state of this host.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Diagnosis {
    pub platform: String,
    /// Whether a VM can run here.
    pub runtime_ok: bool,
    /// What keeps VMs from running, in words; empty when nothing does.
    pub issues: Vec<String>,
    pub kvm: Kvm,
    pub gvisor: Gvisor,
    pub networking: Networking,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Every check, in the order it was made.
    pub checks: Vec<Check>,
}

/// One check, its outcome, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    pub name: String,
    pub outcome: Outcome,
    pub detail: String,
    /// A command, or a sentence, that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Shows checks, each with its outcome.
pub fn report_checks(checks: &[Check], text: &mut Text) {
    text.out("Checks:");
    for check in checks {
        let mark = match check.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warn",
            Outcome::Failed => "FAIL",
        };
        text.out(format!("  [{mark}] {}: {}", check.name, check.detail));
        if let Some(fix) = &check.fix {
            text.out(format!("         fix: {fix}"));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// Works, but worse than it could.
    Warning,
    /// Keeps VMs from running.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kvm {
    pub exists: bool,
    pub readable: bool,
    pub writable: bool,
    /// Whether a probe guest ran under it; absent when none could be tried.
    pub runs_guests: Option<bool>,
    /// The accelerator that VMs will use, `kvm` or `tcg`; absent when none can run.
    pub accelerator: Option<String>,
    pub reason: String,
}

/// What `--isolation gvisor` finds here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gvisor {
    /// Whether sandboxes run here; absent when that could not be tried.
    pub runs_sandboxes: Option<bool>,
    /// The path of `runsc`; absent when there is none that can be used.
    pub runsc: Option<String>,
    /// As it says itself.
    pub version: Option<String>,
    /// The day of its release.
    pub released: Option<String>,
    /// How it was come by: `override` (PYRO_RUNSC), `path`, or `package` (Debian's, in the cache).
    pub origin: Option<String>,
    /// Why sandboxes run, or what keeps them from running.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Networking {
    pub enabled_by_default: bool,
    pub tun_available: bool,
    pub ip_binary: Option<String>,
    pub nft_binary: Option<String>,
    pub iptables_binary: Option<String>,
    pub ip_forward_enabled: bool,
}

/// What VMs are run with here.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Runtime {
    pub bundle_version: Option<String>,
    pub component_versions: std::collections::BTreeMap<String, String>,
    pub qemu_bin: String,
    pub guest_agent_path: Option<String>,
    pub capabilities: Capabilities,
    pub catalog_version: String,
    pub cache_dir: String,
    pub state_dir: String,
    pub environments: Vec<Environment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Capabilities {
    pub supports_vm_boot: bool,
    pub supports_guest_exec: bool,
    pub supports_guest_network: bool,
    pub reason: Option<String>,
}

impl Report for Diagnosis {
    fn report(&self, text: &mut Text) {
        text.field("Platform", &self.platform);
        text.field("Runtime", if self.runtime_ok { "PASS" } else { "FAIL" });
        text.out(format!(
            "KVM: exists={} readable={} writable={}",
            yes_no(self.kvm.exists),
            yes_no(self.kvm.readable),
            yes_no(self.kvm.writable)
        ));
        text.out(format!(
            "gVisor: sandboxes={} runsc={}",
            self.gvisor.runs_sandboxes.map_or("unknown", yes_no),
            self.gvisor.version.as_deref().unwrap_or("none")
        ));
        if let Some(runtime) = &self.runtime {
            text.field("Environment cache", &runtime.cache_dir);
            text.out(format!(
                "Capabilities: vm_boot={} guest_exec={} guest_network={}",
                yes_no(runtime.capabilities.supports_vm_boot),
                yes_no(runtime.capabilities.supports_guest_exec),
                yes_no(runtime.capabilities.supports_guest_network)
            ));
        }
        text.out(format!(
            "Networking: tun={} ip_forward={}",
            yes_no(self.networking.tun_available),
            yes_no(self.networking.ip_forward_enabled)
        ));
        report_checks(&self.checks, text);
        if !self.issues.is_empty() {
            text.out("Issues:");
            for issue in &self.issues {
                text.out(format!("- {issue}"));
            }
        }
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.runtime_ok)
    }
}

impl Operation for Doctor {
    type Output = Diagnosis;

    const NAMES: Names = Names {
        operation: "doctor",
        cli: Some(Cli {
            path: &["doctor"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: None,
    };
}
