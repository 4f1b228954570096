//! Against a registry of a few lines, which does as it is told.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::testing::{Tar, configuration, gzip};

#[derive(Default)]
struct State {
    /// Bodies by their paths, with their types.
    answers: HashMap<String, (String, Vec<u8>)>,
    /// What was asked, with the first byte of a range.
    asked: Vec<(String, Option<u64>)>,
    /// After how many bytes to break off, once for each.
    breaks: Vec<usize>,
    /// Who may ask, as the header has it.
    wanted: Option<String>,
    knows_ranges: bool,
    /// Says so instead of answering.
    status: Option<&'static str>,
}

struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            knows_ranges: true,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { address, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn has(&self, path: &str, media_type: &str, body: &[u8]) {
        let answer = (media_type.to_owned(), body.to_vec());
        self.state().answers.insert(path.to_owned(), answer);
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        self.has(
            &format!("/v2/app/blobs/{digest}"),
            "application/octet-stream",
            bytes,
        );
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    /// An image of these layers under a tag; returns the digest of its manifest.
    fn image(&self, tag: &str, layers: &[Vec<u8>]) -> Digest {
        let stored: Vec<Value> = layers
            .iter()
            .map(|layer| self.blob(&gzip(layer), "application/vnd.oci.image.layer.v1.tar+gzip"))
            .collect();
        let config = configuration(layers).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json"),
            "layers": stored,
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest);
        for name in [tag, &digest.to_string()] {
            self.has(&format!("/v2/app/manifests/{name}"), MANIFEST, &manifest);
        }
        digest
    }

    fn name(&self, rest: &str) -> ImageName {
        ImageName::parse(&format!("{}/app{rest}", self.address)).unwrap()
    }

    /// How often a blob was asked for, and from where on.
    fn ranges(&self) -> Vec<Option<u64>> {
        let state = self.state();
        let blobs = state
            .asked
            .iter()
            .filter(|(path, _)| path.contains("/blobs/"));
        blobs.map(|(_, from)| *from).collect()
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn answer(stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(&stream).lines();
    let Some(Ok(first)) = lines.next() else {
        // As servers do that hear no HTTP.
        let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        return;
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    // Where a list goes on is all that a question may say.
    let last = query.split('&').find(|word| word.starts_with("last="));
    let path = last.map_or(path.to_owned(), |last| format!("{path}?{last}"));
    let (mut from, mut authorization) = (None, None);
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let range = value.trim_start_matches("bytes=").trim_end_matches('-');
                from = range.parse().ok();
            }
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut state = state.lock().unwrap();
    state.asked.push((path.clone(), from));
    let mut head = "HTTP/1.1 ".to_owned();
    let mut body = Vec::new();
    let mut length = None;
    if let Some(status) = state.status.filter(|_| path != "/v2/") {
        head += &format!("{status}\r\n");
    } else if state.wanted.is_some() && state.wanted != authorization {
        head += "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a test\"\r\n";
    } else if path == "/v2/" {
        head += "200 OK\r\n";
    } else if let Some((media_type, whole)) = state.answers.get(&path).cloned() {
        let from = from.filter(|_| state.knows_ranges).filter(|from| *from > 0);
        head += match from {
            Some(_) => "206 Partial Content\r\n",
            None => "200 OK\r\n",
        };
        head += &format!("Content-Type: {media_type}\r\n");
        body = whole[usize::try_from(from.unwrap_or(0)).unwrap().min(whole.len())..].to_vec();
        if path.contains("/blobs/") && body.len() > 1000 && !state.breaks.is_empty() {
            length = Some(body.len());
            body.truncate(state.breaks.remove(0));
        }
    } else {
        head += "404 Not Found\r\nContent-Type: application/json\r\n";
        body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#.to_vec();
    }
    drop(state);
    let length = length.unwrap_or(body.len());
    head += &format!("Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = (&stream)
        .write_all(head.as_bytes())
        .and_then(|()| (&stream).write_all(&body));
}

#[derive(Default)]
struct Watched {
    first: Cell<Option<u64>>,
    last: Cell<(u64, u64)>,
    stopped: bool,
}

impl Watch for Watched {
    fn progress(&self, done: u64, all: u64) {
        assert!(done <= all);
        self.first.set(self.first.get().or(Some(done)));
        self.last.set((done, all));
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }
}

/// So much that it does not compress into a few bytes.
fn layer(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut text = String::new();
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push(char::from(b'a' + (state >> 24) as u8 % 26));
    }
    Tar::default().file("file", &text).bytes()
}

fn pull(server: &Server, rest: &str, store: &Store) -> Result<Image, OciError> {
    let name = server.name(rest);
    let watch = Watched::default();
    let registry = Registry::new(&name, &Access::default())?;
    let meant = registry.meant(&watch)?;
    let image = registry.fetch(&meant, store, &watch)?;
    let (done, all) = watch.last.get();
    assert_eq!(done, all);
    Ok(image)
}

/// The whole chain, as people see it.
fn refusal(server: &Server, rest: &str, store: &Store) -> String {
    let error = pull(server, rest, store).unwrap_err();
    let mut told = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        told += &format!(": {source}");
        next = source.source();
    }
    told
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(&folder.path().join("blobs")).unwrap();
    (folder, store)
}

fn parts(folder: &tempfile::TempDir) -> usize {
    let names = std::fs::read_dir(folder.path().join("blobs")).unwrap();
    names
        .filter(|name| {
            name.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".part")
        })
        .count()
}

