//! Embedded pages.
