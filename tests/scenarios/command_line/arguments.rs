//! What is typed after `--`, and the flags around it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pyro_tests::World;
use pyro_tests::world::finish;

crate::stories! { [process, vm, gvisor]: words_arrive_as_they_were_typed }

crate::stories! { [process]:
    one_word_is_a_line_for_a_shell,
    flags_stand_on_either_side_and_may_be_short,
    what_does_not_start_is_told_as_a_shell_would,
}

fn words_arrive_as_they_were_typed(world: &World) {
    let words: &[&[u8]] = &[
        b"two  spaces",
        b"",
        b"'single' \"double\" `ticks`",
        b"$HOME ${PATH} $(id)",
        b"*",
        b"~ \\ ! # ; & | < > ( ) {a,b}",
        b"a\nline\n",
        b"\ttab",
        b"--json",
        b"-n",
        "h\u{e9}llo \u{1f600}".as_bytes(),
        b"not \xff\xfe UTF-8",
    ];
    let command = [b"printf".as_slice(), b"[%s]\\0"]
        .into_iter()
        .chain(words.iter().copied());
    let ran = finish(&mut world.run(&[], command.map(OsStr::from_bytes)));
    let expected: Vec<u8> = words
        .iter()
        .flat_map(|word| [b"[", *word, b"]\0"].concat())
        .collect();
    assert_eq!(ran.stdout, expected, "{}", ran.out());
}

fn one_word_is_a_line_for_a_shell(world: &World) {
    let line =
        OsStr::from_bytes(b"x='a  b'; echo \"$x\" | cat; echo $((6 * 7)) $0; printf 'h\xe9\n'");
    let ran = finish(&mut world.run(&[], [line]));
    assert_eq!(ran.stdout, b"a  b\n42 /bin/sh\nh\xe9\n", "{}", ran.out());
}

fn flags_stand_on_either_side_and_may_be_short(world: &World) {
    let flags = [
        "--mem-mib",
        "256",
        "--timeout-seconds=9",
        "--allow-host-compat",
        "--json",
    ];
    let shortened = ["--mem", "256", "--tim=9", "--allow-h", "--js"];
    for flags in [flags, shortened] {
        for (before, after) in [flags.split_at(0), flags.split_at(3), flags.split_at(5)] {
            let mut pyro = world.pyro(["run"]);
            pyro.args(before)
                .arg("debian:12")
                .args(after)
                .args(["--", "true"]);
            assert_eq!(finish(&mut pyro).json()["exit_code"], 0, "{pyro:?}");
        }
    }
}

fn what_does_not_start_is_told_as_a_shell_would(world: &World) {
    let status = |words: &[&str]| {
        let ran = finish(&mut world.run(&[], words));
        assert!(!ran.err().contains("[error]"), "{}", ran.err());
        assert!(ran.err().contains(words[0]), "{}", ran.err());
        ran.code()
    };
    assert_eq!(status(&["no-such-program"]), 127);
    assert_eq!(status(&["no-such-program", "argument"]), 127);
    assert_eq!(status(&["/etc/passwd"]), 126);
    assert_eq!(status(&["/etc/passwd", "argument"]), 126);
}
