//! Plain text tables.

/// A table with a title; [`std::fmt::Display`] aligns it in columns, numbers to the right.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Table {
    /// Printed above the table; may be empty.
    pub title: String,
    /// Column headings.
    pub header: Vec<String>,
    /// Cells by row; each row is as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self { title: title.into(), header: header.iter().map(|h| h.to_string()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Width of each column in characters.
    fn widths(&self) -> Vec<usize> {
        let width = |i: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(i));
            cells.chain(self.header.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.header.len()).map(width).collect()
    }

    /// A column whose cells are numbers, or a dash for none, is set to the right.
    fn numeric(&self, i: usize) -> bool {
        let number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || "+-\u{2212}".contains(c));
        !self.rows.is_empty() && self.rows.iter().filter_map(|row| row.get(i)).all(number)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.title.is_empty() {
            writeln!(f, "{}", self.title)?;
        }
        let widths = self.widths();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let mut line = String::from(" ");
            for (i, cell) in row.iter().enumerate() {
                let space = " ".repeat(widths.get(i).map_or(0, |w| w.saturating_sub(cell.chars().count())));
                let (before, after) = if self.numeric(i) { (space.as_str(), "") } else { ("", space.as_str()) };
                line.push_str(&format!(" {before}{cell}{after} "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A number with a unit prefix: `1.23 M`, `456`.
pub(crate) fn short(value: f64) -> String {
    let scale = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match scale.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) => format!("{:.2}{name}", value / unit),
        None => format!("{value:.0}"),
    }
}

/// A number with about three significant digits: `0.083`, `12.5`, `1.20e-4`.
pub fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        0.01..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.2e}"),
    }
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Seconds as `1 h 02 min`, `3 min 20 s` or `12.3 s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("T", &["name", "n"]);
        table.row(["a", "5"]);
        table.row(["long", "12"]);
        table.row(["none", "-"]);
        table.row(["gain", "+3"]);
        assert_eq!(table.to_string(), "T\n  name   n\n  a      5\n  long  12\n  none   -\n  gain  +3\n");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(999.0), "999");
        assert_eq!(short(1_234_000.0), "1.23 M");
        let texts = [0.00012, 0.0, 0.0833, -2.5, 123.45, 12345.0].map(significant);
        assert_eq!(texts, ["1.20e-4", "0", "0.083", "-2.50", "123.5", "1.23e4"]);
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(61.0), "1 min 01 s");
        assert_eq!(duration(3700.0), "1 h 01 min");
    }
}
