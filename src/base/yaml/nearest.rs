//! The known name that a misspelt one most likely stands for.

/// The nearest of `known`, or none where nothing is near: at most a third of the longer name may differ.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = fold(name);
    known
        .iter()
        .map(|candidate| (distance(&wanted, &fold(candidate)), *candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance * 3 <= name.len().max(candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// `scrapeInterval`, `scrape-interval` and `SCRAPE_INTERVAL` are the same mistake.
fn fold(name: &str) -> Vec<char> {
    // Longer names than any key are cut, so that the distance stays cheap.
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).take(64).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) between two texts.
fn distance(source: &[char], target: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=target.len()).collect();
    for (i, a) in source.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in target.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == target[j - 1] && source[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[target.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_misspellings_and_leaves_strangers_alone() {
        let known = ["scrape_interval", "scrape_timeout", "static_configs", "job_name"];
        assert_eq!(nearest("scrapeInterval", &known), Some("scrape_interval"));
        assert_eq!(nearest("static_config", &known), Some("static_configs"));
        assert_eq!(nearest("jobname", &known), Some("job_name"));
        assert_eq!(nearest("jbo_name", &known), Some("job_name"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &[]), None);
    }
}
