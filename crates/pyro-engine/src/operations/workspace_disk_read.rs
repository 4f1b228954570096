use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pyro_api::operations::workspace_disk_read::{DiskContent, WorkspaceDiskRead};
use pyro_api::values::{ContentEncoding, OutputEncoding};
use pyro_api::{Caller, Error, Handle};
use pyro_disk::{FileKind, TreeError};

use crate::Engine;
use crate::answers;
use crate::workspace::stopped::DiskPath;

/// The most that is read at once, whatever was asked for: it is kept in memory.
const MOST: u32 = 64 * 1024 * 1024;

#[async_trait]
impl Handle<WorkspaceDiskRead> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceDiskRead,
        caller: &Caller,
    ) -> Result<DiskContent, Error> {
        let path = DiskPath::parse(&asked.path)?;
        let disk = self.stopped_disk(&asked.workspace_id).await?;
        let what = format!("`{}` could not be read", path.absolute());
        let below = path.below_root();
        let offset = asked.offset;
        let most = match caller.is_model() {
            true => answers::FILE,
            false => MOST,
        };
        let limit = asked.max_bytes.get().min(most) as usize;
        let (size_bytes, bytes) = disk
            .with_files(&what, move |tree| {
                let path = tree.resolve(&below, true)?;
                let name = || String::from_utf8_lossy(&path).into_owned();
                let stat = tree.stat(&path)?;
                match stat {
                    Some(stat) if stat.kind == FileKind::File => {
                        Ok((stat.size, tree.read_from(&path, offset, limit)?))
                    }
                    Some(_) => Err(TreeError::WrongKind {
                        name: name(),
                        wanted: "a file",
                    }),
                    None => Err(TreeError::NotFound { name: name() }),
                }
            })
            .await?;
        let next_offset = offset.saturating_add(bytes.len() as u64);
        let (content, content_encoding) = match std::str::from_utf8(&bytes) {
            _ if asked.encoding == ContentEncoding::Base64 => {
                (BASE64_STANDARD.encode(&bytes), OutputEncoding::Base64)
            }
            Ok(text) => (text.to_owned(), OutputEncoding::Utf8),
            Err(_) => (
                String::from_utf8_lossy(&bytes).into_owned(),
                OutputEncoding::Utf8Replaced,
            ),
        };
        Ok(DiskContent {
            workspace_id: disk.id.clone(),
            path: path.absolute(),
            size_bytes,
            max_bytes: asked.max_bytes.get(),
            content,
            truncated: next_offset < size_bytes,
            offset,
            next_offset,
            content_encoding,
            bytes,
        })
    }
}
