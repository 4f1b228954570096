//! Output and input: at once, byte for byte, however much.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use pyro_tests::World;
use pyro_tests::world::{Running, eventually, finish, finish_with_input};

crate::stories! { [process, vm, gvisor]:
    output_comes_as_it_is_written,
    every_byte_arrives_on_its_own_stream,
    output_of_any_length_passes_through,
    a_reader_that_goes_ends_the_command,
    input_goes_in_byte_for_byte,
}

crate::stories! { [process]:
    input_that_is_empty_or_closed_ends_at_once,
    input_that_nobody_reads_is_no_error,
    output_that_finds_no_room_is_an_error,
    an_unfinished_line_is_ended_before_pyro_speaks,
}

fn output_comes_as_it_is_written(world: &World) {
    // The second line is not written before somebody has seen the first.
    let command = "echo first; echo aside >&2; read seen; echo second";
    let mut running = Running::start(world.run(&[], [command]).stdin(Stdio::piped()));
    running.await_out("first\n");
    eventually(
        "the other stream comes too",
        Duration::from_secs(20),
        || running.err().contains("\naside\n"),
    );
    running
        .child
        .stdin
        .take()
        .unwrap()
        .write_all(b"seen\n")
        .unwrap();
    let ran = running.wait();
    assert_eq!(ran.out(), "first\nsecond\n");
    assert_eq!(ran.code(), 0);
}

fn every_byte_arrives_on_its_own_stream(world: &World) {
    let escaped = |bytes: &[u8]| -> String {
        bytes.iter().fold(String::new(), |mut all, byte| {
            write!(all, "\\0{byte:03o}").unwrap();
            all
        })
    };
    let all: Vec<u8> = (0..=255).collect();
    let shifted: Vec<u8> = all.iter().map(|byte| byte.wrapping_add(1)).collect();
    let command = format!(
        "printf %b '{}'; printf %b '{}' >&2",
        escaped(&all),
        escaped(&shifted)
    );
    let ran = finish(&mut world.run(&["--json"], [&command]));
    assert_eq!(ran.json()["stdout_bytes"], 256);

    let ran = finish(&mut world.run(&[], [&command]));
    assert_eq!(ran.stdout, all);
    let told = ran.stderr.windows(256).any(|part| part == shifted);
    assert!(told, "{:?}", ran.stderr);
}

fn output_of_any_length_passes_through(world: &World) {
    // More than the memory that the program may take.
    const LENGTH: usize = 72_000_000;
    let command = format!("seq 1 100000000 | head -c {LENGTH}");
    let mut pyro = world
        .run(&["--timeout-seconds", "150"], [command])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::with_capacity(1 << 20, pyro.stdout.take().unwrap());
    let mut expected = String::new();
    let (mut line, mut length, mut most_memory_kib) = (1, 0, 0);
    while length < LENGTH {
        expected.clear();
        while expected.len() < 8_000_000 {
            writeln!(expected, "{line}").unwrap();
            line += 1;
        }
        let wanted = &expected.as_bytes()[..expected.len().min(LENGTH - length)];
        let mut got = vec![0; wanted.len()];
        out.read_exact(&mut got).unwrap();
        assert!(got == wanted, "differs after byte {length}");
        length += got.len();
        most_memory_kib = peak_memory_kib(pyro.id()).max(most_memory_kib);
    }
    assert_eq!(out.read(&mut [0]).unwrap(), 0, "too much");
    assert!(pyro.wait().unwrap().success());
    assert!(
        (1..64 << 10).contains(&most_memory_kib),
        "{most_memory_kib} KiB"
    );
}

fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.split_whitespace().next());
    number.map_or(0, |number| number.parse().unwrap())
}

fn a_reader_that_goes_ends_the_command(world: &World) {
    let mut pyro = world
        .run(&["--timeout-seconds", "150"], ["yes"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(pyro.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "y\n");
    drop(out);
    eventually("pyro ends with its reader", Duration::from_secs(5), || {
        pyro.try_wait().unwrap().is_some()
    });
    assert_eq!(pyro.wait().unwrap().code(), Some(141));
}

fn input_goes_in_byte_for_byte(world: &World) {
    let input: Vec<u8> = (0..1_250_000_u32).flat_map(u32::to_be_bytes).collect();
    let ran = finish_with_input(&mut world.run(&[], ["cat"]), input.clone());
    assert_eq!(ran.code(), 0, "{}", ran.err());
    assert!(
        ran.stdout == input,
        "{} of {} bytes",
        ran.stdout.len(),
        input.len()
    );
}

fn input_that_is_empty_or_closed_ends_at_once(world: &World) {
    let count = ["wc -c"];
    let from_nothing = finish(world.run(&[], count).stdin(Stdio::null()));
    assert_eq!(from_nothing.out().trim(), "0");

    let run = world.run(&[], count);
    let mut without_input = Command::new("sh");
    without_input
        .args(["-c", r#"exec "$0" "$@" <&-"#])
        .arg(run.get_program())
        .args(run.get_args())
        .envs(world.variables());
    let closed = finish(&mut without_input);
    assert_eq!(closed.out().trim(), "0", "{}", closed.err());
}

fn input_that_nobody_reads_is_no_error(world: &World) {
    let ran = finish_with_input(&mut world.run(&[], ["echo done"]), vec![b'x'; 5_000_000]);
    assert_eq!(ran.out(), "done\n");
    assert_eq!(ran.code(), 0);
}

fn output_that_finds_no_room_is_an_error(world: &World) {
    for flags in [&[] as &[&str], &["--json"]] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut run = world.run(flags, ["echo lost"]);
        let ran = run.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{flags:?}: {told}");
        assert!(told.contains("[error] "), "{flags:?}: {told}");
        if flags.is_empty() {
            assert!(told.contains("The output could not be written"), "{told}");
        }
    }
}

fn an_unfinished_line_is_ended_before_pyro_speaks(world: &World) {
    let ran = finish(&mut world.run(&[], ["printf abc >&2"]));
    assert!(
        ran.err().contains("\nabc\n[run] environment="),
        "{}",
        ran.err()
    );
}
