//! Real apt on an archive of our own, with the signature of a key of our own; and tools that fail.

use std::process::Stdio;

use super::*;
use crate::testing::{CancelAfter, not_played, script};

/// `apt-get` and `dpkg-deb` that do as they are told.
struct Fakes {
    folder: tempfile::TempDir,
    source: DebianRunsc,
}

impl Fakes {
    fn new(apt_get: &str, dpkg_deb: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = DebianRunsc {
            apt_get: folder.path().join("apt-get"),
            dpkg_deb: folder.path().join("dpkg-deb"),
        };
        script(&source.apt_get, apt_get);
        script(&source.dpkg_deb, dpkg_deb);
        Self { folder, source }
    }

    fn fetch(&self, monitor: &dyn ProgressMonitor) -> Result<Fetched, CatalogError> {
        let work = self.folder.path().join(crate::files::unique());
        fs::create_dir(&work).unwrap();
        let suites = ["first", "second"].map(|suite| Suite {
            source: format!("deb http://mirror.example/debian {suite} main"),
            label: format!("label of {suite}"),
        });
        let proxy = Some("http://proxy.example:3128/".to_owned());
        self.source
            .fetch_from(&suites, "mirror.example", proxy, &work, monitor)
    }

    fn error(&self) -> CatalogError {
        self.fetch(&NoMonitor).unwrap_err()
    }
}

/// Of an apt that works.
const DOWNLOADS: &str = "case $2 in download) touch 'runsc_1%3a0.0~20240729.0-4_amd64.deb' ;; esac";
const UNPACKS: &str = "mkdir -p $3/usr/bin $3/usr/share/doc/runsc; \
    touch $3/usr/bin/runsc $3/usr/share/doc/runsc/copyright";

#[test]
fn the_steps_are_told_and_the_package_is_named() {
    let fakes = Fakes::new(DOWNLOADS, UNPACKS);
    let monitor = CancelAfter::calls(usize::MAX);
    let fetched = fakes.fetch(&monitor).unwrap();
    assert!(fetched.program.is_file() && fetched.copyright.is_file());
    assert_eq!(fetched.package, "1:0.0~20240729.0-4");
    assert_eq!(fetched.source, "label of first");
    let steps = monitor.steps.borrow();
    let messages: Vec<&str> = steps.iter().map(|step| &*step.message).collect();
    assert_eq!(
        messages,
        [
            "runsc: reading package lists from mirror.example",
            "runsc: downloading the package from mirror.example",
            "runsc: unpacking the package",
        ]
    );
    assert!(steps.is_sorted_by(|a, b| a.fraction < b.fraction));
}

#[test]
fn apt_gets_a_world_of_its_own() {
    let show = "{ cat \"$APT_CONFIG\"; cd \"$(dirname \"$APT_CONFIG\")\"; cat etc/sources.list; \
        stat -c %a .; echo $TMPDIR; } >&2; exit 1";
    let CatalogError::FetchFailed { log_tail, .. } = Fakes::new(show, UNPACKS).error() else {
        panic!("not as told");
    };
    let said = log_tail.join("\n");
    for words in [
        "Dir::Etc /",
        "APT::Architecture \"amd64\";",
        "Acquire::AllowInsecureRepositories \"false\";",
        "Acquire::http::Proxy http:/%2fproxy.example:3128/;",
        "deb http://mirror.example/debian first main",
        "\n700\n",
        "apt-0/tmp",
    ] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
}

#[test]
fn only_a_mirror_without_the_suite_or_the_package_is_asked_for_the_next_one() {
    let second_alone = "grep -q ' first ' \"$(dirname \"$APT_CONFIG\")/etc/sources.list\" && \
        { echo 'E: The repository does not have a Release file.'; exit 100; }\n";
    let fakes = Fakes::new(&format!("{second_alone}{DOWNLOADS}"), UNPACKS);
    assert_eq!(fakes.fetch(&NoMonitor).unwrap().source, "label of second");

    let asked = |line: &str| {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("asked");
        let fails = format!("echo >> {}; echo 'E: {line}'; exit 100", count.display());
        let error = Fakes::new(&fails, UNPACKS).error().to_string();
        assert!(
            error.contains("`reading package lists`") && error.contains(line),
            "{error}"
        );
        fs::read_to_string(count).unwrap().lines().count()
    };
    assert_eq!(asked("Unable to locate package runsc"), 2);
    assert_eq!(asked("Could not resolve mirror.example"), 1);
    assert_eq!(asked("The following signatures were invalid: BADSIG"), 1);
}

