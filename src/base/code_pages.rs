//! Pages of the program's own code that only its start needed.
//!
//! The kernel maps code in pieces of 64 KiB around what runs, so a start (flags, configuration, TLS, certificates) leaves most of
//! the binary mapped, and it counts as resident memory for as long as the process lives.
//!
//! `unsafe` is used for one thing: the system call has no safe wrapper here.

/// Unmaps the code of the running program; what still runs is mapped again at its next use, out of the page cache and
/// in less than a microsecond a piece. Elsewhere than on Linux nothing happens. Gives the bytes that were let go.
pub fn let_go() -> usize {
    #[cfg(target_os = "linux")]
    {
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return 0 };
        let Ok(program) = std::env::current_exe() else { return 0 };
        let program = program.to_string_lossy();
        let mut bytes = 0;
        for line in maps.lines().filter(|line| line.ends_with(&*program)) {
            // Only what cannot be written has no content of its own: relocated data would be lost.
            let Some((range, _)) = line.split_once(' ').filter(|(_, rest)| rest.starts_with("r-xp")) else { continue };
            let Some((start, end)) = range.split_once('-') else { continue };
            let parse = |text: &str| usize::from_str_radix(text, 16).ok();
            let (Some(start), Some(end)) = (parse(start), parse(end)) else { continue };
            // SAFETY: the range is a private, never written mapping of the program's file, as the kernel itself says;
            // dropping its pages changes nothing that a read or a jump can see.
            let done = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
            bytes += if done == 0 { end - start } else { 0 };
        }
        bytes
    }
    #[cfg(not(target_os = "linux"))]
    0
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn the_program_goes_on_without_the_pages_of_its_start() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = text.lines().find(|line| line.starts_with("RssFile")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        // Other tests run beside this one and map code of their own: one round in ten without them is enough.
        let shrinks = || {
            let before = resident();
            assert!(super::let_go() > 0);
            resident() < before
        };
        assert!((0..10).any(|_| shrinks()));
    }
}
