//! The host that novascope runs on, read from `/proc` and `/sys` under node_exporter's metric names, so that its
//! dashboards and rules work without it.
//!
//! [`Host::gather`] reads everything once and gives families; the caller appends them. One reading takes about a
//! millisecond, touches no block device and no network file system (a dead NFS server would hang it), and a file that
//! is missing or odd only leaves out what it holds. At most [`DEVICES_MAX`] devices of a kind are reported.
//!
//! It is not node_exporter: there are no collectors to switch, and none for hardware beyond temperatures.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod system;

use std::fs;
use std::path::PathBuf;

use crate::base::clock::Clock;
use crate::telemetry::snapshot::{Family, Kind};

/// Devices, processors or mounts of one kind that are reported. A host with thousands of virtual interfaces must not
/// fill the store by itself.
pub const DEVICES_MAX: usize = 256;

/// Ticks per second in `/proc`: fixed by the kernel's interface on every architecture we run on.
const USER_HZ: f64 = 100.0;

/// Reads one host.
#[derive(Debug)]
pub struct Host {
    proc: PathBuf,
    sys: PathBuf,
    clock: Clock,
}

impl Host {
    /// Reads the machine that the process runs on.
    pub fn new(clock: Clock) -> Self {
        Self { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys"), clock }
    }

    /// The machine's name, for the label `instance`.
    pub fn name(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// One reading of everything. Blocks on `/proc`, never on a device.
    pub fn gather(&self) -> Vec<Family> {
        let mut families = Families::default();
        let read = |name: &str| fs::read_to_string(self.proc.join(name)).unwrap_or_default();
        cpu::read_stat(&read("stat"), &mut families);
        for (resource, text) in ["cpu", "io", "memory"].map(|name| (name, read(&format!("pressure/{name}")))) {
            cpu::read_pressure(resource, &text, &mut families);
        }
        memory::read_meminfo(&read("meminfo"), &mut families);
        memory::read_vmstat(&read("vmstat"), &mut families);
        disk::read_diskstats(&read("diskstats"), &mut families);
        network::read_dev(&read("net/dev"), &mut families);
        network::read_states(&self.sys.join("class/net"), &mut families);
        network::read_sockstat(&read("net/sockstat"), &mut families);
        filesystem::read_mounts(&read("mounts"), &mut families);
        system::read_loadavg(&read("loadavg"), &mut families);
        system::read_file_nr(&read("sys/fs/file-nr"), &mut families);
        system::read_temperatures(&self.sys.join("class/thermal"), &mut families);
        system::read_uname(&mut families);
        let seconds = self.clock.now() as f64 / 1000.0;
        families.single("node_time_seconds", "System time in seconds since epoch (1970).", Kind::Gauge, seconds);
        families.0
    }
}

/// Families in the order of their first sample.
#[derive(Debug, Default)]
struct Families(Vec<Family>);

impl Families {
    /// Adds a sample to the family of this name, which is made at its first sample.
    fn add(&mut self, name: &str, help: &'static str, kind: Kind, sample: (&[(&'static str, &str)], f64)) {
        // Samples of one family come in runs or by device in a fixed order, so the search from the end is short.
        let at = self.0.iter().rposition(|family| family.name == name).unwrap_or_else(|| {
            self.0.push(Family::new(name.to_owned(), help, kind));
            self.0.len() - 1
        });
        self.0[at].push(sample.0, sample.1);
    }

    fn single(&mut self, name: &str, help: &'static str, kind: Kind, value: f64) {
        self.add(name, help, kind, (&[], value));
    }
}

/// Reads fields of a line as numbers, up to the first that is none.
fn numbers<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<f64> {
    fields.map_while(|field| field.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders families without comments, one series a line.
    pub(super) fn render(read: impl FnOnce(&mut Families)) -> String {
        let mut families = Families::default();
        read(&mut families);
        let text = crate::telemetry::text::render(&families.0, crate::telemetry::text::Format::Text);
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn this_machine_has_processors_memory_and_a_name() {
        let host = Host::new(Clock::real());
        let families = host.gather();
        for name in ["node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1", "node_boot_time_seconds"] {
            assert!(families.iter().any(|family| family.name == name && !family.samples.is_empty()), "{name}");
        }
        assert!(!host.name().is_empty());
    }

    #[test]
    fn a_machine_without_proc_gives_what_the_calls_give() {
        let nowhere = PathBuf::from("/nonexistent");
        let host = Host { proc: nowhere.clone(), sys: nowhere, clock: Clock::real() };
        let names: Vec<_> = host.gather().into_iter().map(|family| family.name).collect();
        assert_eq!(names, ["node_uname_info", "node_time_seconds"]);
    }
}
