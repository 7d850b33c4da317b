//! Seams to the machine: time, disk, randomness and background tasks, each with a simulated twin.
//! Beside them the reading of configuration: [`units`] as people write them, and [`yaml`] files.
//!
//! Nothing above this row asks the operating system for time, files, random numbers or threads by itself, so that
//! one seed can drive a whole simulated life of the store.

pub mod clock;
pub mod code_pages;
pub mod disk;
pub mod drain;
pub mod glob;
pub mod go_url;
pub mod heap;
pub mod huge_pages;
pub mod memory;
pub mod prefetch;
pub mod priority;
pub mod rng;
pub mod scratch;
pub mod tasks;
pub mod units;
mod workers;
pub mod yaml;
