use async_trait::async_trait;
use pyro_api::operations::workspace_disk_list::{DiskListing, WorkspaceDiskList};
use pyro_api::operations::workspace_file_list::FileEntry;
use pyro_api::values::MaxEntries;
use pyro_api::{Caller, Error, Handle};
use pyro_disk::{FileKind, Stat, Tree, TreeError};

use crate::Engine;
use crate::answers::Page;
use crate::workspace::at_rest::entry_kind;
use crate::workspace::display::{artifact_type, octal};
use crate::workspace::stopped::DiskPath;

#[async_trait]
impl Handle<WorkspaceDiskList> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceDiskList,
        caller: &Caller,
    ) -> Result<DiskListing, Error> {
        let path = DiskPath::parse(&asked.path)?;
        let disk = self.stopped_disk(&asked.workspace_id).await?;
        let what = format!("`{}` could not be listed", path.absolute());
        let (below, recursive) = (path.below_root(), asked.recursive);
        let page = Page::of(
            caller,
            asked.skip,
            asked.max_entries.map(MaxEntries::get),
            u32::MAX,
        );
        let (total, entries, next_skip) = disk
            .with_files(&what, move |tree| list(tree, &below, recursive, page))
            .await?;
        Ok(DiskListing {
            workspace_id: disk.id.clone(),
            path: path.absolute(),
            recursive,
            truncated: next_skip.is_some(),
            entries,
            total_entries: total as u64,
            next_skip,
        })
    }
}

/// How many entries there are, a page of them, and where the next one begins.
fn list(
    tree: &Tree,
    path: &[u8],
    recursive: bool,
    page: Page,
) -> Result<(usize, Vec<FileEntry>, Option<u64>), TreeError> {
    let path = tree.resolve(path, false)?;
    let stat = tree.stat(&path)?.ok_or_else(|| TreeError::NotFound {
        name: String::from_utf8_lossy(&path).into_owned(),
    })?;
    let mut found: Vec<(Vec<u8>, Stat)> = Vec::new();
    match stat.kind {
        FileKind::Directory if recursive => {
            tree.walk(&path, |path, stat| found.push((path.to_vec(), *stat)))?;
        }
        FileKind::Directory => {
            for entry in tree.list(&path)? {
                let below = match path.as_slice() {
                    b"" => entry.name,
                    path => [path, b"/", &entry.name].concat(),
                };
                found.push((below, entry.stat));
            }
        }
        _ => found.push((path, stat)),
    }
    // The contract knows no others here.
    found.retain(|(_, stat)| stat.kind != FileKind::Special);
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let total = found.len();
    let entries = found
        .into_iter()
        .map(|(path, stat)| entry(tree, &path, &stat));
    let (shown, next_skip) = page.take(entries)?;
    Ok((total, shown, next_skip))
}

fn entry(tree: &Tree, path: &[u8], stat: &Stat) -> Result<FileEntry, TreeError> {
    let target = match stat.kind {
        FileKind::Symlink => Some(tree.target(path)?),
        _ => None,
    };
    Ok(FileEntry {
        path: absolute(path),
        artifact_type: artifact_type(entry_kind(stat.kind)),
        size_bytes: stat.size,
        link_target: target.map(|target| String::from_utf8_lossy(&target).into_owned()),
        mode: octal(stat.mode),
        modified_at: stat.mtime_ns as f64 / 1e9,
    })
}

fn absolute(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
