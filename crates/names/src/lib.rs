//! The nearest of some names, for messages about an unknown one.

/// The candidate most like `name`, the first among equals, if any is close enough to be a slip of the keys: what "did
/// you mean" offers.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates
        .into_iter()
        // Two letters that changed places are far apart for the first measure in a short name.
        .filter(|c| strsim::jaro_winkler(name, c) > 0.7 || name.len() > 2 && strsim::damerau_levenshtein(name, c) <= 1)
        .min_by_key(|c| strsim::damerau_levenshtein(name, c))
        .map(str::to_string)
}

/// The same as the end of a sentence: ` (did you mean ..?)` with the name in backquotes, or nothing.
pub fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slips_have_a_nearest_name() {
        let names = ["fog", "frost", "snow", "brightness"];
        for (slip, meant) in [("frots", "frost"), ("fgo", "fog"), ("sno", "snow"), ("brigthness", "brightness")] {
            assert_eq!(nearest(slip, names).as_deref(), Some(meant), "{slip}");
        }
        for other in ["zzz", "", "x", "elastic"] {
            assert_eq!(nearest(other, names), None, "{other}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn a_hint_ends_a_sentence() {
        assert_eq!(format!("no `snoww`{}", hint("snoww", ["fog", "snow"])), "no `snoww` (did you mean `snow`?)");
        assert_eq!(hint("zzz", ["fog"]), "");
    }
}
