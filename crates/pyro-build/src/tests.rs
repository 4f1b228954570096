//! Whole files, from their text to the steps with their keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pyro_oci::Config;

use crate::context::Context;
use crate::ignore_rules::IgnoreRules;
use crate::plan::{Base, Plan};
use crate::resolve::{Action, BaseFacts, Content, CopyWhat, Resolved};
use crate::{File, Key};

fn facts() -> BTreeMap<String, BaseFacts> {
    let config = Config {
        env: vec!["PATH=/base/bin".to_owned()],
        cmd: vec!["base".to_owned()],
        ..Config::default()
    };
    let facts = BaseFacts {
        key: Key::of_environment("sha256:1", ""),
        config,
    };
    [("base", facts.clone()), ("tools", facts)]
        .map(|(name, it)| (name.to_owned(), it))
        .into()
}

struct Build<'a> {
    text: &'a str,
    args: &'a [(&'a str, &'a str)],
    target: Option<&'a str>,
    context: Option<&'a Path>,
}

impl Build<'_> {
    fn plan(&self) -> Result<Plan, String> {
        let args = self.args.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        let file = File::parse(self.text).map_err(|error| error.to_string())?;
        Plan::of(&file, self.target, &args.collect()).map_err(|error| error.to_string())
    }

    fn resolve(&self) -> Result<Resolved, String> {
        let context = self
            .context
            .map(|folder| Context::open(folder, IgnoreRules::default()).unwrap());
        let resolved = self.plan()?.resolve(&facts(), context.as_ref());
        resolved.map_err(|error| error.to_string())
    }
}

fn text(text: &str) -> Build<'_> {
    Build {
        text,
        args: &[],
        target: None,
        context: None,
    }
}

#[test]
fn a_file_of_several_stages_becomes_steps() {
    let read = Build {
        args: &[("VERSION", "2")],
        ..text(
            "# syntax=docker/dockerfile:1\n\
             ARG BASE=base\n\
             FROM $BASE AS Build\n\
             ARG VERSION=1 OTHER\n\
             ENV NAME=\"a b\" PATH=/x:$PATH\n\
             WORKDIR src\n\
             RUN make V=$VERSION \\\n\
             # a comment\n    all\n\
             FROM unused AS unused\n\
             RUN false\n\
             FROM tools\n\
             USER dev\n\
             COPY --from=build --chown=dev:dev --chmod=755 /src/out /usr/bin/\n\
             COPY --from=tools /etc/x /etc/x\n\
             RUN [\"prog\", \"$A\"]\n\
             EXPOSE 80\n\
             LABEL a.b=\"c d\"\n\
             ENTRYPOINT [\"prog\"]\n",
        )
    };
    let plan = read.plan().unwrap();
    let names: Vec<_> = plan
        .environments()
        .iter()
        .map(|(name, at)| (*name, at.line))
        .collect();
    assert_eq!(names, [("base", 3), ("tools", 12)]);
    assert!(!plan.has_context());
    let resolved = read.resolve().unwrap();
    let [build, target] = resolved.stages.as_slice() else {
        panic!("{resolved:?}");
    };
    assert_eq!((build.name.as_str(), target.name.as_str()), ("build", "2"));
    let Action::Run(run) = &build.steps[3].action else {
        panic!("{:?}", build.steps[3]);
    };
    assert_eq!(run.words, ["/bin/sh", "-c", "make V=$VERSION     all"]);
    assert_eq!((run.folder.as_str(), build.steps[3].at.line), ("/src", 7));
    let pair = |name: &str| {
        run.env
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, it)| it.as_str())
    };
    assert_eq!(pair("NAME"), Some("a b"));
    assert_eq!(pair("PATH"), Some("/x:/base/bin"));
    assert_eq!((pair("VERSION"), pair("OTHER")), (Some("2"), None));
    let Action::Copy(copy) = &target.steps[1].action else {
        panic!("{:?}", target.steps[1]);
    };
    assert_eq!(copy.destination, "/usr/bin");
    assert_eq!(
        (copy.alone.as_ref(), copy.owner.as_deref()),
        (None, Some("dev:dev"))
    );
    assert_eq!(copy.mode, Some(0o755));
    let sources = vec!["/src/out".to_owned()];
    let from = Base::Stage(0);
    assert_eq!(copy.what, CopyWhat::Of { from, sources });
    let Action::Run(run) = &target.steps[3].action else {
        panic!("{:?}", target.steps[3]);
    };
    assert_eq!(run.words, ["prog", "$A"]);
    assert_eq!(run.user.as_deref(), Some("dev"));
    let config = &target.config;
    assert_eq!(config.exposed_ports, ["80/tcp"]);
    assert_eq!(config.labels["a.b"], "c d");
    assert_eq!(config.entrypoint, ["prog"]);
    assert!(config.cmd.is_empty(), "{:?}", config.cmd);
    // Only instructions that change files change the key.
    assert_eq!(target.steps[3].key, target.key);
    assert_ne!(target.steps[2].key, target.key);
}