#[test]
fn a_tool_that_fails_at_any_step_is_told_with_what_it_said() {
    let step = |fakes: Fakes| match fakes.error() {
        CatalogError::FetchFailed {
            package,
            step,
            log_tail,
        } => {
            assert_eq!(package, "runsc");
            (step, log_tail.join("; "))
        }
        other => panic!("{other}"),
    };
    let of = |step: &Step| step.0.to_owned();
    let refuses = "test $2 = update || { echo 'E: Hash Sum mismatch'; exit 100; }";
    assert_eq!(
        step(Fakes::new(refuses, UNPACKS)),
        (of(&DOWNLOAD), "E: Hash Sum mismatch".to_owned())
    );
    assert_eq!(
        step(Fakes::new("exit 0", UNPACKS)),
        (of(&DOWNLOAD), String::new())
    );
    assert_eq!(
        step(Fakes::new(DOWNLOADS, "echo broken; exit 2")),
        (of(&UNPACK), "broken".to_owned())
    );
    // A link would lead to a file of the host.
    let link = "mkdir -p $3/usr/bin; ln -s /bin/true $3/usr/bin/runsc";
    let (at, said) = step(Fakes::new(DOWNLOADS, link));
    assert_eq!(at, UNPACK.0);
    assert!(said.contains("no file usr/bin/runsc"), "{said}");
}

/// Cancels once a file is there.
struct CancelAt(PathBuf);

impl ProgressMonitor for CancelAt {
    fn progress(&self, _step: &crate::Step) {}

    fn cancelled(&self) -> bool {
        self.0.exists()
    }
}

#[test]
fn a_fetch_is_cancelled_at_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let reached = folder.path().join("reached");
    let hang = format!("{{ touch {}; exec sleep 30; }}", reached.display());
    let apt_get = |at: &str| format!("test $2 = {at} && {hang}\n{DOWNLOADS}");
    for fakes in [
        Fakes::new(&apt_get("update"), UNPACKS),
        Fakes::new(&apt_get("download"), UNPACKS),
        Fakes::new(DOWNLOADS, &hang),
    ] {
        let error = fakes.fetch(&CancelAt(reached.clone())).unwrap_err();
        assert!(matches!(error, CatalogError::Cancelled), "{error}");
        fs::remove_file(&reached).unwrap();
    }
}

#[test]
fn a_path_is_a_word_of_apts_configuration_whatever_it_has_in_it() {
    assert_eq!(quoted(b"/a.b/c-d~1"), "/a.b/c-d~1");
    assert_eq!(
        quoted(b"/a \"b\";%//\xc3\xbc"),
        "/a%20%22b%22%3b%25/%2f%c3%bc"
    );
}

/// An archive with one package in it, as far as apt needs one.
struct Archive {
    folder: tempfile::TempDir,
}

const KEY: &str = "archive@pyro.example";

impl Archive {
    /// `None` where this host cannot make one.
    fn new() -> Option<Self> {
        let there = |program: &str| {
            let asked = Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .status();
            asked.is_ok_and(|status| status.success())
        };
        if !["gpg", "apt-get", "dpkg-deb"].into_iter().all(there) {
            not_played("gpg, apt-get or dpkg-deb is missing");
            return None;
        }
        let archive = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        archive.shell(
            "mkdir -m 700 key && mkdir -p tree/DEBIAN tree/usr/bin tree/usr/share/doc/runsc \
                 pool dists/test/main/binary-amd64
             gpg --batch --quiet --passphrase '' --quick-generate-key $KEY ed25519 sign never
             gpg --batch --export $KEY > keyring.gpg
             printf '#!/bin/sh\\necho runsc version 0.0~20240729.0\\n' > tree/usr/bin/runsc
             chmod 755 tree/usr/bin/runsc
             echo Apache-2.0 > tree/usr/share/doc/runsc/copyright
             printf '%s\\n' 'Package: runsc' 'Version: 0.0~20240729.0-4' 'Architecture: amd64' \
                 'Maintainer: Nobody <nobody@pyro.example>' 'Description: a stand-in' \
                 > tree/DEBIAN/control
             dpkg-deb --root-owner-group -b tree pool/runsc_0.0~20240729.0-4_amd64.deb > log",
        );
        archive.index();
        archive.shell(
            "gpg --batch --yes --quiet --local-user $KEY --clearsign -o dists/test/InRelease \
                 dists/test/Release",
        );
        Some(archive)
    }