#[test]
fn an_image_comes_whole_and_what_two_have_in_common_once() {
    let (server, (folder, store)) = (Server::start(), store());
    let digest = server.image("one", &[layer(1), layer(2)]);
    let image = pull(&server, ":one", &store).unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(image.layers.len(), 2);
    let stored = image.layers[0].blob.document("it").unwrap();
    assert_eq!(stored, gzip(&layer(1)));

    server.image("two", &[layer(1), layer(3)]);
    let before = server.ranges().len();
    pull(&server, ":two", &store).unwrap();
    // Its configuration, and the layer that is its own.
    assert_eq!(server.ranges().len(), before + 2);
    assert_eq!(parts(&folder), 0);
    // By digest it is the same one, and nothing comes again.
    let before = server.ranges().len();
    assert_eq!(
        pull(&server, &format!("@{digest}"), &store).unwrap().digest,
        digest
    );
    assert_eq!(server.ranges().len(), before);
}

#[test]
fn what_broke_off_goes_on_where_it_was() {
    for knows_ranges in [true, false] {
        let (server, (folder, store)) = (Server::start(), store());
        server.image("one", &[layer(1)]);
        server.state().knows_ranges = knows_ranges;
        server.state().breaks = vec![700, 3000];
        pull(&server, ":one", &store).unwrap();
        let ranges = server.ranges();
        assert!(ranges.contains(&Some(700)), "{ranges:?}");
        assert_eq!(ranges.contains(&Some(3700)), knows_ranges, "{ranges:?}");
        assert_eq!(parts(&folder), 0);
    }
    // Also what another process left.
    let (server, (_folder, store)) = (Server::start(), store());
    server.image("one", &[layer(1)]);
    let bytes = gzip(&layer(1));
    let mut part = store.part(&Digest::of(&bytes)).unwrap().unwrap();
    part.write(&bytes[..500]).unwrap();
    drop(part);
    let (name, watch) = (server.name(":one"), Watched::default());
    let registry = Registry::new(&name, &Access::default()).unwrap();
    let meant = registry.meant(&watch).unwrap();
    registry.fetch(&meant, &store, &watch).unwrap();
    assert!(server.ranges().contains(&Some(500)));
    assert_eq!(watch.first.get(), Some(500));
}

