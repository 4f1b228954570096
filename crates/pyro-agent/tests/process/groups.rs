//! What happens to everything that a command has started.

use std::time::Duration;

use crate::agent::{Agent, await_death, lives, pid_in, program, shell};

const FAMILY: &str = "
    sleep 1000 & echo $! > child
    setsid sleep 1000 & echo $! > session
    (setsid sh -c 'echo $$ > daemon; exec sleep 1000' &)
    while ! [ -s daemon ]; do sleep 0.01; done
    echo started
    sleep 1000";

/// About what it takes the family to begin.
const LIKE_FAMILY: &str = "(sh -c 'sh -c true') & sleep 0 & setsid sleep 0 & sleep 0.02; wait";

async fn family(agent: &Agent) -> Vec<i32> {
    let mut pids = Vec::new();
    for name in ["child", "session", "daemon"] {
        pids.push(pid_in(&agent.folder.path().join(name)).await);
    }
    pids
}

#[tokio::test]
async fn a_timeout_kills_all_of_a_command_and_keeps_its_output() {
    let agent = Agent::start().await;
    let bystander = agent.sh("sleep 1000 & echo $!").await;
    let mut request = shell(FAMILY);
    request.timeout_ms = Some(agent.ample_ms(LIKE_FAMILY, 700).await);
    let outcome = agent.run(request).await;
    assert!(outcome.end.timed_out);
    assert_eq!(outcome.end.exit_code, 124);
    assert_eq!(outcome.text(), "started\n");
    for pid in family(&agent).await {
        await_death(pid).await;
    }
    assert!(lives(bystander.text().trim().parse().unwrap()));
}

#[tokio::test]
async fn a_timeout_does_not_wait_for_a_reader() {
    let agent = Agent::start().await;
    let mut request = program(&["yes"]);
    request.timeout_ms = Some(agent.ample_ms("yes | head -c 1000000", 300).await);
    let mut running = agent.begin(request).await;
    let pid = running.started().await;
    // Nobody reads the output, so the command is blocked; it must die all the same.
    await_death(pid).await;
    let outcome = running.finish().await.unwrap();
    assert!(outcome.end.timed_out);
    assert!(outcome.output.len() > 100_000);
}

#[tokio::test]
async fn a_command_dies_with_its_stream() {
    let agent = Agent::start().await;
    let mut running = agent.begin(shell(FAMILY)).await;
    let pid = running.started().await;
    let family = family(&agent).await;
    drop(running);
    await_death(pid).await;
    for pid in family {
        await_death(pid).await;
    }
    assert_eq!(agent.sh("echo alive").await.text(), "alive\n");
}

#[tokio::test]
async fn a_blocked_command_dies_with_its_stream() {
    let agent = Agent::start().await;
    let mut talking = agent.begin(program(&["yes"])).await;
    let talker = talking.started().await;
    let mut request = program(&["sleep", "1000"]);
    request.input = true;
    let mut deaf = agent.begin(request).await;
    let deaf_pid = deaf.started().await;
    // More than is read ahead, less than all buffers on the way, so that it can be sent.
    deaf.input(&[b'x'; 1_250_000]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop((talking, deaf));
    await_death(talker).await;
    await_death(deaf_pid).await;
}

#[tokio::test]
async fn everything_dies_with_the_channel() {
    let agent = Agent::start().await;
    let left = agent.sh("sleep 1000 & setsid sleep 1000 & (setsid sh -c 'echo $$ > late; exec sleep 1000' &) ; echo $!").await;
    let left: i32 = left.text().trim().parse().unwrap();
    let late = pid_in(&agent.folder.path().join("late")).await;
    let mut running = agent.begin(shell(FAMILY)).await;
    let pid = running.started().await;
    let mut family = family(&agent).await;
    family.extend([left, late, pid]);
    assert!(agent.hang_up().await.success());
    for pid in family {
        await_death(pid).await;
    }
}

#[tokio::test]
async fn a_told_agent_ends_everything() {
    let mut agent = Agent::start().await;
    let mut running = agent.begin(shell(FAMILY)).await;
    running.started().await;
    let family = family(&agent).await;
    let id = i32::try_from(agent.process.id()).unwrap();
    // SAFETY: plain system call on our own child.
    unsafe { libc::kill(id, libc::SIGTERM) };
    for pid in family {
        await_death(pid).await;
    }
    assert!(agent.process.wait().unwrap().success());
}

#[tokio::test]
async fn many_commands_run_at_once() {
    let agent = Agent::start().await;
    let mut all = Vec::new();
    // Each waits until all others run, too.
    let wait = "until [ $(ls | wc -l) -eq 20 ]; do sleep 0.05; done";
    for number in 0..20 {
        let line = format!("touch {number}; {wait}; echo {number}; exit {number}");
        all.push(agent.begin(shell(&line)).await);
    }
    for (number, running) in all.into_iter().enumerate() {
        let outcome = running.finish().await.unwrap();
        assert_eq!(outcome.text(), format!("{number}\n"));
        assert_eq!(usize::try_from(outcome.end.exit_code).unwrap(), number);
    }
}

#[tokio::test]
async fn nothing_of_the_agent_is_inherited() {
    let agent = Agent::start().await;
    let outcome = agent.run(program(&["sh", "-c", "ls /proc/$$/fd"])).await;
    assert_eq!(outcome.text(), "0\n1\n2\n");
    // Signals 32 and 33 belong to the C library, which lets nobody reset them.
    let sets = "s/^Sig\\(Blk\\|Ign\\|Cgt\\):.//p";
    let outcome = agent
        .run(program(&["sed", "-n", sets, "/proc/self/status"]))
        .await;
    for set in outcome.text().lines() {
        let set = u64::from_str_radix(set, 16).unwrap();
        assert_eq!(set & !(0b11 << 31), 0, "{}", outcome.text());
    }
    assert_eq!(outcome.text().lines().count(), 3);
}