    /// Lists the package.
    fn index(&self) {
        self.shell(
            "deb=pool/runsc_0.0~20240729.0-4_amd64.deb
             { cat tree/DEBIAN/control; echo Filename: $deb; echo Size: $(stat -c %s $deb)
               echo SHA256: $(sha256sum < $deb | cut -d' ' -f1); } \
                 > dists/test/main/binary-amd64/Packages
             cd dists/test; list=main/binary-amd64/Packages
             { printf '%s\\n' 'Origin: pyro' 'Suite: test' 'Codename: test' 'Architectures: amd64' \
                   'Components: main' 'Date: Mon, 01 Jan 2024 00:00:00 UTC' SHA256:
               echo \" $(sha256sum < $list | cut -d' ' -f1) $(stat -c %s $list) $list\"; } > Release",
        );
    }

    fn shell(&self, script: &str) {
        let folder = self.folder.path();
        let done = Command::new("sh")
            .args(["-euc", script])
            .current_dir(folder)
            .env("GNUPGHOME", folder.join("key"))
            .env("KEY", KEY)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{script}: {said}");
    }

    fn fetch(&self) -> Result<Fetched, CatalogError> {
        self.fetch_trusting(&self.folder.path().join("keyring.gpg"))
    }

    fn fetch_trusting(&self, keyring: &Path) -> Result<Fetched, CatalogError> {
        let work = self.folder.path().join(crate::files::unique());
        fs::create_dir(&work).unwrap();
        let suites = [Suite {
            source: format!(
                "deb [signed-by={}] copy:{} test main",
                keyring.display(),
                self.folder.path().display()
            ),
            label: "label".to_owned(),
        }];
        DebianRunsc::default().fetch_from(&suites, "here", None, &work, &NoMonitor)
    }

    /// Fetches, and returns the step that failed with what was said there.
    fn refusal(&self) -> (String, String) {
        match self.fetch() {
            Err(CatalogError::FetchFailed { step, log_tail, .. }) => (step, log_tail.join("\n")),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // gpg left an agent running, which would notice by itself only after a while.
        let _ = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", self.folder.path().join("key"))
            .status();
    }
}

#[test]
fn apt_fetches_what_the_archives_key_has_signed_and_nothing_else() {
    let Some(archive) = Archive::new() else {
        return;
    };
    let fetched = archive.fetch().unwrap();
    assert_eq!(fetched.package, "0.0~20240729.0-4");
    let text = fs::read_to_string(&fetched.program).unwrap();
    assert!(text.contains("runsc version"), "{text}");

    // Another key, even one that the host trusts for its own sources.
    match archive.fetch_trusting(&tools::require_for_fetch().unwrap()) {
        Err(CatalogError::FetchFailed { step, log_tail, .. }) => {
            assert_eq!(step, READ_LISTS.0);
            assert!(log_tail.join("\n").contains("NO_PUBKEY"), "{log_tail:?}");
        }
        other => panic!("{other:?}"),
    }

    // A package of the right size that is not the one that was listed.
    let package = "pool/runsc_0.0~20240729.0-4_amd64.deb";
    archive.shell(&format!(
        "cp {package} good; printf X | dd of={package} bs=1 seek=200 conv=notrunc"
    ));
    let (step, said) = archive.refusal();
    assert_eq!(step, DOWNLOAD.0);
    assert!(said.contains("Hash Sum mismatch"), "{said}");

    // A list that was not signed, for that package.
    archive.index();
    let (step, said) = archive.refusal();
    assert_eq!(step, READ_LISTS.0);
    assert!(
        said.contains("Hash Sum mismatch") || said.contains("unexpected size"),
        "{said}"
    );

    // An index that was changed after it was signed.
    archive.shell("sed -i 's/Origin: pyro/Origin: evil/' dists/test/InRelease");
    let (step, said) = archive.refusal();
    assert_eq!(step, READ_LISTS.0);
    assert!(said.contains("BADSIG"), "{said}");

    // None at all.
    archive.shell("rm dists/test/InRelease");
    let (step, said) = archive.refusal();
    assert_eq!(step, READ_LISTS.0);
    assert!(said.contains("is not signed"), "{said}");
}
