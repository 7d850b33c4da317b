//! Whether the kernel may back memory with huge pages.
//!
//! They make a large store faster and a small one larger: the allocator asks for them at once, and an idle daemon then
//! holds 33 MB where it needs 18. So a process starts without and allows them when it has grown.
//!
//! `unsafe` is used for one thing: the system call has no safe wrapper here.

/// Allows or forbids huge pages for memory that is touched from now on. Elsewhere than on Linux, and on a kernel that
/// refuses, nothing changes.
pub fn allow(allowed: bool) {
    #[cfg(target_os = "linux")]
    {
        let disabled = libc::c_ulong::from(!allowed);
        // SAFETY: `PR_SET_THP_DISABLE` takes a flag and three zeros and touches no memory of ours.
        unsafe {
            libc::prctl(libc::PR_SET_THP_DISABLE, disabled, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = allowed;
}
