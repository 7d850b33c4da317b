//! Our own counters, gauges and histograms: what novascope tells about itself.
