use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::Digest;
use crate::testing::{Layout, Tar, configuration};

fn layers() -> Vec<Vec<u8>> {
    let layer = |name: &str| Tar::default().file(name, name).bytes();
    vec![layer("one"), layer("two")]
}

fn open(text: &str) -> Result<Image, OciError> {
    open_with(text, 1 << 20)
}

fn open_with(text: &str, most_bytes: u64) -> Result<Image, OciError> {
    let reference = Local::parse(text).unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let room = Room {
        folder: folder.path(),
        most_bytes,
        is_stopped: &|| false,
    };
    let image = Source::open(&reference, &room)?.image();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    image
}

fn refusal(text: &str) -> String {
    open(text).unwrap_err().to_string()
}

struct Rig {
    folder: TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("layout")).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    fn with_one(self) -> Self {
        let path = self.path();
        let layout = Layout(&path);
        layout.index(&[layout.image(&configuration(&layers()), &layers())]);
        self
    }

    fn open(&self, name: &str) -> Result<Image, OciError> {
        open(&format!("oci:{}{name}", self.path().display()))
    }

    fn refusal(&self, name: &str) -> String {
        self.open(name).unwrap_err().to_string()
    }
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

fn on(mut descriptor: Value, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
    descriptor
}

#[test]
fn a_layout_and_its_archive_are_one_image() {
    let rig = Rig::new().with_one();
    let image = rig.open("").unwrap();
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.config.env, ["PATH=/app/bin:/bin", "MODE=test"]);
    assert_eq!(image.config.working_dir.as_deref(), Some("/app"));
    assert_eq!(image.config.user, None);
    assert_eq!(image.config.entrypoint, ["/app/bin/serve"]);
    assert_eq!(image.config.cmd, ["--verbose"]);
    assert_eq!(image.config.exposed_ports, ["8080/tcp"]);
    assert_eq!(image.config.labels["maker"], "a test");

    let file = rig.folder.path().join("image.tar");
    Layout(&rig.path()).archive(&file);
    let archived = open(&format!("oci-archive:{}", file.display())).unwrap();
    assert_eq!(archived.digest, image.digest);
    for (one, other) in image.layers.iter().zip(&archived.layers) {
        let bytes = |layer: &crate::Layer| layer.blob.document("it").unwrap();
        assert_eq!(bytes(one), bytes(other));
    }
}

#[test]
fn of_several_the_named_one_is_meant_and_of_several_platforms_ours() {
    let rig = Rig::new();
    let path = rig.path();
    let layout = Layout(&path);
    let ours = layout.image(&configuration(&layers()), &layers());
    let mut other = configuration(&layers());
    other["architecture"] = json!("arm64");
    let theirs = layout.image(&other, &layers());
    let digest = ours["digest"].as_str().unwrap().to_owned();

    layout.index(&[named(theirs.clone(), "arm"), named(ours.clone(), "1.0")]);
    assert_eq!(rig.open(":1.0").unwrap().digest.to_string(), digest);
    assert!(
        rig.refusal("")
            .contains("more than one image, and none was named; it has arm, 1.0")
    );
    assert!(
        rig.refusal(":2.0")
            .contains("no image named `2.0`; it has arm, 1.0")
    );
    assert!(rig.refusal(":arm").contains("for linux/arm64"));

    let index = |manifests: Value| {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        layout.document(&index, "application/vnd.oci.image.index.v1+json")
    };
    let both = json!([on(theirs.clone(), "arm64"), on(ours.clone(), "amd64")]);
    layout.index(&[index(both)]);
    assert_eq!(rig.open("").unwrap().digest.to_string(), digest);
    layout.index(&[index(json!([on(theirs.clone(), "arm64")]))]);
    assert!(
        rig.refusal("")
            .contains("for linux/arm64, and guests are linux/amd64")
    );
    layout.index(&[on(theirs, "arm64"), on(ours, "amd64")]);
    assert_eq!(rig.open("").unwrap().digest.to_string(), digest);
    layout.index(&[]);
    assert!(rig.refusal("").contains("lists no image"));
}

#[test]
fn a_changed_document_is_not_believed() {
    let rig = Rig::new().with_one();
    let blobs = rig.path().join("blobs/sha256");
    for entry in fs::read_dir(&blobs).unwrap().map(Result::unwrap) {
        let bytes = fs::read(entry.path()).unwrap();
        if bytes[0] != b'{' {
            continue;
        }
        // As long as it was.
        let changed = String::from_utf8(bytes.clone())
            .unwrap()
            .replacen("linux", "Linux", 1);
        let changed = changed.replacen("schema", "Schema", 1);
        fs::write(entry.path(), changed).unwrap();
        assert!(rig.refusal("").contains("is not what its digest says"));
        fs::write(entry.path(), &bytes[1..]).unwrap();
        assert!(
            rig.refusal("")
                .contains("is not as long as its descriptor says")
        );
        fs::remove_file(entry.path()).unwrap();
        assert!(rig.refusal("").contains("is not in it"));
        fs::write(entry.path(), bytes).unwrap();
    }
    rig.open("").unwrap();
}

#[test]
fn a_configuration_must_be_about_the_layers_that_there_are() {
    let rig = Rig::new();
    let path = rig.path();
    let layout = Layout(&path);
    layout.index(&[layout.image(&configuration(&layers()), &layers()[..1])]);
    assert!(rig.refusal("").contains("is about 2 layers, and it has 1"));
}

