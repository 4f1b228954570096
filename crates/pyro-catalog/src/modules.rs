//! Picks the few modules a guest needs out of a kernel package, in an order they load in.
//!
//! Debian's package has no `modules.dep`: `depmod` writes that at installation, and the
//! kernel is not installed. What `depmod` would write stands in each module's `.modinfo`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::elf::Elf;
use crate::{CatalogError, child, tools};

/// What the agent needs before the root disk is there. Skipped where built in.
/// Dashes and underscores mean the same to the kernel; here it is underscores.
const WANTED: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "virtio_rng",
    "ext4",
];

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) file_name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The wanted modules below `lib/modules/<release>`, each after those that it needs.
pub(crate) fn select(modules: &Path) -> Result<Vec<Module>, CatalogError> {
    let built_in = fs::read_to_string(modules.join("modules.builtin")).unwrap_or_default();
    let mut selection = Selection {
        built_in: built_in
            .lines()
            .filter_map(|line| name_of(Path::new(line)))
            .collect(),
        files: HashMap::new(),
        seen: HashSet::new(),
        picked: Vec::new(),
    };
    index(modules, &mut selection.files)
        .map_err(CatalogError::reading("read the modules in", modules))?;
    for name in WANTED {
        selection.add(name, modules)?;
    }
    Ok(selection.picked)
}

struct Selection {
    built_in: HashSet<String>,
    files: HashMap<String, PathBuf>,
    seen: HashSet<String>,
    picked: Vec<Module>,
}

impl Selection {
    fn add(&mut self, name: &str, modules: &Path) -> Result<(), CatalogError> {
        // Marked before its needs are followed, so that a circle ends.
        if self.built_in.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let unusable = |path: &Path, reason: String| CatalogError::KernelUnusable {
            path: path.to_owned(),
            reason,
        };
        let path = self
            .files
            .get(name)
            .ok_or_else(|| unusable(modules, format!("it has no module `{name}`")))?
            .clone();
        let bytes = read(&path)?;
        let info = Elf::parse(&bytes)
            .and_then(|elf| elf.section(".modinfo"))
            .ok_or_else(|| unusable(&path, format!("module `{name}` has no `.modinfo`")))?;
        let needs = Needs::parse(info);
        for need in needs.hard {
            self.add(&need, modules)?;
        }
        // A soft need may be met by another module or by none.
        for need in needs.soft {
            if self.files.contains_key(&need) {
                self.add(&need, modules)?;
            }
        }
        self.picked.push(Module {
            file_name: file_name(&path),
            bytes,
        });
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq)]
struct Needs {
    hard: Vec<String>,
    soft: Vec<String>,
}

impl Needs {
    fn parse(info: &[u8]) -> Self {
        let mut needs = Self::default();
        for entry in info.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            if let Some(names) = entry.strip_prefix("depends=") {
                let names = names.split(',').filter(|name| !name.is_empty());
                needs.hard.extend(names.map(normal));
            } else if let Some(words) = entry.strip_prefix("softdep=") {
                // `pre: a b post: c`
                let before = words.split("post:").next().unwrap_or_default();
                let names = before.split_whitespace().filter(|word| *word != "pre:");
                needs.soft.extend(names.map(normal));
            }
        }
        needs
    }
}

fn index(folder: &Path, files: &mut HashMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `kernel/drivers/char/hw_random/virtio-rng.ko.xz` is `virtio_rng`.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| normal(name))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's file name without the compression.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split_once(".ko").map_or(&*name, |(stem, _)| stem);
    format!("{stem}.ko")
}

/// Reads a module, through the host's decompressor where it needs one.
fn read(path: &Path) -> Result<Vec<u8>, CatalogError> {
    let (tool, package) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => ("xz", "xz-utils"),
        Some("zst") => ("zstd", "zstd"),
        Some("gz") => ("gzip", "gzip"),
        _ => return fs::read(path).map_err(CatalogError::reading("read", path)),
    };
    let mut command = child::command(tool);
    let output = command
        .args(["-dc", "--"])
        .arg(path)
        .stdout(Stdio::piped())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(CatalogError::KernelUnusable {
            path: path.to_owned(),
            reason: format!("{tool} exited with {}", output.status),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CatalogError::ToolMissing {
                tool,
                package,
                needed_to: tools::BUILD,
                looked_in: child::search_path(),
            })
        }
        Err(error) => Err(CatalogError::reading("decompress", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::module;

    fn tree(files: &[(&str, &str)], built_in: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        for (path, info) in files {
            let path = folder.path().join("kernel").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, module(info)).unwrap();
        }
        folder
    }

    const FILES: [(&str, &str); 9] = [
        ("drivers/virtio/virtio.ko", "depends=\0"),
        (
            "drivers/virtio/virtio_ring.ko",
            "license=GPL\0depends=virtio\0",
        ),
        ("drivers/virtio/virtio_pci_legacy_dev.ko", "depends=\0"),
        (
            "drivers/virtio/virtio_pci.ko",
            "depends=virtio,virtio_ring,virtio-pci-legacy-dev\0",
        ),
        (
            "drivers/block/virtio_blk.ko",
            "depends=virtio_ring,virtio\0",
        ),
        (
            "drivers/char/virtio_console.ko",
            "depends=virtio,virtio_ring\0softdep=pre: gone post: x\0",
        ),
        (
            "drivers/net/virtio_net.ko",
            "depends=virtio_ring,virtio,failover\0",
        ),
        ("net/core/failover.ko", "depends=\0"),
        ("drivers/char/hw_random/virtio-rng.ko", "depends=virtio\0"),
    ];

    fn picked(folder: &Path) -> Vec<String> {
        let modules = select(folder).unwrap();
        modules.into_iter().map(|module| module.file_name).collect()
    }

    #[test]
    fn each_module_comes_after_what_it_needs() {
        let folder = tree(&FILES, "kernel/fs/ext4/ext4.ko\n");
        assert_eq!(
            picked(folder.path()),
            [
                "virtio.ko",
                "virtio_ring.ko",
                "virtio_pci_legacy_dev.ko",
                "virtio_pci.ko",
                "virtio_blk.ko",
                "virtio_console.ko",
                "failover.ko",
                "virtio_net.ko",
                "virtio-rng.ko",
            ]
        );
    }

    #[test]
    fn what_is_built_in_is_skipped_and_what_is_missing_is_named() {
        let built_in = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio.ko\n";
        assert!(!picked(tree(&FILES, built_in).path()).contains(&"virtio.ko".to_owned()));
        let error = select(tree(&FILES, "").path()).unwrap_err();
        assert!(error.to_string().contains("no module `ext4`"), "{error}");
    }

    #[test]
    fn compressed_modules_are_read_through_the_hosts_tool() {
        let folder = tree(&FILES, "kernel/fs/ext4/ext4.ko\n");
        let plain = folder.path().join("kernel/drivers/virtio/virtio.ko");
        let status = std::process::Command::new("gzip")
            .arg(&plain)
            .status()
            .unwrap();
        assert!(status.success());
        let modules = select(folder.path()).unwrap();
        assert_eq!(modules[0].file_name, "virtio.ko");
        assert_eq!(modules[0].bytes, module("depends=\0"));
    }

    #[test]
    fn a_circle_ends() {
        let mut files = FILES.to_vec();
        files[0].1 = "depends=virtio_ring\0";
        assert_eq!(
            picked(tree(&files, "kernel/fs/ext4/ext4.ko\n").path()).len(),
            9
        );
    }
}
