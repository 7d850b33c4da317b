//! File patterns as configuration writes them: `*`, `?`, `[a-z]` inside one component of a path.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Files and folders looked at for one pattern. More are a pattern gone wrong.
const FOUND_MAX: usize = 10_000;

/// The paths that exist and match, in ascending order. A path without pattern characters is given back whether it
/// exists or not, so that the caller can say that it is missing.
pub fn expand(pattern: &Path) -> Vec<PathBuf> {
    if !is_pattern(&pattern.to_string_lossy()) {
        return vec![pattern.to_owned()];
    }
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = component.as_os_str().to_string_lossy();
        found = match component {
            Component::Normal(_) if is_pattern(&name) => {
                found.iter().flat_map(|folder| matching(folder, &name)).take(FOUND_MAX).collect()
            }
            _ => found.into_iter().map(|path| path.join(component)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(here) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        // As in a shell a leading dot must be written.
        .filter(|name| (pattern.starts_with('.') || !name.starts_with('.')) && matches(pattern, name))
        .map(|name| folder.join(name))
        .collect()
}

/// Whether a name matches a pattern of `*`, `?`, `[abc]`, `[a-z]` and `[^a]`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // After a failure the last star takes one character more; earlier stars never have to.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, n));
            p += 1;
        } else if let Some(next) = step(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((star, taken)) = retry {
            retry = Some((star, taken + 1));
            p = star + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Matches one character at `p`; gives where the pattern goes on.
fn step(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let close = p + 2 + pattern.get(p + 2..)?.iter().position(|c| *c == ']')?;
            let inside = &pattern[p + 1..close];
            let (negated, mut inside) = match inside.strip_prefix(&['^']) {
                Some(rest) => (true, rest),
                None => (false, inside),
            };
            let mut hit = false;
            while let Some(first) = inside.first() {
                if let [low, '-', high, ..] = inside {
                    hit |= (*low..=*high).contains(&c);
                    inside = &inside[3..];
                } else {
                    hit |= *first == c;
                    inside = &inside[1..];
                }
            }
            (hit != negated).then_some(close + 1)
        }
        literal => (literal == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_questions_and_sets_match_within_a_name() {
        for (pattern, name, expect) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "aXXbYYbZc", true),
            ("a*b*c", "aXXbYYbZ", false),
            ("?[0-9]", "x7", true),
            ("?[^0-9]", "x7", false),
            ("[", "[", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_find_what_exists_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.yml", "a/1.yml", "a/.hidden.yml", "a/1.txt"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = expand(&folder.path().join("*/*.yml"));
        assert_eq!(found, [folder.path().join("a/1.yml"), folder.path().join("b/2.yml")]);
        assert_eq!(expand(Path::new("missing.yml")), [PathBuf::from("missing.yml")]);
    }
}
