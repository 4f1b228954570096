use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::bounded::StepTimeoutSeconds;
use crate::values::{
    AllowNet, BuildArgs, BuildSecret, Environment, Isolation, MemMib, NetworkPolicy, VcpuCount,
    check_allow_net,
};
use crate::{Cli, Error, JsonFlag, Names, Operation, Report, Text};

/// Build an environment from a Containerfile (Dockerfile) or a devcontainer.json
///
/// Each step runs in a VM and is kept: a step that was done before, with the same files, is not done
/// again. Steps have no network unless you allow one. Start from the result by its name:
/// `workspace_create`, `vm_run`.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvBuild {
    /// The name of the environment, such as `app`, `team/app` or `app:1.0`
    pub environment: String,
    /// The folder of this host that `COPY` and `ADD` take files from
    pub context: PathBuf,
    /// The Containerfile, Dockerfile or devcontainer.json; else one of these in the context
    #[arg(long, short = 'f', value_name = "FILE")]
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Values for the `ARG` of the Containerfile
    #[command(flatten)]
    #[serde(default)]
    pub build_args: BuildArgs,
    /// A secret for `RUN --mount=type=secret`: `id=ID,src=PATH` or `id=ID,env=VARIABLE`; may be
    /// repeated. It leaves no trace in what is built
    #[arg(long = "secret", value_name = "id=ID,src=PATH")]
    #[serde(default)]
    pub build_secrets: Vec<BuildSecret>,
    /// Build this stage, and not the last one
    #[arg(long, value_name = "STAGE")]
    #[serde(default)]
    pub target: Option<String>,
    /// What the steps may reach
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// Also allow these addresses, CIDR blocks or host names near this host, optionally with a port,
    /// such as `10.1.0.0/16` or `db.corp:5432`
    #[arg(long, value_name = "WHERE")]
    #[serde(default)]
    pub allow_net: Vec<AllowNet>,
    /// Do every step again
    #[arg(long)]
    #[serde(default)]
    pub no_cache: bool,
    /// Leave a workspace as it was when a step failed, to look into
    #[arg(long)]
    #[serde(default)]
    pub keep_failed: bool,
    /// Take the place of an environment of this name that was not built
    #[arg(long)]
    #[serde(default)]
    pub replace: bool,
    /// How long each step may take, in seconds
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub timeout_seconds: StepTimeoutSeconds,
    /// Virtual CPUs, 1 to 8
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub vcpu_count: VcpuCount,
    /// Memory in MiB, 256 to 32768
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub mem_mib: MemMib,
    /// What keeps the steps apart from this host; as PYRO_ISOLATION says if not given, or `auto`
    #[arg(long, value_enum, ignore_case = true)]
    #[serde(default)]
    pub isolation: Option<Isolation>,
}

/// An environment that was built.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BuiltEnvironment {
    #[serde(flatten)]
    pub environment: Environment,
    /// How many instructions of the file it is made of, those of stages that it copies from included.
    pub steps: usize,
    /// How many of them had been done before.
    pub cached: usize,
    pub seconds: f64,
    /// What was left out or not used.
    pub notes: Vec<String>,
}

impl Report for BuiltEnvironment {
    fn report(&self, text: &mut Text) {
        self.environment.report_as("Built", text);
        text.field("Steps", format!("{} ({} cached)", self.steps, self.cached));
        text.field("Seconds", format!("{:.1}", self.seconds));
    }
}

impl Operation for EnvBuild {
    type Output = BuiltEnvironment;

    const NAMES: Names = Names {
        operation: "env_build",
        cli: Some(Cli {
            path: &["env", "build"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("build_environment"),
    };

    fn check(&self) -> Result<(), Error> {
        self.build_args.check()?;
        let mut ids: Vec<&str> = self.build_secrets.iter().map(|it| it.id.as_str()).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid(format!(
                "The build secret `{}` is given twice",
                twice[0]
            )));
        }
        check_allow_net(&self.allow_net, self.network_policy.has_network())
    }
}
