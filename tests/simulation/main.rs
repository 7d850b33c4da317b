//! Whole lives of the metrics store on a disk that crashes, tears, fails, fills and rots, against a plain map.
//!
//! Each life has one seed, which is printed when it fails: `NOVASCOPE_SEED=7 cargo test --test simulation` runs that
//! life alone, `NOVASCOPE_LIVES=2000` more of them.

mod life;
mod oracle;

use life::{Bug, Life};

/// Seeds to run: one named, or as many as asked for.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("NOVASCOPE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NOVASCOPE_LIVES").unwrap_or(default),
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_invented() {
    let mut crashes = 0;
    for seed in seeds(300) {
        match Life::new(seed, Bug::None).run() {
            Ok(outcome) => crashes += outcome.crashes,
            Err(failure) => panic!("NOVASCOPE_SEED={seed}: {failure}"),
        }
    }
    println!("{crashes} crashes survived");
}

/// Lives with a planted bug until the oracle sees it.
fn lives_until_caught(bug: Bug) -> Option<u64> {
    (0..300).find(|seed| Life::new(*seed, bug).run().is_err())
}

#[test]
fn a_disk_that_skips_syncs_is_caught() {
    assert!(lives_until_caught(Bug::SkipSync).is_some_and(|lives| lives < 20));
}

#[test]
fn a_disk_that_skips_syncs_of_folders_is_caught() {
    assert!(lives_until_caught(Bug::SkipSyncDir).is_some_and(|lives| lives < 20));
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    assert!(lives_until_caught(Bug::AckEarly).is_some_and(|lives| lives < 20));
}

#[test]
fn a_name_that_is_given_before_the_file_is_synced_is_caught() {
    assert!(lives_until_caught(Bug::RenameFirst).is_some_and(|lives| lives < 300));
}

#[test]
fn a_flip_that_checksums_do_not_see_is_caught() {
    assert!(lives_until_caught(Bug::NoChecksum).is_some_and(|lives| lives < 100));
}
