//! The results as Markdown.

use std::fmt::Write;
use std::time::Duration;

use super::contender::{Contender, Goal, League, Part};
use super::memory::Crowd;
use super::statistics::Sample;

/// How many idle ones have a goal.
const MANY: usize = 30;

/// One contender with what its turns took.
pub(crate) struct Row {
    pub(crate) contender: Contender,
    pub(crate) times: Vec<Duration>,
}

pub(crate) fn times(rows: &[Row]) -> String {
    let mut text = String::from(
        "| milliseconds | median | min | 95 % | max | n | ratio | goal |\n\
         |---|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "{}", time_row(row, rows));
    }
    for row in rows {
        if let Part::Plays(work) = &row.contender.part
            && let Some(remark) = work.remark()
        {
            let _ = write!(text, "\n- {}: {remark}", row.contender.label);
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn time_row(row: &Row, rows: &[Row]) -> String {
    let Contender {
        label, goals, part, ..
    } = &row.contender;
    let sample = match (part, Sample::of_times(&row.times)) {
        (Part::Plays(_), Some(sample)) => sample,
        (Part::Misses(why), _) => return format!("| {label} | | | | | | | not measured: {why} |"),
        (Part::Plays(_), None) => return format!("| {label} | | | | | | | no rounds |"),
    };
    let ratio = row
        .contender
        .league
        .and_then(|league| yardstick(league, rows))
        .map(|yardstick| sample.median() / yardstick);
    format!(
        "| {label} | {} | {} | {} | {} | {} | {} | {} |",
        milliseconds(sample.median()),
        milliseconds(sample.min()),
        milliseconds(sample.percentile_95()),
        milliseconds(sample.max()),
        sample.count(),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×")),
        goals
            .iter()
            .map(|goal| verdict(goal, sample.median(), ratio, rows))
            .collect::<Vec<_>>()
            .join("; "),
    )
}

/// The median that a league is compared with.
fn yardstick(league: League, rows: &[Row]) -> Option<f64> {
    median_of(rows, |contender| {
        contender.yardstick && contender.league == Some(league)
    })
}

fn median_of(rows: &[Row], of: impl Fn(&Contender) -> bool) -> Option<f64> {
    rows.iter()
        .filter(|row| of(&row.contender))
        .find_map(|row| Sample::of_times(&row.times))
        .map(|sample| sample.median())
}

fn verdict(goal: &Goal, median: f64, ratio: Option<f64>, rows: &[Row]) -> String {
    match goal {
        Goal::Ratio(limit) => format!("≤ {limit}×: {}", compared(ratio, *limit)),
        Goal::Milliseconds(limit) => format!("≤ {limit} ms: {}", met(median <= *limit)),
        Goal::Beside(limit, other) => {
            let ratio =
                median_of(rows, |contender| contender.label == *other).map(|other| median / other);
            let shown = ratio.map_or_else(String::new, |ratio| format!(" ({ratio:.2}×)"));
            let verdict = compared(ratio, *limit);
            format!("≤ {limit}× {other}: {verdict}{shown}")
        }
        Goal::NotHere(why) => (*why).to_owned(),
    }
}

fn compared(ratio: Option<f64>, limit: f64) -> &'static str {
    ratio.map_or("nothing to compare with", |ratio| met(ratio <= limit))
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// `what` they are; `goal`: what each of many should take at most, in MiB (proportional).
pub(crate) fn memory(what: &str, crowds: &[Crowd], goal: f64) -> String {
    let mut text = format!(
        "| idle {what} | start, until all answer, ms | resident, each, MiB | proportional, each, MiB \
         | goal |\n|--:|--:|--:|--:|---|\n",
    );
    for Crowd { count, measured } in crowds {
        let _ = match measured {
            Ok(measured) => writeln!(
                text,
                "| {count} | {} | {:.1} | {:.1} | {} |",
                milliseconds(measured.start_ms),
                measured.resident_mib,
                measured.proportional_mib,
                if *count == MANY {
                    let verdict = met(measured.proportional_mib <= goal);
                    format!("≤ {goal} MiB proportional: {verdict}")
                } else {
                    String::new()
                }
            ),
            Err(why) => writeln!(text, "| {count} | | | | not measured: {why} |"),
        };
    }
    text
}

/// A time with three digits that count, more or less.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 100.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::contender::Errand;
    use super::super::process::Process;
    use super::*;

    fn row(label: &str, league: League, ms: &[u64]) -> Row {
        Row {
            contender: Contender::new(label, Process::new(["true"])).league(league),
            times: ms.iter().copied().map(Duration::from_millis).collect(),
        }
    }

    #[test]
    fn medians_are_compared_within_their_league_only() {
        let fresh = League::Fresh(Errand::True);
        let mut docker = row("docker", fresh, &[100, 300, 200]);
        docker.contender = docker.contender.yardstick();
        let mut pyro = row("pyro", fresh, &[100]);
        let beside = Goal::Beside(0.6, "docker".to_owned());
        pyro.contender = pyro.contender.goal([Goal::Ratio(0.4), beside]);
        let git = row("git", League::Fresh(Errand::Git), &[50]);

        let table = times(&[docker, pyro, git]);

        assert!(
            table.contains("| docker | 200 | 100 | 300 | 300 | 3 | 1.00× |  |"),
            "{table}"
        );
        let missed = "| pyro | 100 | 100 | 100 | 100 | 1 | 0.50× | ≤ 0.4×: **missed**; \
                      ≤ 0.6× docker: met (0.50×) |";
        assert!(table.contains(missed), "{table}");
        assert!(
            table.contains("| git | 50.0 | 50.0 | 50.0 | 50.0 | 1 |  |  |"),
            "{table}"
        );
    }

    #[test]
    fn what_is_missing_says_why() {
        let row = Row {
            contender: Contender::missing("docker", "no engine").goal(Some(Goal::Ratio(1.0))),
            times: Vec::new(),
        };
        assert!(times(&[row]).contains("| docker | | | | | | | not measured: no engine |"));
    }
}
