//! The process's own figures under the names that every Prometheus client library gives them.

use std::fs;

use crate::telemetry::registry::Registry;
use crate::telemetry::snapshot::{Family, Kind, as_float};

/// Ticks per second in `/proc`: fixed by the kernel's interface on every architecture we run on.
const USER_HZ: f64 = 100.0;

/// Lets the registry read `/proc/self` at each gathering. Figures that the kernel does not give are left out.
/// `started` is Unix time in seconds.
pub fn collect_into(registry: &Registry, started: f64) {
    registry.collect(move |families| {
        families.push(Family::single(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            Kind::Gauge,
            started,
        ));
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            read_stat(&stat, families);
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            read_status(&status, families);
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            let help = "Number of open file descriptors.";
            // The listing itself holds one descriptor open.
            let open = descriptors.count().saturating_sub(1);
            families.push(Family::single("process_open_fds", help, Kind::Gauge, as_float(open as u64)));
        }
        if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            let help = "Maximum number of open file descriptors.";
            families.push(Family::single("process_max_fds", help, Kind::Gauge, as_float(max)));
        }
    });
}

/// Reads fields of `/proc/self/stat`; field numbers are those of proc(5), which counts from 1.
fn read_stat(stat: &str, families: &mut Vec<Family>) {
    // The second field is the command in brackets and may hold spaces; what follows the last bracket is regular.
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let mut push = |name: &'static str, help: &'static str, kind, value: f64| {
        families.push(Family::single(name, help, kind, value));
    };
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let seconds = as_float(user + system) / USER_HZ;
        push("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", Kind::Counter, seconds);
    }
    if let Some(threads) = field(20) {
        push("process_threads", "Number of threads.", Kind::Gauge, as_float(threads));
    }
    if let Some(bytes) = field(23) {
        push("process_virtual_memory_bytes", "Virtual memory size in bytes.", Kind::Gauge, as_float(bytes));
    }
}

/// Resident memory from `/proc/self/status`, which gives it in kB whatever the size of a page is.
fn read_status(status: &str, families: &mut Vec<Family>) {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    if let Some(kilobytes) = kilobytes {
        let (name, help) = ("process_resident_memory_bytes", "Resident memory size in bytes.");
        families.push(Family::single(name, help, Kind::Gauge, as_float(kilobytes.saturating_mul(1024))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 100 4096 25 18446744073709551615";
        let mut families = Vec::new();
        read_stat(stat, &mut families);
        let names: Vec<_> = families.iter().map(|family| family.name.as_ref()).collect();
        assert_eq!(names, ["process_cpu_seconds_total", "process_threads", "process_virtual_memory_bytes"]);
        let threads = &families[1].samples[0];
        assert_eq!(threads.point, crate::telemetry::snapshot::Point::Value(9.0));
    }

    #[test]
    fn the_running_process_has_memory_and_descriptors() {
        let registry = Registry::default();
        collect_into(&registry, 1.0);
        let families = registry.gather();
        assert!(families.iter().any(|family| family.name == "process_resident_memory_bytes"));
        assert!(families.iter().any(|family| family.name == "process_open_fds"));
    }
}