#[test]
fn documents_are_scripts_and_files() {
    let resolved = text(
        "FROM base\n\
         RUN <<EOF\na\nb\nEOF\n\
         RUN <<EOF cat\nx\nEOF\n\
         RUN <<EOF\n#!/usr/bin/env python3\nprint()\nEOF\n\
         RUN python3 - <<'EOF' && true\nprint('$x')\nEOF\n\
         COPY <<A <<\"B\" /etc/\n$PATH\nA\n$PATH\nB\n\
         COPY <<-name /one\n\tx\n\tname\n",
    )
    .resolve()
    .unwrap();
    let steps = &resolved.stages[0].steps;
    let run = |number: usize| match &steps[number].action {
        Action::Run(run) => run,
        other => panic!("{other:?}"),
    };
    assert_eq!(run(0).words, ["/bin/sh", "-c", "a\nb\n"]);
    assert_eq!(run(1).words[2], "<<EOF cat\nx\nEOF\n");
    assert_eq!(run(2).words, ["/usr/bin/env", "python3"]);
    assert_eq!(
        run(2).script.as_deref(),
        Some("#!/usr/bin/env python3\nprint()\n")
    );
    assert_eq!(
        run(3).words[2],
        "python3 - <<'EOF' && true\nprint('$x')\nEOF\n"
    );
    assert_eq!(
        (steps[3].at.line, steps[4].at.line, steps[5].at.line),
        (13, 16, 21)
    );
    let members = |number: usize| match &steps[number].action {
        Action::Copy(copy) => match &copy.what {
            CopyWhat::Members { members, .. } => (copy, members),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let (_, two) = members(4);
    let inline = |text: &str| Content::Inline(text.as_bytes().to_vec());
    assert_eq!(
        (two[0].name.as_slice(), &two[0].content),
        (b"A".as_slice(), &inline("/base/bin\n"))
    );
    assert_eq!(
        (two[1].name.as_slice(), &two[1].content),
        (b"B".as_slice(), &inline("$PATH\n"))
    );
    let (copy, one) = members(5);
    assert_eq!(
        (copy.destination.as_str(), copy.alone.as_deref()),
        ("/one", Some(b"name".as_slice()))
    );
    assert_eq!(one[0].content, inline("x\n"));
}

#[test]
fn a_key_is_of_the_bytes_and_not_of_the_times() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/a"), "1").unwrap();
    fs::write(folder.path().join("b"), "1").unwrap();
    let key = |words: &str, args: &[(&str, &str)]| {
        let words = format!("FROM base\nARG A=1\n{words}\n");
        let build = Build {
            context: Some(folder.path()),
            args,
            ..text(&words)
        };
        build.resolve().unwrap().stages[0].key.clone()
    };
    let first = key("COPY src /x/", &[]);
    fs::write(folder.path().join("src/a"), "1").unwrap();
    assert_eq!(key("COPY src /x/", &[]), first);
    fs::write(folder.path().join("b"), "2").unwrap();
    assert_eq!(key("COPY src /x/", &[]), first);
    fs::write(folder.path().join("src/a"), "2").unwrap();
    assert_ne!(key("COPY src /x/", &[]), first);
    assert_ne!(
        key("COPY src /x/", &[]),
        key("COPY --chmod=700 src /x/", &[])
    );
    assert_ne!(key("COPY src /x/", &[]), key("COPY --chown=1 src /x/", &[]));
    assert_ne!(key("COPY b /x", &[]), key("COPY b /x/", &[]));
    assert_ne!(key("RUN x", &[]), key("RUN x", &[("A", "2")]));
    let secret = "RUN --mount=type=secret,id=a x";
    assert_ne!(key("RUN x", &[]), key(secret, &[]));
    assert_ne!(key("USER a\nRUN x", &[]), key("USER b\nRUN x", &[]));
    assert_ne!(key("WORKDIR /a\nRUN x", &[]), key("WORKDIR /b\nRUN x", &[]));
    assert_eq!(key("LABEL a=1", &[]), key("LABEL a=2", &[]));
}

#[test]
fn sources_are_found_in_the_context_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/a.c"), "a").unwrap();
    fs::write(folder.path().join("src/b.c"), "b").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).unwrap();
    let read = |words: &str| {
        let words = format!("FROM base\n\n{words}\n");
        let build = Build {
            context: Some(folder.path()),
            ..text(&words)
        };
        build
            .resolve()
            .map(|it| match &it.stages[0].steps[0].action {
                Action::Copy(copy) => match &copy.what {
                    CopyWhat::Members { members, .. } => members
                        .iter()
                        .map(|member| String::from_utf8_lossy(&member.name).into_owned())
                        .collect::<Vec<_>>(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
    };
    assert_eq!(read("COPY src/*.c /x/").unwrap(), ["a.c", "b.c"]);
    assert_eq!(
        read("COPY . /x").unwrap(),
        ["out", "src", "src/a.c", "src/b.c"]
    );
    assert_eq!(
        read("COPY [\"src\", \"/with space\"]").unwrap(),
        ["a.c", "b.c"]
    );
    for (words, told) in [
        (
            "COPY none /x",
            "line 3 (COPY): `none` is not in the context",
        ),
        (
            "COPY *.py /x/",
            "line 3 (COPY): nothing in the context matches `*.py`",
        ),
        (
            "COPY ../x /x",
            "line 3 (COPY): `../x` is outside of what may be copied",
        ),
        (
            "COPY out /x",
            "line 3 (COPY): `out` leads out of the context, where nothing is copied from",
        ),
        (
            "COPY src/a.c src/b.c /x",
            "line 3 (COPY): several sources need a destination that ends with `/`",
        ),
        (
            "COPY --chmod=u+x src /x",
            "line 3 (COPY): `--chmod=u+x`, which is not octal, is not supported",
        ),
    ] {
        assert_eq!(read(words).unwrap_err(), told);
    }
}

#[test]
fn what_is_not_supported_is_named_with_its_line() {
    for (words, told) in [
        ("", "the file: expected at least one FROM instruction"),
        ("RUN x\n", "line 1 (RUN): expected FROM"),
        (
            "FROM base\nFROBNICATE x\n",
            "line 2 (FROBNICATE): unknown instruction `FROBNICATE`",
        ),
        (
            "FROM base\nONBUILD RUN x\n",
            "line 2 (ONBUILD): `ONBUILD` is not supported",
        ),
        (
            "FROM scratch\n",
            "line 1 (FROM): `scratch` is not supported",
        ),
        (
            "FROM --platform=linux/arm64 base\n",
            "line 1 (FROM): platform `linux/arm64` is not supported",
        ),
        (
            "FROM base\nADD https://x/y /z\n",
            "line 2 (ADD): a source of the network (`https://x/y`) is not supported",
        ),
        (
            "FROM base\nRUN --mount=type=cache,target=/x y\n",
            "line 2 (RUN): `--mount=type=cache` is not supported",
        ),
        (
            "FROM base\nRUN --network=none y\n",
            "line 2 (RUN): `--network` is not supported",
        ),
        (
            "FROM base\nCOPY --parents a b\n",
            "line 2 (COPY): `--parents` is not supported",
        ),
        ("FROM base\n\nENV A\n", "line 3 (ENV): `A` is no NAME=VALUE"),
        (
            "FROM base\nARG 1x=y\n",
            "line 2 (ARG): `1x` is no name of a variable",
        ),
        (
            "FROM base\nUSER ${A%x}\n",
            "line 2 (USER): `${A%x}` is not supported",
        ),
        (
            "FROM base\nUSER ${A:?say who}\n",
            "line 2 (USER): `A`: say who",
        ),
        ("FROM base AS a\nCOPY --from=b /x /y\nFROM base AS b\n", ""),
        (
            "FROM base AS a\nFROM base AS a\n",
            "line 2 (FROM): stage `a` is there already",
        ),
        ("FROM b\nFROM base AS b\nFROM b\n", ""),
        (
            "FROM $NONE\n",
            "line 1 (FROM): `$NONE` is empty: give its `ARG` a value",
        ),
        ("FROM base\nEXPOSE x\n", "line 2 (EXPOSE): `x` is no port"),
        (
            "FROM base\nRUN cat <<EOF\nx\n",
            "line 2: the line `EOF` that ends it is missing",
        ),
        (
            "FROM base\nSHELL /bin/bash\n",
            "line 2 (SHELL): expected JSON array",
        ),
        (
            "FROM nowhere\n",
            "line 1 (FROM): environment `nowhere` is not there",
        ),
    ] {
        let read = text(words).resolve().map(drop);
        match told {
            "" => assert!(read.is_ok(), "{read:?}"),
            told => assert_eq!(read.unwrap_err(), told),
        }
    }
    let later = Build {
        target: Some("a"),
        ..text("FROM base AS a\nCOPY --from=b /x /y\nFROM base AS b\n")
    };
    let told = later.resolve().unwrap_err();
    assert_eq!(
        told,
        "line 2 (COPY): stage `b` is not made before it is used"
    );
    let none = Build {
        target: Some("c"),
        ..text("FROM base AS a\nFROM base\n")
    };
    assert_eq!(
        none.plan().unwrap_err(),
        "there is no stage `c`; there are `a`, `1`"
    );
}

#[test]
fn what_has_no_meaning_here_is_told() {
    let build = Build {
        args: &[("NONE", "1"), ("http_proxy", "x")],
        ..text("FROM base\nHEALTHCHECK NONE\nVOLUME /x\nSTOPSIGNAL 9\nMAINTAINER me\n")
    };
    let notes = build.plan().unwrap().notes;
    assert_eq!(notes.len(), 5, "{notes:?}");
    assert_eq!(
        notes[0],
        "line 2 (HEALTHCHECK): has no meaning here, and was left out"
    );
    assert_eq!(notes[4], "no `ARG` takes the build argument `NONE`");
}

#[test]
fn a_link_that_is_a_source_keeps_its_name_and_times_are_in_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("python3.11")).unwrap();
    std::os::unix::fs::symlink("python3.11", folder.path().join("python3")).unwrap();
    let read = |words: &str| {
        let words = format!("FROM base\n{words}\n");
        let build = Build {
            context: Some(folder.path()),
            ..text(&words)
        };
        let step = build.resolve().unwrap().stages.remove(0).steps.remove(0);
        let Action::Copy(copy) = step.action else {
            panic!("{step:?}");
        };
        let CopyWhat::Members { members, .. } = copy.what else {
            panic!("{copy:?}");
        };
        (members, copy.alone, step.key)
    };
    let (members, alone, _) = read("COPY python3 /bin");
    assert_eq!(alone.as_deref(), Some(b"python3".as_slice()));
    assert_eq!(members[0].name, b"python3");
    assert!(matches!(&members[0].content, Content::File { path, .. } if path == b"python3.11"));
    let (members, ..) = read("COPY pyth* /bin/");
    let names: Vec<_> = members.iter().map(|it| it.name.as_slice()).collect();
    assert_eq!(names, [b"python3".as_slice(), b"python3.11"]);
    let (before, _, key) = read("COPY . /x/");
    assert!(before.iter().all(|it| !it.is_source && it.mtime_ns > 0));
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let (after, _, again) = read("COPY . /x/");
    assert_eq!((after[1].mtime_ns, again), (0, key));
    // An archive that is named is unpacked, one in a folder is not.
    fs::remove_file(folder.path().join("python3")).unwrap();
    assert_ne!(read("ADD . /x/").2, read("ADD python3.11 /x/").2);
    assert_eq!(read("COPY . /x/").2, read("COPY python3.11 /x/").2);
}

#[test]
fn a_stage_has_the_shell_and_the_arguments_of_the_one_that_it_begins_with() {
    let resolved = Build {
        args: &[("B", "given")],
        ..text(
            "FROM base AS one\nSHELL [\"/bin/bash\", \"-c\"]\nARG A=1\nARG B=2\n\
             FROM one AS two\nRUN x\nFROM two\nRUN x\n\
             FROM base AS three\nRUN x\n",
        )
    };
    let run = |target: &str| {
        let build = Build {
            target: Some(target),
            ..resolved
        };
        let stage = build.resolve().unwrap().stages.pop().unwrap();
        match stage.steps.into_iter().next().unwrap().action {
            Action::Run(run) => run,
            other => panic!("{other:?}"),
        }
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for target in ["two", "2"] {
        let run = run(target);
        assert_eq!(run.words, ["/bin/bash", "-c", "x"]);
        assert_eq!(run.env[1..], [pair("A", "1"), pair("B", "given")]);
    }
    let other = run("three");
    assert_eq!((other.words[0].as_str(), other.env.len()), ("/bin/sh", 1));
}

#[test]
fn a_number_that_owns_is_the_group_too() {
    for (written, owner) in [
        ("1000", "1000:1000"),
        ("1000:5", "1000:5"),
        ("dev", "dev"),
        ("$NUMBER", "7:7"),
    ] {
        let read = format!("FROM base\nARG NUMBER=7\nCOPY --from=tools --chown={written} /a /b\n");
        let resolved = text(&read).resolve().unwrap();
        let Action::Copy(copy) = &resolved.stages[0].steps[1].action else {
            panic!("{resolved:?}");
        };
        assert_eq!(copy.owner.as_deref(), Some(owner));
    }
}

#[test]
fn a_proxy_that_the_file_does_not_name_is_in_no_key() {
    let read = |words: &str, proxy: &str| {
        let words = format!("FROM base\n{words}RUN x\n");
        let build = Build {
            args: &[("HTTP_PROXY", proxy)],
            ..text(&words)
        };
        let step = build
            .resolve()
            .unwrap()
            .stages
            .remove(0)
            .steps
            .pop()
            .unwrap();
        let Action::Run(run) = step.action else {
            panic!("{step:?}");
        };
        let given = run.env.iter().find(|(name, _)| name == "HTTP_PROXY");
        (given.unwrap().1.clone(), step.key)
    };
    let (one, two) = (read("", "one"), read("", "two"));
    assert_eq!((one.0.as_str(), two.0.as_str()), ("one", "two"));
    assert_eq!(one.1, two.1);
    assert_eq!(
        one.1,
        text("FROM base\nRUN x\n").resolve().unwrap().stages[0].key
    );
    let named = "ARG HTTP_PROXY\n";
    assert_ne!(read(named, "one").1, read(named, "two").1);
}

#[test]
fn stages_have_an_end() {
    let stages = "FROM base\n".repeat(1000);
    assert!(text(&stages).plan().is_ok());
    let told = text(&format!("{stages}FROM base\n")).plan().unwrap_err();
    assert_eq!(told, "line 1001 (FROM): there are more than 1000 stages");
}