#[test]
fn what_is_not_what_its_digest_says_is_not_kept() {
    let (server, (folder, store)) = (Server::start(), store());
    server.image("one", &[layer(1)]);
    let path = format!("/v2/app/blobs/{}", Digest::of(&gzip(&layer(1))));
    let mut changed = gzip(&layer(1));
    changed[3000] ^= 1;
    server.has(&path, "application/octet-stream", &changed);
    // Over a break the registry's client cannot compare it, and the store does.
    server.state().breaks = vec![2000];
    let told = refusal(&server, ":one", &store);
    assert!(told.contains("is not what its digest says"), "{told}");
    assert_eq!(parts(&folder), 0);
    let digest = server.image("two", &[layer(1)]);
    server.has(
        &format!("/v2/app/manifests/{digest}"),
        MANIFEST,
        b"{\"schemaVersion\":2,\"layers\":[]}",
    );
    let told = refusal(&server, &format!("@{digest}"), &store);
    assert!(told.contains("digest") || told.contains("Digest"), "{told}");
}

#[test]
fn of_several_platforms_ours_is_taken_and_only_ours() {
    let (server, (_folder, store)) = (Server::start(), store());
    let digest = server.image("amd", &[layer(1)]);
    let entry = |architecture: &str, digest: &str| {
        json!({
            "mediaType": MANIFEST, "digest": digest, "size": 1,
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let other = Digest::of(b"other").to_string();
    let index =
        |manifests: Value| json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
    let both = json!([entry("arm64", &other), entry("amd64", &digest.to_string())]);
    let media_type = "application/vnd.oci.image.index.v1+json";
    server.has(
        "/v2/app/manifests/multi",
        media_type,
        index(both).as_bytes(),
    );
    assert_eq!(pull(&server, ":multi", &store).unwrap().digest, digest);
    let one = json!([entry("arm64", &other)]);
    server.has("/v2/app/manifests/arm", media_type, index(one).as_bytes());
    assert!(refusal(&server, ":arm", &store).contains("for linux/arm64"));
}

#[test]
fn what_a_registry_refuses_is_told() {
    let (server, (_folder, store)) = (Server::start(), store());
    server.image("1.0", &[layer(1)]);
    let tags = br#"{"name":"app","tags":["1.0","edge"]}"#;
    server.has("/v2/app/tags/list", "application/json", tags);
    let told = refusal(&server, ":1.O", &store);
    assert!(
        told.contains("there is no image") && told.contains("its tags are 1.0"),
        "{told}"
    );
    server.state().wanted = Some("Basic bWU6c2VjcmV0".to_owned());
    let told = refusal(&server, ":1.0", &store);
    assert!(
        told.contains("does not show") && told.contains("without credentials"),
        "{told}"
    );

    // With what the file says, it is let in.
    let name = server.name(":1.0");
    let auth = RegistryAuth::Basic("me".to_owned(), "secret".to_owned());
    let mut registry = Registry::new(&name, &Access::default()).unwrap();
    registry.auth = auth;
    registry.meant(&Watched::default()).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let name = ImageName::parse(&format!("{nobody}/app")).unwrap();
    let error = Registry::new(&name, &Access::default())
        .unwrap()
        .meant(&Watched::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("could not be reached"),
        "{error}"
    );
}

#[test]
fn a_registry_that_says_nothing_is_left_when_nobody_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let name = ImageName::parse(&format!("{silent}/app")).unwrap();
    let watch = Watched {
        stopped: true,
        ..Watched::default()
    };
    let begun = std::time::Instant::now();
    let ended = Registry::new(&name, &Access::default())
        .unwrap()
        .meant(&watch);
    assert!(matches!(ended, Err(OciError::Unwanted)));
    assert!(begun.elapsed() < SILENCE);
}

#[test]
fn a_registry_that_says_nothing_is_not_waited_for_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("{}/app:1", listener.local_addr().unwrap());
    let name = ImageName::parse(&name).unwrap();
    let mut registry = Registry::new(&name, &Access::default()).unwrap();
    registry.answer = Duration::from_secs(1);
    let error = registry.meant(&Watched::default()).unwrap_err();
    assert!(
        matches!(
            error,
            OciError::Registry(RegistryError::Silent { seconds: 1, .. })
        ),
        "{error}"
    );
}

#[test]
fn a_prune_passes_over_what_is_no_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let server = Server::start();
    let manifest = server.image("1", &[layer(1)]);
    let image = pull(&server, ":1", &store).unwrap();
    // What an archive of Docker's goes by.
    let config = configuration(&[layer(1)]).to_string();
    let config = Digest::of(config.as_bytes());
    assert!(store.find(&config).unwrap().is_some());
    assert_eq!(store.prune(&[config, manifest.clone()]).unwrap(), 0);
    assert_eq!(store.image(&manifest).unwrap().digest, image.digest);
}

