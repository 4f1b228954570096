//! Whether a file is an archive, compressed or not, told by its bytes and not by its name.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use super::read::ArchiveReader;

/// How much is read at once.
const BUFFER: usize = 256 * 1024;

/// What a file is.
pub enum PackedFile {
    /// A tar archive, as it is without its compression.
    Archive(Box<dyn Read + Send>),
    /// Compressed in a way that is not read here.
    Unreadable(&'static str),
    /// Something else.
    Plain,
}

impl PackedFile {
    /// Looks at a file from its beginning.
    pub fn of(mut file: File) -> io::Result<Self> {
        let mut first = Vec::new();
        (&file).take(6).read_to_end(&mut first)?;
        for (magic, name) in [(&b"BZh"[..], "bzip2"), (b"\xfd7zXZ\0", "xz")] {
            if first.starts_with(magic) {
                return Ok(Self::Unreadable(name));
            }
        }
        file.rewind()?;
        // A compressed file that holds no archive is copied as it is.
        let begins_one = ArchiveReader::new(opened(file.try_clone()?, &first)?)
            .next_member()
            .is_ok_and(|member| member.is_some());
        if !begins_one {
            return Ok(Self::Plain);
        }
        file.rewind()?;
        Ok(Self::Archive(opened(file, &first)?))
    }
}

fn opened(file: File, first: &[u8]) -> io::Result<Box<dyn Read + Send>> {
    let file = BufReader::with_capacity(BUFFER, file);
    Ok(match first {
        // Several streams in a row are one archive, as parallel compressors write them.
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::{ArchiveWriter, Member, MemberKind};
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::fast());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn archives_are_known_by_their_bytes() {
        let mut writer = ArchiveWriter::new(Vec::new());
        let member = Member {
            name: b"a".to_vec(),
            kind: MemberKind::Folder,
            mode: 0o755,
            mtime_ns: 0,
            size: 0,
        };
        writer.member(&member).unwrap();
        let archive = writer.finish().unwrap();
        let zstd = zstd::encode_all(archive.as_slice(), 1).unwrap();
        for bytes in [archive.clone(), gzip(&archive), zstd] {
            let PackedFile::Archive(from) = PackedFile::of(file(&bytes)).unwrap() else {
                panic!("no archive");
            };
            let read = ArchiveReader::new(from).next_member().unwrap();
            assert_eq!(read, Some(member.clone()));
        }
        for bytes in [
            b"text".to_vec(),
            Vec::new(),
            gzip(b"text"),
            b"\x1f\x8bno".to_vec(),
        ] {
            assert!(matches!(
                PackedFile::of(file(&bytes)).unwrap(),
                PackedFile::Plain
            ));
        }
        let xz = PackedFile::of(file(b"\xfd7zXZ\0rest")).unwrap();
        assert!(matches!(xz, PackedFile::Unreadable("xz")));
    }
}
