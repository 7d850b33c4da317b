//! Composition: configuration, build, run, reload.
