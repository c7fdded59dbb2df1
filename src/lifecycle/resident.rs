//! How much memory the process takes.

use std::{fs, io};

/// Resident memory in bytes, as the kernel counts it: `VmRSS` of `/proc/self/status`. Takes some 30 µs.
pub fn resident_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    vm_rss(&status).ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS"))
}

/// `VmRSS:     12345 kB`
fn vm_rss(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_takes_grows_with_what_it_holds() {
        let before = resident_bytes().expect("Linux");
        let held = vec![1_u8; 64 << 20];
        let after = resident_bytes().expect("Linux");
        assert!(after >= before + (32 << 20), "{before} {after}");
        drop(held);
    }

    #[test]
    fn only_a_number_of_kilobytes_counts() {
        assert_eq!(
            vm_rss("VmHWM:\t  20 kB\nVmRSS:\t  12 kB\n"),
            Some(12 * 1_024)
        );
        for other in ["", "VmRSS:\n", "VmRSS: 12\n", "VmRSS: x kB\n"] {
            assert_eq!(vm_rss(other), None, "{other}");
        }
    }
}
