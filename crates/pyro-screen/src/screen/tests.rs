use proptest::prelude::*;

use super::*;

const SIZE: Size = Size { cols: 40, rows: 6 };

fn all(text: &str) -> String {
    visible_text(SIZE, "", text)
}

#[test]
fn lines_come_out_as_they_were_written() {
    assert_eq!(
        all("pyro$ echo hi\r\nhi\r\npyro$ "),
        "pyro$ echo hi\nhi\npyro$ "
    );
    assert_eq!(
        all("\x1b[?2004hpyro$ \x1b[?2004l\r\n\r\nend"),
        "pyro$\n\nend"
    );
    assert_eq!(all("a\tb\r\n"), "a       b\n");
    assert_eq!(all(""), "");
}

#[test]
fn more_than_a_screen_is_all_there() {
    let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    assert_eq!(all(&lines.join("\r\n")), lines.join("\n"));
    // A line that the screen broke is one line.
    let long = "0123456789".repeat(30);
    assert_eq!(all(&format!("{long}\r\nend")), format!("{long}\nend"));
}

#[test]
fn a_progress_bar_has_its_last_state() {
    let mut told = String::from("\x1b[32mDownloading\x1b[0m\r\n");
    for percent in 0..=100 {
        told.push_str(&format!(
            "\r\x1b[K[{:<10}] {percent} %",
            "#".repeat(percent / 10)
        ));
    }
    told.push_str("\r\ndone\r\n");
    assert_eq!(all(&told), "Downloading\n[##########] 100 %\ndone\n");
    // Several at once, as package managers show them.
    let several = "one 0\r\ntwo 0\r\n\x1b[2A\x1b[Kone 9\r\n\x1b[Ktwo 9\r\nend\r\n";
    assert_eq!(all(several), "one 9\ntwo 9\nend\n");
}

#[test]
fn erasing_wide_and_foreign_characters_are_understood() {
    assert_eq!(all("abc\x08\x08X"), "aXc");
    assert_eq!(
        all("\u{4f60}\u{597d}, \u{1f600}|"),
        "\u{4f60}\u{597d}, \u{1f600}|"
    );
    // Over the second half of a wide one: it is gone, as on every terminal.
    assert_eq!(all("\u{4f60}\x1b[1D|"), " |");
    assert_eq!(
        all("title\x1b]0;name\x07 \x1b(0q\x1b(B \x1bP1;2|x\x1b\\end"),
        "title \u{2500} end"
    );
    assert_eq!(all("old\r\n\x1b[H\x1b[2J\x1b[3Jnew"), "new");
}

#[test]
fn of_a_full_screen_program_there_is_its_screen() {
    let begin = "pyro$ vi\r\n\x1b[?1049h\x1b[2J\x1b[Htext\r\n~\r\n~\x1b[6;1H-- INSERT --";
    assert_eq!(all(begin), "text\n~\n~\n\n\n-- INSERT --");
    // A part that changes one place shows all of it.
    let part = "\x1b[1;5Hmore";
    assert_eq!(
        visible_text(SIZE, begin, part),
        "textmore\n~\n~\n\n\n-- INSERT --"
    );
    // When it has ended there is what was there before, and what came then.
    assert_eq!(visible_text(SIZE, begin, "\x1b[?1049lpyro$ "), "pyro$ ");
}

#[test]
fn parts_add_up_and_changes_above_are_shown() {
    let whole = "pyro$ echo a\r\na\r\npyro$ \u{4f60} echo b\r\nb\r\n".repeat(9);
    let characters: Vec<char> = whole.chars().collect();
    for size in [1, 2, 3, 7, 50] {
        let mut together = String::new();
        for from in (0..characters.len()).step_by(size) {
            let to = (from + size).min(characters.len());
            let before: String = characters[..from].iter().collect();
            let part: String = characters[from..to].iter().collect();
            together.push_str(&visible_text(SIZE, &before, &part));
        }
        assert_eq!(together, all(&whole), "in parts of {size}");
    }
    // A line that was read already and changes is shown again.
    assert_eq!(visible_text(SIZE, "10 %", "\r20 %"), "20 %");
    assert_eq!(
        visible_text(SIZE, "one 0\r\ntwo 0\r\n", "\x1b[2Aone 1\r\n\r\n"),
        "one 1\ntwo 0\n"
    );
    assert_eq!(visible_text(SIZE, "pyro$ ", "ls"), "ls");
}

#[test]
fn a_repaint_shows_the_same_screen() {
    let told = "a\r\n\x1b[31mred\x1b[0m\x1b[?1049h\x1b[3;4Hfull";
    let again = repaint(SIZE, told);
    assert_eq!(all(&again), all(told));
}

#[test]
fn what_costs_much_is_cut() {
    let size = Size {
        cols: 500,
        rows: 500,
    };
    let slow = "\x1b[2J\x1b[65535b\x1b[500T".repeat(100_000);
    let text = seen_within(size, "x", &slow, Duration::from_millis(50), SCROLLED);
    assert!(text.starts_with(CUT));
    // Of what scrolls off without end the newest is kept.
    let lines: String = (0..2000).map(|number| format!("{number}\r\n")).collect();
    let text = seen_within(SIZE, "", &lines, TIME * 30, 10_000);
    assert!(text.starts_with(CUT) && text.len() < 10_000, "{text}");
    assert!(text.ends_with("\n1998\n1999\n"), "{text}");
}

/// Escape sequences with numbers of all sizes, among text.
fn told() -> impl Strategy<Value = String> {
    let number = prop_oneof![0u32..12, 0u32..100_000];
    let piece = prop_oneof![
        any::<String>(),
        "[a-z \u{4f60}\u{1f600}\u{301}\u{200d}]{0,60}",
        "[\\x00-\\x1f\\x7f-\\u{9f}]{0,4}",
        (number.clone(), number.clone(), "[@-~]")
            .prop_map(|(a, b, end)| format!("\x1b[{a};{b}{end}")),
        (number.clone(), "[hl]").prop_map(|(mode, end)| format!("\x1b[?{mode}{end}")),
        prop::sample::select(vec![
            "\x1b[?1049h",
            "\x1b[?1049l",
            "\x1b[?47h",
            "\x1b[?6h",
            "\x1b[2;4r",
            "\x1b[4h",
            "\x1b7",
            "\x1b8",
            "\x1bc",
            "\x1bM",
            "\x1bD",
            "\x1b#8",
            "\x1b[!p",
            "\x1b[2J",
            "\x1b[3J",
            "\r\n",
            "\x1b[?7l",
            "\x1bP",
            "\x1b]0;",
            "\x1b\\",
            "\x1b[38;2;1;2;3;4;5;6;7;8;9m",
            "\x1b[8;9;9t",
        ])
        .prop_map(str::to_owned),
        "\x1b[ -~]{0,6}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_that_a_guest_writes_breaks_the_reader(
        before in told(),
        part in told(),
        cols in 1u16..60,
        rows in 1u16..12,
    ) {
        let size = Size { cols, rows };
        let text = visible_text(size, &before, &part);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        let _ = repaint(size, &part);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = visible_text(SIZE, "", &String::from_utf8_lossy(&bytes));
    }
}

/// More of them where time is set aside for it.
fn cases() -> u32 {
    std::env::var("PYRO_FUZZ_CASES").map_or(256, |cases| cases.parse().unwrap())
}
