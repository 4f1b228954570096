//! What a terminal was told, as the text that a person sees.
//!
//! The text comes from a guest, so a real terminal emulator reads it here, on the host: safe code
//! of its own crate, in the process that asked and in nobody else's, and much faster than under
//! emulation. It is bounded: a screen has a largest size, what scrolls off it is kept up to a
//! limit, and sequences that cost much and say little run out of time.
//!
//! A part of the output means something only on the screen that was there before. So what came
//! just before it is read first, and shown is what the part changed.

use std::time::{Duration, Instant};

use avt::observer::{Observation, Observer};
use avt::parser::{EdScope, Function};
use avt::{Line, Parser, ScreenKind, Terminal};
use pyro_wire::shells::{MAX_TERMINAL_SIDE, Size};

/// How long one reading may take. A mebibyte of ordinary output takes some ten milliseconds.
const TIME: Duration = Duration::from_secs(2);

/// How many characters are written between two looks at the clock.
const LOOK: u32 = 64;

/// How much of what scrolled off the screen is kept, in bytes: a mebibyte of empty lines and more.
const SCROLLED: usize = 48 * 1024 * 1024;

/// Stands where something could not be shown.
const CUT: &str = "[\u{2026} left out: too much to show as plain text \u{2026}]\n";

/// The text that a person sees of `part`, which came after `before`.
pub fn visible_text(size: Size, before: &str, part: &str) -> String {
    seen_within(size, before, part, TIME, SCROLLED)
}

fn seen_within(size: Size, before: &str, part: &str, time: Duration, scrolled: usize) -> String {
    if part.is_empty() {
        return String::new();
    }
    let Some(mut screen) = Screen::new(size, time, scrolled) else {
        return CUT.to_owned();
    };
    screen.feed(before);
    let start = screen.mark();
    screen.feed(part);
    screen.changed_since(&start)
}

/// What a terminal has to be told in order to show what it would show after all of this.
pub fn repaint(size: Size, text: &str) -> String {
    let Some(mut screen) = Screen::new(size, TIME, 0) else {
        return String::new();
    };
    screen.feed(text);
    screen.terminal.dump()
}

struct Screen {
    parser: Parser,
    terminal: Terminal,
    scrolled: Scrolled,
    deadline: Instant,
    until_look: u32,
    out_of_time: bool,
}

/// How the screen was at some point.
struct Mark {
    rows: Vec<String>,
    /// Column and row of the cursor, where the screen is the one that scrolls.
    cursor: Option<(usize, usize)>,
}

/// Lines that left the screen at its top.
#[derive(Default)]
struct Scrolled {
    lines: Vec<Row>,
    bytes: usize,
    /// How much is kept, in bytes.
    limit: usize,
    /// Older ones were dropped, or the screen was cleared.
    torn: bool,
    cut: bool,
    ignore: bool,
}

struct Row {
    text: String,
    /// The next row goes on with the same line.
    wrapped: bool,
}

impl Row {
    fn of(line: &Line) -> Self {
        Self {
            text: line.text(),
            wrapped: line.is_wrapped(),
        }
    }

    /// What it takes in memory.
    fn bytes(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}

impl Scrolled {
    fn up_to(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }
}

impl Observer for &mut Scrolled {
    type Output = ();

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        if self.ignore {
            return;
        }
        let mut row = Row::of(line);
        if !row.wrapped {
            row.text.truncate(row.text.trim_end_matches(' ').len());
            row.text.shrink_to_fit();
        }
        self.bytes += row.bytes();
        self.lines.push(row);
        if self.bytes > self.limit {
            // The newer half is what a person would still find.
            let half = self.lines.len().div_ceil(2);
            self.lines.drain(..half);
            self.bytes = self.lines.iter().map(Row::bytes).sum();
            (self.torn, self.cut) = (true, true);
        }
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

impl Screen {
    fn new(size: Size, time: Duration, scrolled: usize) -> Option<Self> {
        let side = |length: u16| usize::from(length.clamp(1, MAX_TERMINAL_SIDE));
        Some(Self {
            parser: Parser::new(),
            terminal: Terminal::new(side(size.cols), side(size.rows)).ok()?,
            scrolled: Scrolled::up_to(scrolled),
            deadline: Instant::now() + time,
            until_look: LOOK,
            out_of_time: false,
        })
    }

    fn feed(&mut self, text: &str) {
        for character in text.chars() {
            if self.out_of_time {
                return;
            }
            if let Some(function) = self.parser.feed(character) {
                self.execute(function);
            }
        }
    }

    fn execute(&mut self, function: Function) {
        self.until_look -= 1;
        // One of the others may be worth a whole screen.
        let is_cheap = matches!(function, Function::Print(_) | Function::Sgr(_));
        if self.until_look == 0 || !is_cheap {
            self.until_look = LOOK;
            self.out_of_time = Instant::now() > self.deadline;
        }
        let function = match function {
            // Terminals do not show it.
            Function::Print(character) if character.is_control() => return,
            // More would only fill the screen with the same again.
            Function::Rep(count) => {
                let (cols, rows) = self.terminal.size();
                let most = u16::try_from(cols * rows).unwrap_or(u16::MAX);
                Function::Rep(count.min(most))
            }
            other => other,
        };
        match &function {
            // A person who clears the screen does not want to see what was on it, although a
            // terminal keeps it above.
            Function::Ed(EdScope::All | EdScope::SavedLines) | Function::Ris => {
                if self.terminal.active_screen_kind() == ScreenKind::Primary {
                    self.scrolled.lines.clear();
                    self.scrolled.bytes = 0;
                    self.scrolled.torn = true;
                }
                self.scrolled.ignore = true;
                self.terminal.execute_with(function, &mut self.scrolled);
                self.scrolled.ignore = false;
            }
            _ => self.terminal.execute_with(function, &mut self.scrolled),
        }
    }

