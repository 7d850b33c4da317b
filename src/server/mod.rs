//! Listeners, limits, compression and the one error map.
