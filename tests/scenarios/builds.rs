//! Containerfiles as environments: what their steps made is there, and no step is done twice.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use pyro_tests::world::{Ran, Running, finish};
use pyro_tests::{Backend, World, cache};
use serde_json::Value;

/// Steps and templates, beside guests that have the processors.
const BUILDING: Duration = Duration::from_secs(600);

const CONTAINERFILE: &str = r#"# two stages
ARG WORD=hello
FROM debian:12 AS build
ARG WORD
WORKDIR /src
COPY src ./
RUN <<EOF
cat a.txt > out
echo "$WORD" >> out
EOF

FROM debian:12
RUN useradd --create-home --uid 1001 dev
ADD --chown=1000 kit kit.tar /opt/
COPY --from=build --chown=dev:dev --chmod=640 /src/out /home/dev/
USER dev
ENV MODE="of the build"
RUN --mount=type=secret,id=token,uid=1001 \
    { id -un; wc -c < /run/secrets/token; cat /run/secrets/token; echo "$MODE"; } | tee ~/who
CMD ["cat", "/home/dev/out", "/home/dev/who"]
"#;

const SECRET: &str = "a-token-that-nobody-sees";

fn world() -> Option<World> {
    let world = World::new(Backend::Vm);
    if !world.can_be_played() {
        return None;
    }
    let copy = cache::copy(&world);
    let world = world.with("PYRO_ENVIRONMENT_CACHE_DIR", copy);
    let context = world.folder().join("app");
    fs::create_dir_all(context.join("src/node_modules")).unwrap();
    fs::write(context.join("src/a.txt"), "one\n").unwrap();
    fs::write(context.join("src/node_modules/big"), "left out").unwrap();
    fs::write(context.join(".dockerignore"), "**/node_modules\n").unwrap();
    fs::write(world.folder().join("token"), SECRET).unwrap();
    give_kit(&context);
    Some(world)
}

/// An archive beside a folder that has the same one in it, and a file of 2001.
fn give_kit(context: &Path) {
    fs::create_dir(context.join("kit")).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o755);
    archive
        .append_data(&mut header, "tool", &b"tool\n"[..])
        .unwrap();
    let archive = archive.into_inner().unwrap();
    for name in ["kit.tar", "kit/inner.tar"] {
        fs::write(context.join(name), &archive).unwrap();
    }
    let note = fs::File::create(context.join("kit/note")).unwrap();
    note.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
}

fn build(world: &World, words: &[&str]) -> Ran {
    let mut build = world.pyro(["env", "build", "app"]);
    build.current_dir(world.folder()).args(words);
    Running::start(&mut build).wait_within(BUILDING)
}

fn ok(ran: Ran) -> String {
    assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
    ran.out()
}

fn counts(ran: Ran) -> (u64, u64) {
    let built: Value = serde_json::from_str(&ok(ran)).unwrap();
    let count = |name: &str| built[name].as_u64().unwrap();
    (count("steps"), count("cached"))
}

#[test]
fn a_file_of_two_stages_is_built_once_and_again_from_where_it_changed() {
    let Some(world) = world() else { return };
    fs::write(world.folder().join("app/Containerfile"), CONTAINERFILE).unwrap();
    let words = [
        "app",
        "--secret",
        "id=token,src=token",
        "--build-arg",
        "WORD=given",
    ];
    let told = build(&world, &words);
    assert!(!told.err().contains(SECRET), "{}", told.err());
    assert!(told.err().contains("of the build"), "{}", told.err());
    ok(told);
    let run = || {
        let mut run = world.pyro(["run", "app"]);
        ok(Running::start(&mut run).wait_within(BUILDING))
    };
    // The secret is redacted from what the step said, so what the file has is the secret itself.
    assert_eq!(
        run(),
        format!("one\ngiven\ndev\n{}\n{SECRET}of the build\n", SECRET.len())
    );
    let listed = ok(finish(&mut world.pyro([
        "run",
        "app",
        "--user",
        "root",
        "--",
        "stat -c '%U:%G %a' /home/dev/out; ls /src /run/secrets 2>&1 | grep -c 'No such file'; \
         ls /opt; stat -c '%u:%g %Y' /opt/note; cat /opt/tool",
    ])));
    assert_eq!(
        listed,
        "dev:dev 640\n2\ninner.tar\nnote\ntool\n1000:1000 1000000000\ntool\n"
    );

    let again = [&words[..], &["--json"]].concat();
    assert_eq!(counts(build(&world, &again)), (11, 11));
    fs::write(world.folder().join("app/src/a.txt"), "two\n").unwrap();
    // The user is made as before; all that has seen the file is done again.
    let (steps, cached) = counts(build(&world, &again));
    assert_eq!(steps, 11);
    assert!((2..8).contains(&cached), "{cached}");
    assert!(run().starts_with("two\ngiven\n"));
    let workspaces = finish(&mut world.pyro(["workspace", "list", "--json"])).json();
    assert_eq!(workspaces["count"], 0, "{workspaces}");
}

#[test]
fn a_step_that_fails_is_told_with_its_line_and_may_be_looked_into() {
    let Some(world) = world() else { return };
    let file = world.folder().join("app/Containerfile");
    fs::write(
        &file,
        "FROM debian:12\nRUN echo made > /made\nRUN cat /made; exit 3\n",
    )
    .unwrap();
    let failed = build(&world, &["app", "--keep-failed", "--json"]);
    assert_eq!(failed.code(), 1, "{}{}", failed.out(), failed.err());
    let told = failed.json();
    assert_eq!(told["code"], "build_failed", "{told}");
    let (what, causes) = (told["error"].as_str().unwrap(), told["causes"].to_string());
    assert!(
        what.starts_with("Step 2/2 failed: line 3 (RUN): "),
        "{told}"
    );
    assert!(
        causes.contains("status 3") && causes.contains("made"),
        "{told}"
    );
    let list = finish(&mut world.pyro(["workspace", "list", "--json"])).json();
    let id = list["workspaces"][0]["workspace_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(told["hint"].as_str().unwrap().contains(&id), "{told}");
    let seen = world.pyro(["workspace", "exec", &id, "--", "cat /made"]);
    assert_eq!(
        ok(Running::start(&mut { seen }).wait_within(BUILDING)),
        "made\n"
    );
    ok(finish(&mut world.pyro(["workspace", "delete", &id])));

    // Nothing runs of what cannot be built.
    fs::write(&file, "FROM debian:12\nRUN touch /made\nFROBNICATE x\n").unwrap();
    let refused = build(&world, &["app"]);
    assert!(
        refused
            .err()
            .contains("line 3 (FROBNICATE): unknown instruction"),
        "{}",
        refused.err()
    );
    fs::write(&file, "FROM debian:12\nRUN touch /made\nCOPY none /x\n").unwrap();
    let refused = build(&world, &["app"]);
    assert!(
        refused.err().contains("`none` is not in the context"),
        "{}",
        refused.err()
    );
    assert!(!refused.err().contains("[build]"), "{}", refused.err());
    world.assert_empty();
}
