//! Files of state that were found damaged.

use super::Counters;

static DAMAGED: Counters<1> = Counters::new(
    "novascope_state_files_damaged_total",
    "Files of state, other than the store's, that were found damaged at the start and set aside.",
    ["file"],
);

/// Counts a damaged file, by its name in the data folder.
pub fn note(file: &'static str) {
    DAMAGED.with([file]).inc();
}
