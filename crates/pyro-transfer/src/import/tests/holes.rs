//! Files with holes, and archives that hold them.

use std::os::unix::fs::FileExt;
use std::process::Command;

use super::*;

const MIB: u64 = 1024 * 1024;

/// 64 MiB with data at two places.
fn sparse_file(path: &Path) -> Vec<u8> {
    let file = fs::File::create(path).unwrap();
    file.set_len(64 * MIB).unwrap();
    file.write_all_at(&[7; 5000], 20 * MIB).unwrap();
    file.write_all_at(b"end", 64 * MIB - 3).unwrap();
    set_time(path, Duration::from_secs(1_600_000_000));
    fs::read(path).unwrap()
}

#[test]
fn holes_do_not_travel() {
    let folder = tempfile::tempdir().unwrap();
    let content = sparse_file(&folder.path().join("sparse"));
    fs::File::create(folder.path().join("all hole"))
        .unwrap()
        .set_len(MIB)
        .unwrap();
    let (packed, unpacked) = pack(folder.path(), None).unwrap();
    assert_eq!(packed.whole.bytes, 65 * MIB);
    assert!(unpacked[&b"sparse"[..]].1 == content);
    assert!(unpacked[&b"all hole"[..]].1 == vec![0; MIB as usize]);

    let source = Source::open(folder.path(), None).unwrap();
    let survey = source.survey(&mut go_on).unwrap();
    let mut bytes = Vec::new();
    source.pack(&survey, None, &mut bytes, &mut go_on).unwrap();
    assert!(bytes.len() < 256 * 1024, "{}", bytes.len());
}

#[test]
fn archives_of_other_tools_keep_their_holes() {
    let folder = tempfile::tempdir().unwrap();
    let content = sparse_file(&folder.path().join("sparse"));
    // More parts than a header of the old form has room for.
    let many = fs::File::create(folder.path().join("many")).unwrap();
    for at in 0..60 {
        many.write_all_at(b"x", at * MIB).unwrap();
    }
    fs::write(folder.path().join("plain"), "plain").unwrap();
    for (name, flags) in [
        ("gnu", &["--format=gnu"][..]),
        ("0.0", &["--format=pax", "--sparse-version=0.0"]),
        ("0.1", &["--format=pax", "--sparse-version=0.1"]),
        ("1.0", &["--format=pax", "--sparse-version=1.0"]),
    ] {
        let path = folder.path().join(format!("{name}.tar"));
        let mut tar = Command::new("tar");
        tar.args(flags).args(["--sparse", "-cf"]).arg(&path);
        tar.arg("-C")
            .arg(folder.path())
            .args(["sparse", "many", "plain"]);
        assert!(tar.status().unwrap().success());
        assert!(fs::metadata(&path).unwrap().size() < MIB);
        let (packed, unpacked) = pack(&path, None).unwrap();
        assert_eq!(packed.whole.bytes, 64 * MIB + 59 * MIB + 1 + 5, "{name}");
        assert!(unpacked[&b"sparse"[..]].1 == content, "{name}");
        assert!(unpacked[&b"many"[..]].1 == fs::read(folder.path().join("many")).unwrap());
        assert_eq!(unpacked[&b"plain"[..]].1, b"plain");
        assert_eq!(
            unpacked[&b"sparse"[..]].0.mtime_ns,
            1_600_000_000_000_000_000
        );

        let (packed, _) = pack(&path, Some(&listing(&unpacked))).unwrap();
        assert_eq!(packed.changed, Totals::default());
    }
}