    /// Begins to look for changes.
    fn mark(&mut self) -> Mark {
        self.scrolled = Scrolled::up_to(self.scrolled.limit);
        let cursor = self.terminal.cursor();
        let scrolls = self.terminal.active_screen_kind() == ScreenKind::Primary;
        Mark {
            rows: (self.terminal.primary_screen().visible_lines())
                .map(Line::text)
                .collect(),
            cursor: scrolls.then_some((cursor.col, cursor.row)),
        }
    }

    fn changed_since(&mut self, mark: &Mark) -> String {
        let mut text = match self.terminal.active_screen_kind() {
            ScreenKind::Primary => self.changed_lines(mark),
            ScreenKind::Alternate => {
                let rows = self.terminal.screen().visible_lines().map(Row::of);
                joined(rows, None)
            }
        };
        if self.out_of_time || self.scrolled.cut {
            text.insert_str(0, CUT);
        }
        text
    }

    fn changed_lines(&mut self, mark: &Mark) -> String {
        let scrolled = std::mem::take(&mut self.scrolled);
        let torn = scrolled.torn;
        self.scrolled.cut = scrolled.cut;
        let cursor = self.terminal.cursor();
        let mut rows = scrolled.lines;
        let cursor_row = rows.len() + cursor.row;
        rows.extend(self.terminal.screen().visible_lines().map(Row::of));
        if torn {
            // Nothing is where it was.
            return joined(rows, Some((cursor.col, cursor_row)));
        }
        // A row that left the screen is without the blanks at its end.
        let differs = |row: usize| {
            let now = rows.get(row).map(|now| now.text.trim_end_matches(' '));
            now != mark
                .rows
                .get(row)
                .map(|before| before.trim_end_matches(' '))
        };
        let above = mark.cursor.map_or(mark.rows.len(), |(_, row)| row);
        let first = (0..above).find(|row| differs(*row));
        let (first, skip) = match (first, mark.cursor) {
            (Some(first), _) => (first, 0),
            (None, Some((col, row))) => (row, self.untouched(mark, &rows, row, col)),
            // The other screen was left, and nothing was written on this one.
            (None, None) => (cursor_row, 0),
        };
        let mut rows = rows.split_off(first.min(rows.len()));
        let mut skipped = 0;
        if let Some(row) = rows.first_mut() {
            let gone = row.text.chars().take(skip);
            skipped = gone.map(|gone| if is_wide(gone) { 2 } else { 1 }).sum();
            row.text = row.text.chars().skip(skip).collect();
        }
        let cursor = (cursor_row >= first).then(|| {
            let skipped = if cursor_row == first { skipped } else { 0 };
            (cursor.col.saturating_sub(skipped), cursor_row - first)
        });
        joined(rows, cursor)
    }

    /// How many characters at the beginning of the row where the cursor was are as they were.
    fn untouched(&self, mark: &Mark, rows: &[Row], row: usize, col: usize) -> usize {
        let (Some(before), Some(now)) = (mark.rows.get(row), rows.get(row)) else {
            return 0;
        };
        let same = |count: usize| before.chars().take(count).eq(now.text.chars().take(count));
        // The cursor may stand at the beginning of what was seen, as after a carriage return.
        let until_cursor = characters_until(before, col);
        let written = before.trim_end_matches(' ').chars().count();
        [until_cursor.max(written), until_cursor]
            .into_iter()
            .find(|count| same(*count))
            .unwrap_or(0)
    }
}

/// How many characters stand before a column.
fn characters_until(row: &str, col: usize) -> usize {
    let mut width = 0;
    row.chars()
        .take_while(|character| {
            let begins = width;
            width += if is_wide(*character) { 2 } else { 1 };
            begins < col
        })
        .count()
}

/// Whether the emulator gives it two cells.
fn is_wide(character: char) -> bool {
    if character.is_ascii() {
        return false;
    }
    let mut one = match Terminal::new(4, 1) {
        Ok(one) => one,
        Err(_) => return false,
    };
    one.feed(character);
    one.cursor().col == 2
}

/// Lines of text: without what is blank at their ends and at the end of all, up to the cursor.
fn joined(rows: impl IntoIterator<Item = Row>, cursor: Option<(usize, usize)>) -> String {
    let mut text = String::new();
    // How much of `text` is worth showing.
    let mut shown = 0;
    let mut wrapped = false;
    for (index, row) in rows.into_iter().enumerate() {
        if index > 0 && !wrapped {
            text.truncate(text.trim_end_matches(' ').len().max(shown));
            text.push('\n');
        }
        wrapped = row.wrapped;
        text.push_str(&row.text);
        let written = text.trim_end_matches([' ', '\n']).len();
        shown = shown.max(written);
        if let Some((col, at)) = cursor
            && at == index
        {
            // A prompt ends with a blank, before which the cursor does not stand.
            let row_start = text.len() - row.text.len();
            let characters = characters_until(&row.text, col);
            let end = row.text.char_indices().map(|(at, _)| at).nth(characters);
            shown = shown.max(row_start + end.unwrap_or(row.text.len()));
        }
    }
    text.truncate(shown);
    text
}

#[cfg(test)]
mod tests;
