//! Processors, processes and pressure: `/proc/stat` and `/proc/pressure`.

use crate::ingest::host::{DEVICES_MAX, Families, USER_HZ, numbers};
use crate::telemetry::snapshot::Kind;

/// The columns of a `cpu` line.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(super) fn read_stat(text: &str, families: &mut Families) {
    let mut processors = 0;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(key) = fields.next() else { continue };
        match key.strip_prefix("cpu") {
            Some("") => {}
            Some(_) if processors >= DEVICES_MAX => {}
            Some(number) => {
                processors += 1;
                read_processor(number, &numbers(fields), families);
            }
            None => {
                if let Some(value) = fields.next().and_then(|field| field.parse().ok()) {
                    read_total(key, value, families);
                }
            }
        }
    }
}

fn read_processor(number: &str, ticks: &[f64], families: &mut Families) {
    for (mode, ticks) in MODES.iter().zip(ticks) {
        let help = "Seconds the CPUs spent in each mode.";
        let labels = [("cpu", number), ("mode", *mode)];
        families.add("node_cpu_seconds_total", help, Kind::Counter, (&labels, ticks / USER_HZ));
    }
    for (mode, ticks) in ["user", "nice"].iter().zip(ticks.iter().skip(MODES.len())) {
        let help = "Seconds the CPUs spent in guests (VMs) for each mode.";
        let labels = [("cpu", number), ("mode", *mode)];
        families.add("node_cpu_guest_seconds_total", help, Kind::Counter, (&labels, ticks / USER_HZ));
    }
}

fn read_total(key: &str, value: f64, families: &mut Families) {
    let (name, help, kind) = match key {
        "intr" => ("node_intr_total", "Total number of interrupts serviced.", Kind::Counter),
        "ctxt" => ("node_context_switches_total", "Total number of context switches.", Kind::Counter),
        "processes" => ("node_forks_total", "Total number of forks.", Kind::Counter),
        "btime" => ("node_boot_time_seconds", "Node boot time, in unixtime.", Kind::Gauge),
        "procs_running" => ("node_procs_running", "Number of processes in runnable state.", Kind::Gauge),
        "procs_blocked" => {
            ("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.", Kind::Gauge)
        }
        _ => return,
    };
    families.single(name, help, kind, value);
}

/// Time in which work waited for a resource; `full` is time in which all of it did.
pub(super) fn read_pressure(resource: &str, text: &str, families: &mut Families) {
    for line in text.lines() {
        let Some((scope, rest)) = line.split_once(' ') else { continue };
        let total = rest.split(' ').find_map(|field| field.strip_prefix("total=")?.parse::<f64>().ok());
        let (Some(micros), false) = (total, scope == "full" && resource == "cpu") else { continue };
        let state = if scope == "full" { "stalled" } else { "waiting" };
        let name = format!("node_pressure_{resource}_{state}_seconds_total");
        let help = "Total time in seconds that processes waited for the resource, or no process could go on.";
        families.single(&name, help, Kind::Counter, micros / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::ingest::host::tests::render;

    #[test]
    fn ticks_become_seconds_and_the_sum_line_is_left_out() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 0 50 1000 5 0 1 0 7 0\nintr 77 1 2\nctxt 5\nbtime 1700000000\nodd x\n";
        expect![[r#"
            node_cpu_seconds_total{cpu="0",mode="user"} 1
            node_cpu_seconds_total{cpu="0",mode="nice"} 0
            node_cpu_seconds_total{cpu="0",mode="system"} 0.5
            node_cpu_seconds_total{cpu="0",mode="idle"} 10
            node_cpu_seconds_total{cpu="0",mode="iowait"} 0.05
            node_cpu_seconds_total{cpu="0",mode="irq"} 0
            node_cpu_seconds_total{cpu="0",mode="softirq"} 0.01
            node_cpu_seconds_total{cpu="0",mode="steal"} 0
            node_cpu_guest_seconds_total{cpu="0",mode="user"} 0.07
            node_cpu_guest_seconds_total{cpu="0",mode="nice"} 0
            node_intr_total 77
            node_context_switches_total 5
            node_boot_time_seconds 1700000000
        "#]]
        .assert_eq(&render(|families| read_stat(text, families)));
    }

    #[test]
    fn pressure_is_told_apart_by_some_and_full() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=250000\n";
        expect![[r#"
            node_pressure_io_waiting_seconds_total 1.5
            node_pressure_io_stalled_seconds_total 0.25
        "#]]
        .assert_eq(&render(|families| read_pressure("io", text, families)));
    }
}
