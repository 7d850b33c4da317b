//! Block devices: `/proc/diskstats`.

use crate::ingest::host::{DEVICES_MAX, Families, numbers};
use crate::telemetry::snapshot::Kind;

/// The kernel counts sectors of 512 bytes whatever the device's own size is.
const SECTOR_BYTES: f64 = 512.0;
/// Times are in milliseconds.
const MILLIS: f64 = 1e-3;

/// Columns after the device's name: metric, factor, help.
const COLUMNS: [(&str, f64, &str); 17] = [
    ("node_disk_reads_completed_total", 1.0, "The total number of reads completed successfully."),
    ("node_disk_reads_merged_total", 1.0, "The total number of reads merged."),
    ("node_disk_read_bytes_total", SECTOR_BYTES, "The total number of bytes read successfully."),
    ("node_disk_read_time_seconds_total", MILLIS, "The total number of seconds spent by all reads."),
    ("node_disk_writes_completed_total", 1.0, "The total number of writes completed successfully."),
    ("node_disk_writes_merged_total", 1.0, "The number of writes merged."),
    ("node_disk_written_bytes_total", SECTOR_BYTES, "The total number of bytes written successfully."),
    ("node_disk_write_time_seconds_total", MILLIS, "This is the total number of seconds spent by all writes."),
    ("node_disk_io_now", 1.0, "The number of I/Os currently in progress."),
    ("node_disk_io_time_seconds_total", MILLIS, "Total seconds spent doing I/Os."),
    ("node_disk_io_time_weighted_seconds_total", MILLIS, "The weighted # of seconds spent doing I/Os."),
    ("node_disk_discards_completed_total", 1.0, "The total number of discards completed successfully."),
    ("node_disk_discards_merged_total", 1.0, "The total number of discards merged."),
    ("node_disk_discarded_sectors_total", 1.0, "The total number of sectors discarded successfully."),
    ("node_disk_discard_time_seconds_total", MILLIS, "This is the total number of seconds spent by all discards."),
    ("node_disk_flush_requests_total", 1.0, "The total number of flush requests completed successfully."),
    ("node_disk_flush_requests_time_seconds_total", MILLIS, "The total number of seconds spent by all flush requests."),
];

pub(super) fn read_diskstats(text: &str, families: &mut Families) {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let device = fields.next()?;
        (!is_ignored(device)).then(|| (device, numbers(fields)))
    });
    for (device, values) in lines.take(DEVICES_MAX) {
        for ((name, factor, help), value) in COLUMNS.iter().zip(values) {
            let kind = if *name == "node_disk_io_now" { Kind::Gauge } else { Kind::Counter };
            families.add(name, help, kind, (&[("device", device)], value * factor));
        }
    }
}

/// Partitions, and devices that stand for memory or files: what node_exporter leaves out by default.
fn is_ignored(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    if let Some(numbers) = stem.strip_prefix("nvme") {
        // `nvme0n1` is a disk, `nvme0n1p2` a partition of it.
        return numbers.ends_with('p');
    }
    let is_disk = |rest: &str| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_lowercase());
    matches!(stem, "ram" | "zram" | "loop" | "fd")
        || ["hd", "sd", "vd", "xvd"].iter().any(|prefix| stem.strip_prefix(prefix).is_some_and(is_disk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::host::tests::render;

    #[test]
    fn disks_are_kept_and_partitions_left_out() {
        for name in ["sda1", "vdb12", "xvda1", "nvme0n1p3", "loop0", "zram0", "ram1"] {
            assert!(is_ignored(name), "{name}");
        }
        for name in ["sda", "vda", "nvme0n1", "dm-0", "md127", "mmcblk0"] {
            assert!(!is_ignored(name), "{name}");
        }
    }

    #[test]
    fn sectors_and_milliseconds_become_bytes_and_seconds() {
        let text = " 8 0 sda 10 1 4 250 20 2 8 500 3 750 1000\n 8 1 sda1 1 1 1 1\n";
        let got = render(|families| read_diskstats(text, families));
        for line in [
            "node_disk_reads_completed_total{device=\"sda\"} 10",
            "node_disk_read_bytes_total{device=\"sda\"} 2048",
            "node_disk_read_time_seconds_total{device=\"sda\"} 0.25",
            "node_disk_written_bytes_total{device=\"sda\"} 4096",
            "node_disk_io_now{device=\"sda\"} 3",
            "node_disk_io_time_weighted_seconds_total{device=\"sda\"} 1",
        ] {
            assert!(got.lines().any(|got| got == line), "{line} in\n{got}");
        }
        assert!(!got.contains("sda1") && !got.contains("flush"));
    }
}