#[test]
fn a_mirror_has_the_images_of_docker_hub() {
    let (server, (_folder, store)) = (Server::start(), store());
    let digest = server.image("1.0", &[layer(1)]);
    {
        let mut state = server.state();
        let answers = std::mem::take(&mut state.answers).into_iter();
        let moved = answers.map(|(path, it)| (path.replace("/app/", "/hub/library/app/"), it));
        state.answers = moved.collect();
    }
    let access = Access::of(&format!("{}/hub", server.address), "").unwrap();
    let watch = Watched::default();
    let name = ImageName::parse("app:1.0").unwrap();
    let registry = Registry::new(&name, &access).unwrap();
    let meant = registry.meant(&watch).unwrap();
    assert_eq!(meant.digest, digest);
    registry.fetch(&meant, &store, &watch).unwrap();
    let name = ImageName::parse("app:2.0").unwrap();
    let error = Registry::new(&name, &access)
        .unwrap()
        .meant(&watch)
        .unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("no image `docker.io/library/app:2.0`"),
        "{told}"
    );
}

#[test]
fn nearest_tags_are_looked_for_beyond_the_first_page() {
    let server = Server::start();
    let many: Vec<String> = (0..1000).map(|number| format!("a{number:04}")).collect();
    let page = |tags: Vec<String>| json!({ "name": "app", "tags": tags }).to_string();
    let path = "/v2/app/tags/list";
    server.has(
        path,
        "application/json\r\nLink: </v2/next>; rel=\"next\"",
        page(many).as_bytes(),
    );
    let last = page(vec!["stable".to_owned()]);
    server.has(
        &format!("{path}?last=a0999"),
        "application/json",
        last.as_bytes(),
    );
    let (_folder, store) = store();
    let told = refusal(&server, ":stabel", &store);
    assert!(told.contains("its tags are stable"), "{told}");
}

#[test]
fn what_a_registry_sends_is_bounded_and_looked_at() {
    let (server, (folder, store)) = (Server::start(), store());
    let path = "/v2/app/manifests/1";
    server.has(path, MANIFEST, " ".repeat((4 << 20) + 1).as_bytes());
    let told = refusal(&server, ":1", &store);
    assert!(
        told.contains("the manifest is longer than the 4194304 bytes"),
        "{told}"
    );
    server.has(path, "text/html", b"<html>please log in</html>");
    let told = refusal(&server, ":1", &store);
    assert!(told.contains("the manifest is malformed"), "{told}");

    let large = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(b"x").to_string(), "size": 1_u64 << 40,
        },
    });
    server.has(path, MANIFEST, large.to_string().as_bytes());
    let told = refusal(&server, ":1", &store);
    assert!(told.contains("the configuration is longer than"), "{told}");
    assert_eq!(server.ranges(), []);
    assert_eq!(parts(&folder), 0);

    for (status, told) in [
        ("429 Too Many Requests", "asked too often"),
        ("503 Busy", "refused with status 503"),
    ] {
        server.state().status = Some(status);
        let found = refusal(&server, ":1", &store);
        assert!(found.contains(told), "{found}");
    }
}

#[test]
fn an_answer_without_tls_is_told_as_that() {
    let server = Server::start();
    // As a host elsewhere is asked.
    let name = server.name(":1");
    let mut registry = Registry::new(&name, &Access::default()).unwrap();
    let https = ClientConfig {
        protocol: ClientProtocol::Https,
        ..ClientConfig::default()
    };
    registry.client = Client::try_from(https).unwrap();
    let error = registry.meant(&Watched::default()).unwrap_err();
    assert!(
        matches!(error, OciError::Registry(RegistryError::NoTls { .. })),
        "{error:?}"
    );
}
