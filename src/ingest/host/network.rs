//! Network interfaces and sockets: `/proc/net/dev`, `/sys/class/net`, `/proc/net/sockstat`.

use std::fs;
use std::path::Path;

use crate::ingest::host::{DEVICES_MAX, Families, numbers};
use crate::telemetry::snapshot::Kind;

/// Columns of an interface in `/proc/net/dev`.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

pub(super) fn read_dev(text: &str, families: &mut Families) {
    for line in text.lines().skip(2).take(DEVICES_MAX) {
        let Some((device, rest)) = line.split_once(':') else { continue };
        let labels = [("device", device.trim())];
        for (column, value) in COLUMNS.iter().zip(numbers(rest.split_ascii_whitespace())) {
            let help = "Network device statistic.";
            families.add(&format!("node_network_{column}_total"), help, Kind::Counter, (&labels, value));
        }
    }
}

/// Whether interfaces are up, and their MTU and speed.
pub(super) fn read_states(folder: &Path, families: &mut Families) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut devices: Vec<String> =
        entries.flatten().take(DEVICES_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    devices.sort();
    for device in &devices {
        let read = |file: &str| fs::read_to_string(folder.join(device).join(file)).ok();
        let labels = [("device", device.as_str())];
        if let Some(state) = read("operstate") {
            let up = f64::from(state.trim() == "up");
            let help = "Value is 1 if operstate is 'up', 0 otherwise.";
            families.add("node_network_up", help, Kind::Gauge, (&labels, up));
        }
        if let Some(bytes) = read("mtu").and_then(|text| text.trim().parse().ok()) {
            let help = "Network device property: mtu_bytes.";
            families.add("node_network_mtu_bytes", help, Kind::Gauge, (&labels, bytes));
        }
        // A link that is down or virtual says -1 or refuses to be read.
        let megabits: Option<f64> = read("speed").and_then(|text| text.trim().parse().ok());
        if let Some(megabits) = megabits.filter(|megabits| *megabits >= 0.0) {
            let help = "Network device property: speed_bytes.";
            families.add("node_network_speed_bytes", help, Kind::Gauge, (&labels, megabits * 1e6 / 8.0));
        }
    }
}

/// Lines such as `TCP: inuse 5 orphan 0`.
pub(super) fn read_sockstat(text: &str, families: &mut Families) {
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        let mut fields = rest.split_ascii_whitespace();
        while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
            let Ok(value) = value.parse() else { continue };
            let name = format!("node_sockstat_{protocol}_{key}");
            families.single(&name, "Number of sockets in this state.", Kind::Gauge, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::host::tests::render;

    #[test]
    fn interfaces_are_read_with_and_without_a_space_after_the_colon() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n  eth0:7 1\n";
        let got = render(|families| read_dev(text, families));
        assert!(got.starts_with(
            "node_network_receive_bytes_total{device=\"lo\"} 10\nnode_network_receive_bytes_total{device=\"eth0\"} 7\n"
        ));
        assert!(got.contains("node_network_transmit_bytes_total{device=\"lo\"} 20\n"));
    }

    #[test]
    fn sockets_are_named_by_protocol_and_state() {
        let got = render(|families| read_sockstat("sockets: used 7\nTCP: inuse 5 orphan 0\n", families));
        assert_eq!(got, "node_sockstat_sockets_used 7\nnode_sockstat_TCP_inuse 5\nnode_sockstat_TCP_orphan 0\n");
    }
}
