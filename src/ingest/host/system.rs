//! Load, open files, temperatures, and what the kernel calls itself.

use std::fs;
use std::path::Path;

use crate::ingest::host::{DEVICES_MAX, Families, numbers};
use crate::telemetry::snapshot::Kind;

pub(super) fn read_loadavg(text: &str, families: &mut Families) {
    let names =
        [("node_load1", "1m load average."), ("node_load5", "5m load average."), ("node_load15", "15m load average.")];
    for ((name, help), value) in names.into_iter().zip(numbers(text.split_ascii_whitespace())) {
        families.single(name, help, Kind::Gauge, value);
    }
}

/// Three numbers: allocated, free (always 0 on Linux since 2.6), most.
pub(super) fn read_file_nr(text: &str, families: &mut Families) {
    if let [allocated, _, most] = numbers(text.split_ascii_whitespace())[..] {
        families.single("node_filefd_allocated", "File descriptor statistics: allocated.", Kind::Gauge, allocated);
        families.single("node_filefd_maximum", "File descriptor statistics: maximum.", Kind::Gauge, most);
    }
}

/// Folders `thermal_zone0` and so on, with millidegrees in `temp`.
pub(super) fn read_temperatures(folder: &Path, families: &mut Families) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut zones: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    zones.sort();
    for name in zones.iter().take(DEVICES_MAX) {
        let Some(zone) = name.strip_prefix("thermal_zone") else { continue };
        let read = |file: &str| fs::read_to_string(folder.join(name).join(file)).ok();
        if let (Some(kind), Some(millis)) =
            (read("type"), read("temp").and_then(|text| text.trim().parse::<f64>().ok()))
        {
            let labels = [("type", kind.trim()), ("zone", zone)];
            let help = "Zone temperature in Celsius.";
            families.add("node_thermal_zone_temp", help, Kind::Gauge, (&labels, millis / 1000.0));
        }
    }
}

pub(super) fn read_uname(families: &mut Families) {
    let name = rustix::system::uname();
    let text = |field: &std::ffi::CStr| field.to_string_lossy().into_owned();
    let (domain, machine, node) = (text(name.domainname()), text(name.machine()), text(name.nodename()));
    let (release, system, version) = (text(name.release()), text(name.sysname()), text(name.version()));
    let labels = [
        ("domainname", domain.as_str()),
        ("machine", &machine),
        ("nodename", &node),
        ("release", &release),
        ("sysname", &system),
        ("version", &version),
    ];
    let help = "Labeled system information as provided by the uname system call.";
    families.add("node_uname_info", help, Kind::Gauge, (&labels, 1.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::host::tests::render;

    #[test]
    fn load_and_files_are_read() {
        assert_eq!(
            render(|families| read_loadavg("0.50 1.25 2 3/456 789\n", families)),
            "node_load1 0.5\nnode_load5 1.25\nnode_load15 2\n"
        );
        assert_eq!(
            render(|families| read_file_nr("1024\t0\t9000\n", families)),
            "node_filefd_allocated 1024\nnode_filefd_maximum 9000\n"
        );
        assert_eq!(render(|families| read_file_nr("1024\n", families)), "");
    }
}
