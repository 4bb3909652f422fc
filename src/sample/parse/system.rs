//! `/proc/meminfo`, `/proc/vmstat`, `/proc/loadavg`:
//! [proc_meminfo(5)](https://man7.org/linux/man-pages/man5/proc_meminfo.5.html),
//! [proc_vmstat(5)](https://man7.org/linux/man-pages/man5/proc_vmstat.5.html),
//! [proc_loadavg(5)](https://man7.org/linux/man-pages/man5/proc_loadavg.5.html).

use super::{Malformed, decimal, kibibytes, lines, number, words};

/// What we use of `/proc/meminfo`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sample) struct MemInfo {
    pub(in crate::sample) total: u64,
    pub(in crate::sample) free: u64,
    /// An estimate of ours before Linux 3.14, which lacks it.
    pub(in crate::sample) available: u64,
    pub(in crate::sample) buffers: u64,
    pub(in crate::sample) cached: u64,
    pub(in crate::sample) shared: Option<u64>,
    pub(in crate::sample) slab_reclaimable: Option<u64>,
    pub(in crate::sample) slab_unreclaimable: Option<u64>,
    pub(in crate::sample) swap_total: u64,
    pub(in crate::sample) swap_free: u64,
}

impl MemInfo {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        const WHAT: Malformed = Malformed("/proc/meminfo");
        let (mut total, mut free, mut available) = (None, None, None);
        let (mut buffers, mut cached, mut shared) = (None, None, None);
        let (mut slab_reclaimable, mut slab_unreclaimable) = (None, None);
        let (mut swap_total, mut swap_free) = (None, None);
        for line in lines(text) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let field = match &line[..colon] {
                b"MemTotal" => &mut total,
                b"MemFree" => &mut free,
                b"MemAvailable" => &mut available,
                b"Buffers" => &mut buffers,
                b"Cached" => &mut cached,
                b"Shmem" => &mut shared,
                b"SReclaimable" => &mut slab_reclaimable,
                b"SUnreclaim" => &mut slab_unreclaimable,
                b"SwapTotal" => &mut swap_total,
                b"SwapFree" => &mut swap_free,
                _ => continue,
            };
            *field = kibibytes(&line[colon + 1..]);
            // The last two of ours; as much again follows.
            if slab_unreclaimable.is_some() && swap_free.is_some() {
                break;
            }
        }
        let total = total.filter(|total| *total > 0).ok_or(WHAT)?;
        let free = free.ok_or(WHAT)?;
        let (buffers, cached) = (buffers.unwrap_or(0), cached.unwrap_or(0));
        let estimate = || {
            // tmpfs counts as cached but cannot be dropped.
            let droppable = cached.saturating_sub(shared.unwrap_or(0));
            free.saturating_add(buffers).saturating_add(droppable)
        };
        Ok(Self {
            total,
            free,
            available: available.unwrap_or_else(estimate).min(total),
            buffers,
            cached,
            shared,
            slab_reclaimable,
            slab_unreclaimable,
            swap_total: swap_total.unwrap_or(0),
            swap_free: swap_free.unwrap_or(0),
        })
    }

    /// What applications hold: the convention's "used".
    pub(in crate::sample) fn used(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }

    pub(in crate::sample) fn swap_used(&self) -> u64 {
        self.swap_total.saturating_sub(self.swap_free)
    }
}

/// What we use of `/proc/vmstat`: events since boot. Which there are depends on the kernel's
/// configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sample) struct VmStat {
    /// Minor and major ones.
    pub(in crate::sample) faults: Option<u64>,
    pub(in crate::sample) major_faults: Option<u64>,
    /// Pages.
    pub(in crate::sample) swapped_in: Option<u64>,
    /// Pages.
    pub(in crate::sample) swapped_out: Option<u64>,
    pub(in crate::sample) oom_kills: Option<u64>,
    /// Pages taken back though they had been given up a moment ago.
    pub(in crate::sample) refaults_anonymous: Option<u64>,
    pub(in crate::sample) refaults_file: Option<u64>,
}

