//! Memory that this process may use, and how much of it it does use.

/// Bytes that this process may use: the machine's memory, or the limit of its control group or of its data segment,
/// whichever is least.
pub fn limit() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = own_group().into_iter().filter_map(|path| number(&path));
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    });
    let data = rustix::process::getrlimit(rustix::process::Resource::Data).current;
    // Version 1 of control groups writes "no limit" as a number near 2^63, which the machine's memory undercuts.
    group.chain(machine).chain(data).min().unwrap_or(1 << 30)
}

/// Bytes of this process that are in memory now, but for what it maps of files; 0 where the system does not say.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Files that hold the memory limit of our control group and of those above it, in both versions.
fn own_group() -> Vec<String> {
    let mut files = Vec::new();
    for line in std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{path}/{file}"));
            let Some((above, _)) = path.rsplit_once('/') else { break };
            path = above;
        }
    }
    files
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_uses_less_than_it_may() {
        let (resident, limit) = (super::resident(), super::limit());
        assert!(0 < resident && resident < limit, "{resident} of {limit}");
    }
}
