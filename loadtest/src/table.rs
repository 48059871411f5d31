//! The table: measure, level, found, ratio.

use std::{fmt, time::Duration};

/// What a measure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Level {
    /// Not more than this.
    Most(f64),
    /// Not less than this.
    Least(f64),
    /// Any: the figure is only told.
    Told,
}

/// What was found, measure by measure.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    measure: String,
    level: Level,
    found: f64,
}

impl Table {
    /// Adds a measure.
    pub(crate) fn add(&mut self, measure: impl Into<String>, level: Level, found: f64) {
        self.0.push(Row {
            measure: measure.into(),
            level,
            found,
        });
    }

    /// Adds a count, such as that of lost spans.
    pub(crate) fn count(&mut self, measure: impl Into<String>, level: Level, found: usize) {
        #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
        self.add(measure, level, found as f64);
    }

    /// Adds median, 95th and 99th percentile in milliseconds. The level is that of the 95th.
    ///
    /// Where nothing was measured the level breaks: the absence of bad figures proves nothing.
    pub(crate) fn waits(&mut self, measure: &str, p95: Level, mut waits: Vec<Duration>) {
        waits.sort_unstable();
        let at = |percent| percentile(&waits, percent).unwrap_or(f64::NAN);
        self.add(format!("{measure}, p50 in ms"), Level::Told, at(50));
        self.add(format!("{measure}, p95 in ms"), p95, at(95));
        self.add(format!("{measure}, p99 in ms"), Level::Told, at(99));
    }

    /// The measures whose levels break.
    pub(crate) fn broken(&self) -> Vec<&str> {
        let broken = self.0.iter().filter(|row| !row.holds());
        broken.map(|row| row.measure.as_str()).collect()
    }
}

impl Row {
    fn holds(&self) -> bool {
        match self.level {
            Level::Most(most) => self.found <= most,
            Level::Least(least) => self.found >= least,
            Level::Told => true,
        }
    }

    fn cells(&self) -> [String; 4] {
        let (level, ratio) = match self.level {
            Level::Most(level) => (format!("≤ {}", figure(level)), self.ratio(level)),
            Level::Least(level) => (format!("≥ {}", figure(level)), self.ratio(level)),
            Level::Told => ("–".to_owned(), "–".to_owned()),
        };
        [self.measure.clone(), level, figure(self.found), ratio]
    }

    fn ratio(&self, level: f64) -> String {
        // To none there is no ratio, and that to one is what was found.
        if level <= 1.0 || self.found.is_nan() {
            "–".to_owned()
        } else {
            format!("{:.3}", self.found / level)
        }
    }
}

/// With as many digits as anybody compares.
fn figure(number: f64) -> String {
    if number.is_nan() {
        "nothing".to_owned()
    } else if number.fract() == 0.0 || number.abs() >= 1000.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["measure", "level", "found", "ratio"].map(str::to_owned);
        let rows: Vec<[String; 4]> = std::iter::once(header)
            .chain(self.0.iter().map(Row::cells))
            .collect();
        let longest = rows
            .iter()
            .map(|[measure, ..]| measure.chars().count())
            .max();
        let width = longest.unwrap_or(0);
        for [measure, level, found, ratio] in &rows {
            writeln!(f, "{measure:width$}  {level:>8}  {found:>8}  {ratio:>6}")?;
        }
        Ok(())
    }
}

/// Milliseconds below which so many of a hundred waits lie; `None` where there are none.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let index = (sorted.len().saturating_mul(percent) / 100).min(last);
    sorted.get(index).map(|wait| wait.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_compared_and_shown_with_their_ratio() {
        let mut table = Table::default();
        table.count("spans lost", Level::Most(0.0), 0);
        table.add("rate", Level::Least(100.0), 50.0);
        table.add("told", Level::Told, 1234.5);
        assert_eq!(table.broken(), ["rate"]);
        let expected = "\
measure        level     found   ratio
spans lost       ≤ 0         0       –
rate           ≥ 100        50   0.500
told               –      1234       –
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_level_breaks_where_nothing_was_measured() {
        let mut table = Table::default();
        table.waits("sealing", Level::Most(1200.0), Vec::new());
        assert_eq!(table.broken(), ["sealing, p95 in ms"]);
    }

    #[test]
    fn percentiles_are_of_the_sorted_waits() {
        let waits: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let mut table = Table::default();
        table.waits("w", Level::Most(95.0), waits);
        assert_eq!(table.broken(), ["w, p95 in ms"]);
    }
}
