//! Which crate may use which: the drawing in docs/architecture.md, compared with the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Each crate and the crates of this project that it may use when it ships.
const ALLOWED: &[(&str, &[&str])] = &[
    ("pyro-api", &[]),
    ("pyro-wire", &[]),
    ("pyro-agent", &["pyro-wire", "pyro-interface"]),
    ("pyro-network", &["pyro-wire"]),
    ("pyro-namespace", &[]),
    ("pyro-interface", &["pyro-wire"]),
    (
        "pyro-shim",
        &[
            "pyro-wire",
            "pyro-network",
            "pyro-namespace",
            "pyro-interface",
        ],
    ),
    ("pyro-catalog", &["pyro-namespace", "pyro-oci"]),
    ("pyro-patch", &[]),
    ("pyro-disk", &[]),
    ("pyro-screen", &["pyro-wire"]),
    ("pyro-transfer", &["pyro-wire"]),
    ("pyro-oci", &["pyro-transfer"]),
    ("pyro-build", &["pyro-oci"]),
    (
        "pyro-engine",
        &[
            "pyro-api",
            "pyro-wire",
            "pyro-build",
            "pyro-catalog",
            "pyro-oci",
            "pyro-patch",
            "pyro-disk",
            "pyro-screen",
            "pyro-transfer",
            "pyro-namespace",
        ],
    ),
    ("pyro-mcp", &["pyro-api"]),
    ("pyro-hosts", &["pyro-api"]),
    (
        "pyro-cli",
        &[
            "pyro-api",
            "pyro-engine",
            "pyro-hosts",
            "pyro-mcp",
            "pyro-shim",
        ],
    ),
    ("pyro-python", &["pyro-api", "pyro-engine", "pyro-mcp"]),
];

/// Crates that ship to nobody and may use anything.
const TOOLS: &[&str] = &["xtask", "pyro-bench", "pyro-fuzz", "pyro-tests"];

pub(crate) fn check() -> Result<()> {
    let used = arrows()?;
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED
        .iter()
        .map(|(name, may)| (*name, may.iter().copied().collect()))
        .collect();
    let mut faults = Vec::new();
    for (name, uses) in &used {
        if TOOLS.contains(&name.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(name.as_str()) else {
            faults.push(format!("{name} is not in the drawing"));
            continue;
        };
        for other in uses.iter().filter(|other| !may.contains(other.as_str())) {
            faults.push(format!("{name} must not use {other}"));
        }
    }
    for name in allowed.keys().filter(|name| !used.contains_key(**name)) {
        faults.push(format!("{name} is in the drawing and does not exist"));
    }
    if !faults.is_empty() {
        bail!(
            "the crates do not follow the drawing in docs/architecture.md:\n  {}",
            faults.join("\n  ")
        );
    }
    println!("arrows: {} crates follow the drawing", ALLOWED.len());
    Ok(())
}

/// Every crate of the workspace with those of its fellows that it needs to run or build.
fn arrows() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let names: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut arrows = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without name")?;
        let uses = package["dependencies"]
            .as_array()
            .context("no dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|dependency| names.contains(dependency))
            .map(str::to_owned)
            .collect();
        arrows.insert(name.to_owned(), uses);
    }
    Ok(arrows)
}

/// What cargo says of the crates of the workspace.
pub(crate) fn metadata() -> Result<Value> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
