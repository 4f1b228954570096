//! Builds an environment from Debian's packages: `mmdebstrap`, then `mke2fs`, in a namespace.
//!
//! The work is one shell script (`build.sh`); this side chooses its parameters, watches it,
//! and picks the modules out of the kernel that it fetched.

mod mirror;
mod progress;
mod runsc;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::mirror::Mirror;
use self::progress::Progress;
pub(crate) use self::runsc::DebianRunsc;
use crate::builder::{Builder, Built, BuiltKernel};
use crate::child::{self, Ended};
use crate::layout::{KERNEL_IMAGE_FILE, MODULE_ORDER_FILE, MODULES_DIR};
use crate::monitor::report;
use crate::{
    CatalogError, EnvironmentSpec, Phase, ProgressMonitor, image, modules, namespace, tools,
};

const SCRIPT: &str = include_str!("build.sh");
const KERNEL: &str = "linux-image-cloud-amd64";
const DEADLINE: Duration = Duration::from_secs(20 * 60);

#[derive(Debug)]
pub(crate) struct DebianBuilder;

impl Builder for DebianBuilder {
    fn prepare(&self) -> Result<(), CatalogError> {
        tools::require_all()?;
        namespace::user_namespaces()?;
        Mirror::configured().map(drop)
    }

    fn build(
        &self,
        spec: &'static EnvironmentSpec,
        folder: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Built, CatalogError> {
        let keyring = tools::require_all()?;
        let mirror = Mirror::configured()?;
        run_script(spec, folder, &mirror, &keyring, monitor)?;
        report(
            monitor,
            Phase::Kernel,
            0.9,
            "selecting the kernel's drivers",
        );
        let (dir, release) = lay_out_kernel(&folder.join("unpacked"), folder)?;
        Ok(Built {
            rootfs: folder.join("rootfs.ext4"),
            packages: Some(folder.join("packages.txt")),
            kernel: BuiltKernel::New { dir, release },
            source: mirror.label(spec.release.suite),
            image: None,
        })
    }
}

fn run_script(
    spec: &'static EnvironmentSpec,
    folder: &Path,
    mirror: &Mirror,
    keyring: &Path,
    monitor: &dyn ProgressMonitor,
) -> Result<(), CatalogError> {
    let mut command = namespace::command();
    command
        .args(["sh", "-c", SCRIPT, "pyro-build"])
        .current_dir(folder)
        .env("PYRO_PARTIAL", folder)
        .env("PYRO_INCLUDE", spec.include.join(","))
        .env("PYRO_SOURCES", mirror.sources(spec.release.suite, keyring))
        .env(
            "PYRO_GUEST_SOURCES",
            mirror.guest_sources(spec.release.suite),
        )
        .env("PYRO_SUITE", spec.release.suite)
        .env("PYRO_KERNEL", KERNEL)
        .env("PYRO_IMAGE_SIZE", image::SIZE.to_string())
        .env("PYRO_IMAGE_ARGUMENTS", image::ARGUMENTS.join(" "))
        .env("PYRO_IMAGE_CONFIG", image::CONFIG);
    let mut progress = Progress::new(spec.name, mirror.host(), monitor);
    let ended = child::run(command, DEADLINE, monitor, &mut |line| progress.line(line))
        .map_err(CatalogError::reading("run the build in", folder))?;
    let (step, log_tail) = progress.finish();
    match ended {
        Ended::Exited(status) if status.success() => Ok(()),
        Ended::Exited(_) if is_refusal(&log_tail) => Err(namespace::explain(&log_tail.join("; "))),
        Ended::Exited(_) => Err(CatalogError::BuildFailed {
            environment: spec.name,
            step,
            log_tail,
        }),
        Ended::Cancelled => Err(CatalogError::Cancelled),
        Ended::TimedOut => Err(CatalogError::BuildTimedOut {
            environment: spec.name,
            step,
            seconds: DEADLINE.as_secs(),
            log_tail,
        }),
    }
}

/// Whether the namespace itself was refused, as to root in an ordinary container.
fn is_refusal(log: &[String]) -> bool {
    log.first().is_some_and(|line| line.starts_with("unshare:"))
}

/// Makes the directory that the cache keeps from the tree of the kernel's package.
fn lay_out_kernel(unpacked: &Path, folder: &Path) -> Result<(PathBuf, String), CatalogError> {
    // Since Debian 13 below `/usr`.
    let places = ["usr/lib/modules", "lib/modules"].map(|place| unpacked.join(place));
    let found = places.iter().find(|place| place.is_dir());
    let all_modules = found.unwrap_or(&places[0]).clone();
    let release = only_entry(&all_modules)?;
    let dir = folder.join("kernel");
    let modules_dir = dir.join(MODULES_DIR);
    fs::create_dir_all(&modules_dir).map_err(CatalogError::writing("create", &modules_dir))?;

    let image = dir.join(KERNEL_IMAGE_FILE);
    fs::rename(
        unpacked.join("boot").join(format!("vmlinuz-{release}")),
        &image,
    )
    .map_err(CatalogError::writing("move the kernel to", &image))?;
    let mut order = String::new();
    for module in modules::select(&all_modules.join(&release))? {
        let path = modules_dir.join(&module.file_name);
        fs::write(&path, &module.bytes).map_err(CatalogError::writing("write", &path))?;
        order.push_str(&module.file_name);
        order.push('\n');
    }
    let path = modules_dir.join(MODULE_ORDER_FILE);
    fs::write(&path, order).map_err(CatalogError::writing("write", &path))?;
    Ok((dir, release))
}

fn only_entry(folder: &Path) -> Result<String, CatalogError> {
    let entries = fs::read_dir(folder).map_err(CatalogError::reading("list", folder))?;
    let names: Vec<_> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    match <[String; 1]>::try_from(names) {
        Ok([name]) => Ok(name),
        Err(names) => Err(CatalogError::KernelUnusable {
            path: folder.to_owned(),
            reason: format!("it has {} releases of modules instead of one", names.len()),
        }),
    }
}
