//! The section about program and machine.
use super::read::Run;
use super::text::escape;
use serde_json::Value;
use std::fmt::Write;

/// The facts of `run.json`.
pub(super) fn environment(run: &Run) -> String {
    let Some(Value::Object(info)) = &run.info else { return String::new() };
    let mut html = String::from("<h2>Environment</h2><dl class=\"facts\">");
    for (key, value) in info {
        let (key, value) = match (key.as_str(), value) {
            (_, Value::Null) => continue,
            ("started", value) => ("started (UTC)".into(), value.as_u64().map_or(value.to_string(), utc)),
            ("memory_mib", value) => {
                ("memory".into(), value.as_f64().map_or(value.to_string(), |mib| format!("{:.1} GiB", mib / 1024.0)))
            }
            ("version", Value::String(text)) => ("Subband".into(), text.clone()),
            ("burn", Value::String(text)) => ("Burn".into(), text.clone()),
            (key, Value::String(text)) => (key.replace('_', " "), text.clone()),
            (key, value) => (key.replace('_', " "), value.to_string()),
        };
        let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(&key), escape(&value));
    }
    html + "</dl>"
}

/// Seconds since 1970 as `2026-05-04 12:30`, by the civil calendar's rules.
fn utc(seconds: u64) -> String {
    let (mut days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        month += 1;
        if days < length {
            break;
        }
        days -= length;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02}", days + 1, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(super::utc(0), "1970-01-01 00:00");
        assert_eq!(super::utc(951_782_400), "2000-02-29 00:00");
        assert_eq!(super::utc(1_735_689_599), "2024-12-31 23:59");
    }
}
