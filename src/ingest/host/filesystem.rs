//! Mounted file systems: `/proc/mounts` and statvfs.

use crate::ingest::host::{DEVICES_MAX, Families};
use crate::telemetry::snapshot::{Kind, as_float};

/// Types without storage of their own, as node_exporter leaves them out.
const PSEUDO: [&str; 27] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "erofs",
    "sysfs",
    "tracefs",
    "efivarfs",
    "ramfs",
];

/// Types whose server may not answer: asking one that is gone would hang the collector.
const REMOTE: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "afs"];

/// One line of `/proc/mounts`.
struct Mount {
    device: String,
    point: String,
    kind: String,
    read_only: bool,
}

pub(super) fn read_mounts(text: &str, families: &mut Families) {
    for mount in text.lines().filter_map(parse).filter(|mount| !is_ignored(mount)).take(DEVICES_MAX) {
        let labels =
            [("device", mount.device.as_str()), ("fstype", mount.kind.as_str()), ("mountpoint", mount.point.as_str())];
        let mut add = |name: &str, help, value| families.add(name, help, Kind::Gauge, (&labels, value));
        let read_only = f64::from(mount.read_only);
        add("node_filesystem_readonly", "Filesystem read-only status.", read_only);
        let Ok(space) = rustix::fs::statvfs(mount.point.as_str()) else {
            let help = "Whether an error occurred while getting statistics for the given device.";
            add("node_filesystem_device_error", help, 1.0);
            continue;
        };
        let bytes = |blocks: u64| as_float(blocks) * as_float(space.f_frsize);
        add("node_filesystem_size_bytes", "Filesystem size in bytes.", bytes(space.f_blocks));
        add("node_filesystem_free_bytes", "Filesystem free space in bytes.", bytes(space.f_bfree));
        let help = "Filesystem space available to non-root users in bytes.";
        add("node_filesystem_avail_bytes", help, bytes(space.f_bavail));
        add("node_filesystem_files", "Filesystem total file nodes.", as_float(space.f_files));
        add("node_filesystem_files_free", "Filesystem total free file nodes.", as_float(space.f_ffree));
        let help = "Whether an error occurred while getting statistics for the given device.";
        add("node_filesystem_device_error", help, 0.0);
    }
}

fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let (device, point, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some(Mount {
        device: unescape(device),
        point: unescape(point),
        kind: kind.to_owned(),
        read_only: options.split(',').any(|option| option == "ro"),
    })
}

fn is_ignored(mount: &Mount) -> bool {
    let below =
        |folder: &str| mount.point.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PSEUDO.contains(&mount.kind.as_str())
        || REMOTE.contains(&mount.kind.as_str())
        || mount.kind.starts_with("fuse.")
        || ["/dev", "/proc", "/sys", "/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"]
            .iter()
            .any(|folder| below(folder))
}

/// The kernel writes space, tab, line break and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::host::tests::render;

    #[test]
    fn pseudo_and_remote_file_systems_are_left_out() {
        let text = "proc /proc proc rw 0 0\nsrv:/x /mnt nfs4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/vda / ext4 ro,noatime 0 0\n";
        let got = render(|families| read_mounts(text, families));
        assert!(got.starts_with("node_filesystem_readonly{device=\"/dev/vda\",fstype=\"ext4\",mountpoint=\"/\"} 1\n"));
        assert!(got.contains("node_filesystem_size_bytes{device=\"/dev/vda\""));
        assert!(!got.contains("nfs") && !got.contains("proc") && !got.contains("shm"));
    }

    #[test]
    fn a_mount_point_with_a_space_keeps_it() {
        assert_eq!(parse("d /a\\040b ext4 rw 0 0").map(|mount| mount.point), Some("/a b".to_owned()));
    }
}
