//! Memory: `/proc/meminfo` and the useful part of `/proc/vmstat`.

use crate::ingest::host::Families;
use crate::telemetry::snapshot::Kind;

/// What node_exporter keeps of `/proc/vmstat` by default.
fn is_kept(key: &str) -> bool {
    ["oom_kill", "pgpg", "pswp"].iter().any(|prefix| key.starts_with(prefix))
        || (key.starts_with("pg") && key.ends_with("fault"))
}

pub(super) fn read_meminfo(text: &str, families: &mut Families) {
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut fields = rest.split_ascii_whitespace();
        let Some(value) = fields.next().and_then(|field| field.parse::<f64>().ok()) else { continue };
        // `Active(anon)` becomes `Active_anon`.
        let key = key.replace('(', "_").replace(')', "");
        let help = "Memory information field of /proc/meminfo.";
        match fields.next() {
            Some("kB") => families.single(&format!("node_memory_{key}_bytes"), help, Kind::Gauge, value * 1024.0),
            _ => families.single(&format!("node_memory_{key}"), help, Kind::Gauge, value),
        }
    }
}

pub(super) fn read_vmstat(text: &str, families: &mut Families) {
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        if let (true, Ok(value)) = (is_kept(key), value.parse()) {
            let help = "Field of /proc/vmstat.";
            families.single(&format!("node_vmstat_{key}"), help, Kind::Untyped, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::host::tests::render;

    #[test]
    fn kilobytes_become_bytes_and_counts_stay() {
        let text = "MemTotal:  2 kB\nActive(anon):  1 kB\nHugePages_Total:  3\nodd\nodd: x\n";
        assert_eq!(
            render(|families| read_meminfo(text, families)),
            "node_memory_MemTotal_bytes 2048\nnode_memory_Active_anon_bytes 1024\nnode_memory_HugePages_Total 3\n"
        );
        assert_eq!(
            render(|families| read_vmstat("nr_free_pages 5\npgmajfault 6\noom_kill 1\n", families)),
            "node_vmstat_pgmajfault 6\nnode_vmstat_oom_kill 1\n"
        );
    }
}