impl VmStat {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut stat = Self::default();
        for line in lines(text) {
            // Two hundred lines, of which few are ours.
            if !matches!(line.first(), Some(b'p' | b'o' | b'w')) {
                continue;
            }
            let mut words = words(line);
            let field = match words.next() {
                Some(b"pgfault") => &mut stat.faults,
                Some(b"pgmajfault") => &mut stat.major_faults,
                Some(b"pswpin") => &mut stat.swapped_in,
                Some(b"pswpout") => &mut stat.swapped_out,
                Some(b"oom_kill") => &mut stat.oom_kills,
                Some(b"workingset_refault_anon") => &mut stat.refaults_anonymous,
                // One for both before Linux 5.9.
                Some(b"workingset_refault_file" | b"workingset_refault") => &mut stat.refaults_file,
                _ => continue,
            };
            *field = words.next().and_then(number);
            if stat.is_all() {
                break;
            }
        }
        if stat == Self::default() { Err(Malformed("/proc/vmstat")) } else { Ok(stat) }
    }

    /// Whether what follows is not ours.
    pub(in crate::sample) fn is_all(&self) -> bool {
        self.oom_kills.is_some()
    }
}

/// `/proc/loadavg`'s averages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::sample) struct LoadAverage {
    pub(in crate::sample) one: f64,
    pub(in crate::sample) five: f64,
    pub(in crate::sample) fifteen: f64,
}

impl LoadAverage {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        const WHAT: Malformed = Malformed("/proc/loadavg");
        let mut words = words(lines(text).next().ok_or(WHAT)?);
        let mut next = || words.next().and_then(decimal).ok_or(WHAT);
        Ok(Self { one: next()?, five: next()?, fifteen: next()? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEMINFO: &[u8] = include_bytes!("../testdata/linux-6.18/meminfo");
    const VMSTAT: &[u8] = include_bytes!("../testdata/linux-6.18/vmstat");

    #[test]
    fn a_captured_meminfo() {
        let info = MemInfo::parse(MEMINFO).unwrap();
        assert_eq!(info.total, 24_684_092 * 1024);
        assert_eq!(info.swap_total, 0);
        assert!(info.available > info.free && info.available < info.total);
        assert_eq!(info.used(), info.total - info.available);
    }

    #[test]
    fn a_meminfo_before_3_14_has_its_available_estimated() {
        let info = MemInfo::parse(include_bytes!("../testdata/linux-2.6.32/meminfo")).unwrap();
        assert_eq!(info.available, (147_532 + 156_140 + 1_216_400 - 228) * 1024);
    }

    #[test]
    fn hostile_meminfo() {
        let huge = b"MemTotal: 99999999999999999999999 kB\nMemFree: 18446744073709551615 kB\n";
        let info = MemInfo::parse(huge).unwrap();
        assert_eq!((info.total, info.used()), (u64::MAX, 0));
        // More available than there is: none is used.
        let odd = b"MemTotal: 10 kB\nMemFree: 5 kB\nMemAvailable: 20 kB\n";
        assert_eq!(MemInfo::parse(odd).unwrap().used(), 0);
        for bad in [
            &b""[..],
            b"MemTotal: 10 kB\n",
            b"MemTotal: 0 kB\nMemFree: 0 kB\n",
            b"MemTotal: -10 kB\nMemFree: 5 kB\n",
            b"MemTotal: 10 kB\nMemFree: 5 k",
        ] {
            assert!(MemInfo::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_captured_vmstat() {
        let stat = VmStat::parse(VMSTAT).unwrap();
        assert!(stat.faults.unwrap() > stat.major_faults.unwrap());
        assert_eq!((stat.swapped_in, stat.swapped_out), (Some(0), Some(0)));
        let end = VMSTAT.windows(10).position(|at| at == b"\noom_kill ").unwrap() + 20;
        assert_eq!(VmStat::parse(&VMSTAT[..end]), Ok(stat), "the last of ours");
        assert!(stat.is_all() && !VmStat::parse(&VMSTAT[..end - 40]).unwrap().is_all());
        assert!(VmStat::parse(b"nr_free_pages 12\n").is_err());
        assert_eq!(
            VmStat::parse(b"pgfault x\npswpin 99999999999999999999\n").unwrap(),
            VmStat { swapped_in: Some(u64::MAX), ..VmStat::default() }
        );
    }

    #[test]
    fn a_captured_load_average() {
        let load = LoadAverage::parse(b"0.06 0.18 0.09 2/86 7777\n").unwrap();
        assert_eq!(load, LoadAverage { one: 0.06, five: 0.18, fifteen: 0.09 });
        for bad in [&b""[..], b"0.06 0.18\n", b"0.06 nan 0.1\n", b"0.06 0.18 0.09"] {
            assert!(LoadAverage::parse(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>, meminfo in 0..MEMINFO.len(), vmstat in 0..VMSTAT.len()) {
            let _ = MemInfo::parse(&text);
            let _ = VmStat::parse(&text);
            let _ = LoadAverage::parse(&text);
            let _ = MemInfo::parse(&MEMINFO[..meminfo]);
            let _ = VmStat::parse(&VMSTAT[..vmstat]);
        }
    }
}