#[test]
fn what_is_no_image_says_what_is_missing() {
    let rig = Rig::new();
    let folder = rig.folder.path();
    assert!(rig.refusal("").contains("no `index.json`"));
    assert!(refusal(&format!("oci:{}/none", folder.display())).contains("there is no folder at"));
    let archive = |name: &str| format!("oci-archive:{}/{name}", folder.display());
    assert!(refusal(&archive("none")).contains("there is no file at"));
    fs::write(folder.join("text"), "no archive".repeat(100)).unwrap();
    let told = refusal(&archive("layout"));
    assert!(told.contains("it is a folder; name it `oci:/"), "{told}");
    let told = refusal(&format!("oci:{}/text", folder.display()));
    assert!(
        told.contains("it is a file; name it `oci-archive:/"),
        "{told}"
    );
    assert!(refusal(&archive("text")).contains("no tar archive"));
    fs::write(folder.join("packed"), b"BZh91AY&SY").unwrap();
    assert!(refusal(&archive("packed")).contains("unpack it first, with `bzip2 -d`"));
    fs::write(folder.join("packed"), crate::testing::gzip(b"something")).unwrap();
    assert!(refusal(&archive("packed")).contains("no tar archive"));
    fs::write(
        folder.join("packed"),
        &crate::testing::gzip(&[7; 5000])[..30],
    )
    .unwrap();
    assert!(refusal(&archive("packed")).contains("cannot be unpacked"));
    fs::write(folder.join("empty.tar"), [0; 1024]).unwrap();
    assert!(refusal(&archive("empty.tar")).contains("no `index.json`"));
    let docker = format!("docker-archive:{}/empty.tar", folder.display());
    assert!(refusal(&docker).contains("no `manifest.json`"));
    fs::write(rig.path().join("index.json"), "{").unwrap();
    assert!(rig.refusal("").contains("`index.json` is malformed"));
}

/// As `docker save` of before and of now writes them: layers in folders or as blobs, some as links.
fn docker_archive(file: &Path, config_name: Option<&str>) -> Digest {
    let config = configuration(&layers()).to_string();
    let digest = Digest::of(config.as_bytes());
    let own_name = format!("{}.json", digest.hex());
    let config_name = config_name.unwrap_or(&own_name);
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": ["app:latest", "registry:5000/app:1.0", "docker.io/library/web:2"],
        "Layers": ["a/layer.tar", "b/layer.tar"],
    }]);
    let mut tar = Tar::default().file("manifest.json", &manifest.to_string());
    // Longer than a name in a header.
    tar = tar.pax("path", config_name).file("config", &config);
    let layer = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    tar = tar
        .file("x/layer.tar", &layer(&layers()[0]))
        .symlink("a/layer.tar", "../x/layer.tar")
        .file("./b/layer.tar", &layer(&layers()[1]));
    fs::write(file, tar.bytes()).unwrap();
    digest
}

#[test]
fn an_archive_of_dockers_is_read_with_its_links() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    let digest = docker_archive(&file, None);
    let reference = |name: &str| format!("docker-archive:{}{name}", file.display());
    for name in [
        "",
        ":app",
        ":app:latest",
        ":registry:5000/app:1.0",
        ":web:2",
    ] {
        let image = open(&reference(name)).unwrap();
        assert_eq!(image.digest, digest);
        let stored: Vec<Vec<u8>> = image
            .layers
            .iter()
            .map(|layer| layer.blob.document("it").unwrap())
            .collect();
        assert_eq!(stored, layers());
    }
    let told = refusal(&reference(":other"));
    assert!(
        told.contains("it has app:latest, registry:5000/app:1.0, docker.io/library/web:2"),
        "{told}"
    );

    docker_archive(&file, Some(&format!("{}.json", "0".repeat(64))));
    assert!(refusal(&reference("")).contains("the configuration is not what its digest says"));
}

#[test]
fn archives_are_what_is_in_them_and_may_be_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("docker.tar");
    let dockers = docker_archive(&file, None);
    let named = |transport: &str, file: &Path| format!("{transport}:{}", file.display());
    assert_eq!(open(&named("oci-archive", &file)).unwrap().digest, dockers);

    let rig = Rig::new().with_one();
    let oci = folder.path().join("oci.tar");
    Layout(&rig.path()).archive(&oci);
    let digest = rig.open("").unwrap().digest;
    assert_eq!(open(&named("docker-archive", &oci)).unwrap().digest, digest);

    let bytes = fs::read(&file).unwrap();
    let packed = folder.path().join("packed");
    for stored in [crate::testing::gzip(&bytes), crate::testing::zstd(&bytes)] {
        fs::write(&packed, stored).unwrap();
        let image = open(&named("docker-archive", &packed)).unwrap();
        assert_eq!(image.digest, dockers);
        assert_eq!(image.layers[1].blob.document("it").unwrap(), layers()[1]);
        let most = bytes.len() as u64 - 1;
        let told = open_with(&named("docker-archive", &packed), most).unwrap_err();
        assert!(told.to_string().contains("unpacks to more than"), "{told}");
    }
}

#[test]
fn documents_are_bounded() {
    let rig = Rig::new();
    let path = rig.path();
    let layout = Layout(&path);
    let mut huge = configuration(&layers());
    huge["comment"] = json!("x".repeat(4 << 20));
    layout.index(&[layout.image(&huge, &layers())]);
    let told = rig.refusal("");
    assert!(
        told.contains("the configuration is longer than the 4194304 bytes"),
        "{told}"
    );
    fs::write(path.join("index.json"), " ".repeat((4 << 20) + 1)).unwrap();
    let told = rig.refusal("");
    assert!(told.contains("`index.json` is longer than"), "{told}");
}
