//! Words that have no place here, and the words that every module begins with.

use crate::{assert_only_exceptions, sources};

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let banned = [
        (concat!("TO", "DO"), "do it, or write it into docs"),
        (concat!("FIX", "ME"), "do it, or write it into docs"),
        (concat!("to", "do!("), "no holes"),
        (concat!("unimplemented", "!("), "no holes"),
        (concat!("#[ign", "ore"), "a test runs or is gone"),
        (concat!("std::thread::sl", "eep"), "wait for what you wait for, with a bound"),
    ];
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        for (number, line) in source.text.lines().enumerate() {
            for (word, instead) in banned {
                if line.contains(word) {
                    let fault = format!("{}:{}: {word}: {instead}", source.path, number + 1);
                    found.push((source.path.clone(), fault));
                }
            }
        }
    }
    assert_only_exceptions("word", &found);
}

#[test]
fn every_file_says_what_it_is() {
    let mut found = Vec::new();
    for source in sources(&["src", "benches"]) {
        let tests = source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
        if !tests && !source.is_generated() && !source.text.starts_with("//! ") {
            found.push((source.path.clone(), format!("{} does not begin with //!", source.path)));
        }
    }
    assert_only_exceptions("header", &found);
}

#[test]
fn the_clock_and_the_runtime_are_asked_through_their_seams() {
    // Clippy bans the calls; this finds who switched that off.
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let seam = ["src/base/clock.rs", "src/base/tasks.rs"].contains(&source.path.as_str());
        if !seam && source.text.contains("clippy::disallowed_methods") {
            found.push((source.path.clone(), format!("{} switches off the ban on direct calls", source.path)));
        }
    }
    assert_only_exceptions("seam", &found);
}
