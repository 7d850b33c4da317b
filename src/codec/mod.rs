//! Column codecs: one file a codec, chosen by estimate, pick, encode.

pub mod prometheus;
