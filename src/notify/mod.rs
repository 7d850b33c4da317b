//! Alert delivery: routing, grouping, inhibition, silences, receivers.
