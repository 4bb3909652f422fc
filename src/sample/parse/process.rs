//! `/proc/self/stat`, `/proc/self/status`, `/proc/self/limits`:
//! [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html),
//! [proc_pid_limits(5)](https://man7.org/linux/man-pages/man5/proc_pid_limits.5.html),
//! [proc_pid_status(5)](https://man7.org/linux/man-pages/man5/proc_pid_status.5.html).

use super::{Malformed, kibibytes, lines, number, words};

/// What we use of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sample) struct ProcessStat {
    pub(in crate::sample) pid: u64,
    pub(in crate::sample) minor_faults: u64,
    pub(in crate::sample) major_faults: u64,
    /// Clock ticks.
    pub(in crate::sample) user_time: u64,
    /// Clock ticks.
    pub(in crate::sample) system_time: u64,
    pub(in crate::sample) threads: u64,
    /// Clock ticks after boot.
    pub(in crate::sample) start_time: u64,
    /// Bytes.
    pub(in crate::sample) virtual_size: u64,
    /// Pages; on a machine of many cores some megabytes off (see [`ProcessStatus::resident`]).
    pub(in crate::sample) resident_pages: u64,
}

impl ProcessStat {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        const WHAT: Malformed = Malformed("/proc/self/stat");
        let line = lines(text).next().ok_or(WHAT)?;
        // The command may hold spaces and parentheses: it ends at the last one.
        let command_end = line.iter().rposition(|byte| *byte == b')').ok_or(WHAT)?;
        let pid = words(line).next().and_then(number).ok_or(WHAT)?;
        let mut fields = words(&line[command_end + 1..]);
        // In the manual's counting the first of them is field 3.
        let mut at = 3;
        let mut field = |wanted: usize| {
            let skip = wanted - at;
            at = wanted + 1;
            fields.nth(skip).and_then(number).ok_or(WHAT)
        };
        Ok(Self {
            pid,
            minor_faults: field(10)?,
            major_faults: field(12)?,
            user_time: field(14)?,
            system_time: field(15)?,
            threads: field(20)?,
            start_time: field(22)?,
            virtual_size: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// What we use of `/proc/<pid>/status`, in bytes. Old kernels, gVisor and processes without
/// memory of their own lack some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sample) struct ProcessStatus {
    /// Summed over the cores' counters since Linux 6.17, where `stat` only estimates.
    pub(in crate::sample) resident: Option<u64>,
    pub(in crate::sample) peak_resident: Option<u64>,
    pub(in crate::sample) anonymous: Option<u64>,
    pub(in crate::sample) shared: Option<u64>,
    pub(in crate::sample) swap: Option<u64>,
}

impl ProcessStatus {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut status = Self::default();
        let mut named = false;
        for line in lines(text) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = &line[colon + 1..];
            match &line[..colon] {
                b"Name" => named = true,
                b"VmRSS" => status.resident = kibibytes(value),
                b"VmHWM" => status.peak_resident = kibibytes(value),
                b"RssAnon" => status.anonymous = kibibytes(value),
                b"RssShmem" => status.shared = kibibytes(value),
                b"VmSwap" => {
                    status.swap = kibibytes(value);
                    // The last of ours; as much again follows.
                    break;
                }
                _ => {}
            }
        }
        if named { Ok(status) } else { Err(Malformed("/proc/self/status")) }
    }
}

/// What we use of `/proc/<pid>/limits`: soft limits. `None` is unlimited, or not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sample) struct ProcessLimits {
    /// Descriptors.
    pub(in crate::sample) open_files: Option<u64>,
    /// Bytes.
    pub(in crate::sample) address_space: Option<u64>,
    /// Bytes.
    pub(in crate::sample) locked_memory: Option<u64>,
}

impl ProcessLimits {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut limits = Self::default();
        let mut known = false;
        for line in lines(text) {
            for (name, limit) in [
                (&b"Max open files "[..], &mut limits.open_files),
                (b"Max address space ", &mut limits.address_space),
                (b"Max locked memory ", &mut limits.locked_memory),
            ] {
                if let Some(soft) = line.strip_prefix(name).and_then(|rest| words(rest).next()) {
                    known = true;
                    *limit = number(soft);
                }
            }
        }
        if known { Ok(limits) } else { Err(Malformed("/proc/self/limits")) }
    }
}

/// The virtual size in pages, from `/proc/<pid>/statm`: a fifth of the price of `stat`.
pub(in crate::sample) fn virtual_pages(text: &[u8]) -> Result<u64, Malformed> {
    let line = lines(text).next().unwrap_or_default();
    words(line).next().and_then(number).ok_or(Malformed("/proc/self/statm"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &[u8] = include_bytes!("../testdata/linux-6.18/self_stat");
    const STATUS: &[u8] = include_bytes!("../testdata/linux-6.18/self_status");

    #[test]
    fn a_captured_stat() {
        assert_eq!(
            ProcessStat::parse(STAT),
            Ok(ProcessStat {
                pid: 8485,
                minor_faults: 2857,
                major_faults: 9,
                user_time: 17,
                system_time: 7,
                threads: 3,
                start_time: 134_173,
                virtual_size: 167_997_440,
                resident_pages: 3331,
            })
        );
    }

    #[test]
    fn a_command_may_look_like_fields() {
        let hostile = b"12 (a) R 1 (b c) S 1 1 1 0 -1 4194560 5 0 6 0 7 8 0 0 20 0 9 0 10 11 12\n";
        let stat = ProcessStat::parse(hostile).unwrap();
        assert_eq!((stat.pid, stat.minor_faults, stat.resident_pages), (12, 5, 12));
    }

    #[test]
    fn a_stat_cut_anywhere_is_refused() {
        for end in 0..STAT.len() {
            assert!(ProcessStat::parse(&STAT[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_negative_thread_count_is_refused() {
        let hostile = b"1 (a) S 1 1 1 0 -1 0 5 0 6 0 7 8 0 0 20 0 -9 0 10 11 12\n";
        assert!(ProcessStat::parse(hostile).is_err());
    }

    #[test]
    fn a_captured_status() {
        assert_eq!(
            ProcessStatus::parse(STATUS),
            Ok(ProcessStatus {
                resident: Some(13_560 * 1024),
                peak_resident: Some(13_560 * 1024),
                anonymous: Some(6916 * 1024),
                shared: Some(0),
                swap: Some(0),
            })
        );
    }

    #[test]
    fn a_status_of_gvisor_lacks_much() {
        let text = include_bytes!("../testdata/gvisor/self_status");
        let expected = ProcessStatus { resident: Some(10_240 * 1024), ..ProcessStatus::default() };
        assert_eq!(ProcessStatus::parse(text), Ok(expected));
        assert!(ProcessStatus::parse(b"").is_err());
    }

    #[test]
    fn soft_limits() {
        let text =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max locked memory         8388608              8388608              bytes     \n\
            Max open files            1024                 524288               files     \n\
            Max address space         unlimited            unlimited            bytes     \n";
        let expected = ProcessLimits {
            open_files: Some(1024),
            address_space: None,
            locked_memory: Some(8 << 20),
        };
        assert_eq!(ProcessLimits::parse(text), Ok(expected));
        assert!(ProcessLimits::parse(b"Max open file").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>, cut in 0..STATUS.len()) {
            let _ = ProcessLimits::parse(&text);
            let _ = ProcessStat::parse(&text);
            let _ = ProcessStatus::parse(&text);
            let _ = ProcessStatus::parse(&STATUS[..cut]);
        }
    }
}
