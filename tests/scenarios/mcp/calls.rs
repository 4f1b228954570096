//! Calls while they go on: news, company, and being taken back.

use std::io::Write;
use std::time::{Duration, Instant};

use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE};
use pyro_tests::world::eventually;
use pyro_tests::{Backend, World, cache, leftovers};
use serde_json::{Value, json};

use super::{ask, await_news, command, vm_run};

crate::stories! { [process, vm, gvisor]:
    a_client_hears_what_its_call_does,
    a_call_blocks_no_other,
    a_call_that_is_taken_back_ends_at_once_with_all_it_started,
    a_command_that_is_taken_back_leaves_its_workspace_and_its_place_in_the_history,
}

crate::stories! { [process]:
    without_a_token_nothing_is_told,
    news_are_short_and_not_too_many,
    a_client_hears_how_far_its_seed_is,
}

crate::stories! { [vm]:
    a_client_hears_that_its_environment_is_checked,
    a_guest_hears_nothing_of_the_protocol,
}

/// Much less than the calls that it is compared with take.
const SOON: Duration = Duration::from_secs(5);

/// A command that outlives a polite request to end, and starts another.
const STUBBORN: &str = "trap '' INT TERM HUP; setsid sleep 1000 & echo here; sleep 1000";

fn a_client_hears_what_its_call_does(world: &World) {
    let mut client = vm_run(world);
    ask(
        &mut client,
        1,
        &command(world, "echo first; sleep 1; echo second; sleep 1"),
    );
    let news = await_news(&mut client, 1, "first");
    let later = await_news(&mut client, 1, "second");
    let progress = |news: &Value| news["params"]["progress"].as_f64().unwrap();
    assert!(progress(&later) > progress(&news));
    let answer = client.answer(1);
    assert_eq!(answer["result"]["structuredContent"]["exit_code"], 0);
    std::thread::sleep(Duration::from_millis(500));
    let after = client.rest();
    let told = |message: &Value| message["params"]["progress"].as_f64();
    assert!(
        after
            .iter()
            .filter_map(told)
            .all(|at| at < progress(&later) + 1.0),
        "news after the answer: {after:?}"
    );
}

fn without_a_token_nothing_is_told(world: &World) {
    let mut client = vm_run(world);
    client.call(1, "vm_run", command(world, "echo first; sleep 1"));
    assert_eq!(client.rest(), Vec::<Value>::new());
}

/// All news of a call, to its answer.
fn news_of(client: &mut Connection, id: i64) -> (Vec<String>, Value) {
    let answer = client.answer(id);
    let rest = client.rest();
    let news = rest
        .iter()
        .filter(|message| message["params"]["progressToken"] == id);
    let words = news.map(|message| message["params"]["message"].as_str().unwrap().to_owned());
    (words.collect(), answer["result"].clone())
}

/// The shares that news with these words begin with.
fn shares(news: &[String], words: &str) -> Vec<u32> {
    let shares = news.iter().filter_map(|said| {
        let (share, rest) = said.split_once(" % ")?;
        // What is said again after a silence begins with how long that was.
        rest.contains(words).then(|| share.parse().ok())?
    });
    shares.collect()
}

fn a_client_hears_how_far_its_seed_is(world: &World) {
    let seed = world.folder().join("seed");
    std::fs::create_dir(&seed).unwrap();
    // Holes would not be copied.
    let mut file = std::fs::File::create(seed.join("large")).unwrap();
    for _ in 0..400 {
        file.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    let mut client = Connection::initialized(world, &[], NEWEST_WITH_INITIALIZE);
    let arguments =
        json!({ "environment": "debian:12", "seed_path": seed, "allow_host_compat": true });
    client.ask(
        7,
        "tools/call",
        json!({
            "name": "workspace_create", "arguments": arguments, "_meta": { "progressToken": 7 },
        }),
    );
    let (news, result) = news_of(&mut client, 7);
    let id = &result["structuredContent"]["workspace_id"];
    assert!(id.is_string(), "{result:#}");
    let shares = shares(&news, "copying in");
    assert!(shares.len() > 1 && shares.is_sorted(), "{news:?}");
    client.call(8, "workspace_delete", json!({ "workspace_id": id }));
}

fn a_client_hears_that_its_environment_is_checked(_: &World) {
    // What was copied is checked before it is used.
    let world = World::new(Backend::Vm);
    let copy = cache::copy(&world);
    let world = world.with("PYRO_ENVIRONMENT_CACHE_DIR", copy);
    let mut client = vm_run(&world);
    ask(&mut client, 3, &command(&world, "echo ready"));
    let (news, result) = news_of(&mut client, 3);
    assert_eq!(
        result["structuredContent"]["stdout"], "ready\n",
        "{result:#}"
    );
    assert_eq!(shares(&news, "checking debian:12"), [0], "{news:?}");
    drop(client);
    world.assert_empty();
}

/// Its console is not the server's standard input.
fn a_guest_hears_nothing_of_the_protocol(world: &World) {
    let mut client = vm_run(world);
    ask(
        &mut client,
        1,
        &command(world, "echo listens; timeout 2 cat /dev/ttyS0 | wc -c"),
    );
    await_news(&mut client, 1, "listens");
    for id in 2..50 {
        assert_eq!(client.request(id, "ping", json!({}))["result"], json!({}));
    }
    let answer = client.answer(1);
    assert_eq!(
        answer["result"]["structuredContent"]["stdout"], "listens\n0\n",
        "{answer}"
    );
}

fn news_are_short_and_not_too_many(world: &World) {
    let mut client = vm_run(world);
    let line =
        "for i in $(seq 40); do echo $(head -c 500 /dev/zero | tr '\\0' y); sleep 0.05; done";
    let started = Instant::now();
    ask(&mut client, 1, &command(world, line));
    client.answer(1);
    let took = started.elapsed();
    let news = client.rest();
    assert!(news.len() >= 2, "{news:?}");
    // Four in a second, and what the beginning and the end of the call add.
    let most = usize::try_from(took.as_millis() / 250).unwrap() + 3;
    assert!(news.len() <= most, "{} in {took:?}", news.len());
    for message in news {
        let said = message["params"]["message"].as_str().unwrap();
        assert!(said.len() <= 200, "{said}");
    }
}

fn a_call_blocks_no_other(world: &World) {
    let mut client = vm_run(world);
    ask(&mut client, 1, &command(world, "echo here; sleep 1000"));
    await_news(&mut client, 1, "here");
    // Each answer comes while the long call goes on: it never ends by itself.
    assert_eq!(client.request(2, "ping", json!({}))["result"], json!({}));
    assert!(client.request(3, "tools/list", json!({}))["result"].is_object());
    let result = client.call(4, "vm_run", command(world, "echo short"));
    assert_eq!(result["structuredContent"]["stdout"], "short\n");
    take_back(&mut client, 1);
    client.answer(1);
}

fn take_back(client: &mut Connection, id: i64) {
    client.send(&json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": { "requestId": id, "reason": "enough" },
    }));
}

