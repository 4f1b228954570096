//! What a shell's terminal was told, made into what a person sees.

use pyro_screen::{ScreenModes, repaint, visible_text};
use pyro_wire::shells::Size;

use crate::Target;
use crate::seeds::{Seed, SeedError};

pub(crate) const TARGET: Target = Target {
    name: "terminal",
    play,
    seeds,
    mend: |_| {},
    inputs: 3_500,
};

/// In two parts, on a screen whose size the first bytes say.
fn play(bytes: &[u8]) -> bool {
    let [cols, rows, cut, text @ ..] = bytes else {
        return false;
    };
    let size = Size {
        cols: (*cols).into(),
        rows: (*rows).into(),
    };
    let text = String::from_utf8_lossy(text);
    let middle = text.chars().count() * usize::from(*cut) / 256;
    let cut = text.char_indices().nth(middle).map_or(0, |(at, _)| at);
    let (before, part) = text.split_at(cut);
    let seen = visible_text(size, before, part);
    assert!(seen.chars().all(|c| c == '\n' || !c.is_control()));
    let _ = repaint(size, part);
    let mut modes = ScreenModes::default();
    modes.feed(part.as_bytes());
    let undo = modes.undo();
    modes.feed(undo.as_bytes());
    assert_eq!(modes.repeat(), "");
    !seen.is_empty()
}

fn seeds() -> Result<Vec<Seed>, SeedError> {
    let seed = |name: &str, text: &str| Seed::new(name, [&[80, 24, 100], text.as_bytes()].concat());
    Ok(vec![
        seed(
            "shell",
            "\x1b[?2004h\x1b]0;root@ws: ~\x07\x1b[01;32mroot@ws\x1b[0m:~# ls -l\r\n\x1b[?2004l\rtotal 0\r\n\
             a\tb\r\n\x1b[38;5;208mdeep\x1b[48;2;1;2;3m colour\x1b[m\r\n",
        ),
        seed(
            "progress",
            "  0%\r 50%\r100%\x1b[K\r\n\x1b[1A\x1b[2Kdone\x1b[3D\x1b[1P!\x08\x08\r\n\x1b[10X\x1b[4@x\x1b[5C\x1b[2b",
        ),
        seed(
            "editor",
            "\x1b[?1049h\x1b[?1h\x1b=\x1b[1;24r\x1b[H\x1b[2J\x1b[?25l\x1b[5;10Htext\x1b[L\x1b[2M\x1b[3S\x1b[T\x1b7\
             \x1b[r\x1b8\x1bM\x1bD\x1bE\x1b[?1000h\x1b[?1006h\x1b[?25h\x1b[?1l\x1b>\x1b[?1049lbye\r\n",
        ),
        seed(
            "wide",
            "e\u{301} 漢字 👩\u{200d}👩\u{200d}👧 \x1b(0lqqk\x1b(B\x1b)0\x0eqq\x0f\x1b#8\x1b[!p\x1bc\x1bPq#0\x1b\\\x1b_x\x1b\\end\r\n",
        ),
        seed(
            "modes",
            "\x1b[?7l\x1b[?6h\x1b[4h\x1b[20h\x1b[?1004h\x1b[?1002h\x1b[?1015h\x1b[?69h\x1b[5 q\x1b[>4;1m\x1b[>1u\x1b[s\
             \x1b[3g\x1bH\x1b[I\x1b[Z\x1b[u\x1b[6n\x1b[cx",
        ),
    ])
}