fn a_call_that_is_taken_back_ends_at_once_with_all_it_started(world: &World) {
    let mut client =
        Connection::initialized(world, &["--profile", "vm-run"], NEWEST_WITH_INITIALIZE);
    ask(&mut client, 1, &command(world, STUBBORN));
    await_news(&mut client, 1, "here");
    take_back(&mut client, 1);
    let since = Instant::now();
    let answer = client.answer(1);
    assert_eq!(answer["error"]["code"], -32800, "{answer}");
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    // The server itself is started in this world, but not in its state folder.
    eventually("nothing of the call is left", SOON * 4, || {
        leftovers::processes(&world.state_dir()).is_empty()
    });
    // The connection goes on, and a second word about the same call changes nothing.
    take_back(&mut client, 1);
    let result = client.call(2, "vm_run", command(world, "echo again"));
    assert_eq!(result["structuredContent"]["stdout"], "again\n");
    let answers = client
        .rest()
        .into_iter()
        .filter(|message| message["id"] == 1);
    assert_eq!(answers.count(), 0);
}

fn a_command_that_is_taken_back_leaves_its_workspace_and_its_place_in_the_history(world: &World) {
    let full = ["--profile", "workspace-full"];
    let mut client = Connection::initialized(world, &full, NEWEST_WITH_INITIALIZE);
    let create = json!({
        "environment": "debian:12",
        "mem_mib": 256,
        "allow_host_compat": world.backend == Backend::Process,
    });
    let created = client.call(1, "workspace_create", create);
    let id = created["structuredContent"]["workspace_id"].clone();
    assert!(id.is_string(), "{created:#}");
    let exec = |line: &str| json!({ "workspace_id": id, "command": line, "timeout_seconds": 1000 });
    let line = "trap '' INT TERM HUP; echo $$ > pids; \
        setsid sh -c 'echo $$ >> pids; echo here; exec sleep 1000' & sleep 1000";
    client.ask(
        2,
        "tools/call",
        json!({ "name": "workspace_exec", "arguments": exec(line), "_meta": { "progressToken": 2 } }),
    );
    await_news(&mut client, 2, "here");
    take_back(&mut client, 2);
    let since = Instant::now();
    let answer = client.answer(2);
    assert_eq!(answer["error"]["code"], -32800, "{answer}");
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    // Its shell, and what that started in a session of its own.
    let mut next = 2;
    eventually("its processes are gone", SOON * 4, || {
        next += 1;
        let look = "for pid in $(cat pids); do kill -0 $pid && exit; done 2> /dev/null; false";
        let look = client.call(next, "workspace_exec", exec(look))["structuredContent"].clone();
        assert_eq!(look["workspace_started"], false, "{look:#}");
        look["exit_code"] != 0
    });
    let logs = client.call(100, "workspace_logs", json!({ "workspace_id": id }));
    let entry = &logs["structuredContent"]["entries"][0];
    assert_eq!(entry["command"], line, "{logs:#}");
    assert_eq!(entry["stdout"], "here\n", "{logs:#}");
    assert_eq!(
        (&entry["signal"], &entry["exit_code"]),
        (&json!(9), &json!(137)),
        "{logs:#}"
    );
    client.call(101, "workspace_delete", json!({ "workspace_id": id }));
}
