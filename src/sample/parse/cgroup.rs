//! Control groups: where this process is ([cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)),
//! and the files of a group
//! ([v2](https://docs.kernel.org/admin-guide/cgroup-v2.html),
//! [v1](https://docs.kernel.org/admin-guide/cgroup-v1/memory.html)).

use super::{Malformed, lines, number, words};

/// The path of this process' group in the hierarchy of a v1 `controller`, from
/// `/proc/self/cgroup`.
pub(in crate::sample) fn group_v1<'t>(text: &'t [u8], controller: &[u8]) -> Option<&'t [u8]> {
    groups(text)
        .find(|(list, _)| list.split(|byte| *byte == b',').any(|of| of == controller))
        .map(|(_, path)| path)
}

/// The same in the v2 hierarchy, whose line is `0::/path`.
pub(in crate::sample) fn group_v2(text: &[u8]) -> Option<&[u8]> {
    groups(text).find(|(list, _)| list.is_empty()).map(|(_, path)| path)
}

fn groups(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(text).filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (_, list, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((list, path.strip_suffix(b" (deleted)").unwrap_or(path)))
    })
}

/// A line of `/proc/self/mountinfo`
/// ([proc_pid_mountinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html)).
/// Spaces and such in the paths are still escaped in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sample) struct Mount<'t> {
    /// What of the file system is mounted.
    pub(in crate::sample) root: &'t [u8],
    pub(in crate::sample) point: &'t [u8],
    pub(in crate::sample) kind: &'t [u8],
    /// The controllers of a v1 hierarchy are among them.
    pub(in crate::sample) options: &'t [u8],
}

pub(in crate::sample) fn mounts(text: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    lines(text).filter_map(|line| {
        let mut words = words(line);
        let root = words.nth(3)?;
        let point = words.next()?;
        // Optional fields, of which there may be none, end at a dash.
        words.find(|word| *word == b"-")?;
        let kind = words.next()?;
        let options = words.nth(1)?;
        Some(Mount { root, point, kind, options })
    })
}

/// A limit: `max`, or bytes. v1 says "none" with the largest number that is a multiple of the
/// page size.
pub(in crate::sample) fn limit(text: &[u8]) -> Result<Option<u64>, Malformed> {
    let value = lines(text).next().unwrap_or_default();
    if value == b"max" {
        return Ok(None);
    }
    let bytes = number(value).ok_or(Malformed("limit of a control group"))?;
    Ok(Some(bytes).filter(|bytes| *bytes < 1 << 62))
}

/// A file with one number.
pub(in crate::sample) fn single(text: &[u8]) -> Result<u64, Malformed> {
    let value = lines(text).next().and_then(number);
    value.ok_or(Malformed("number of a control group"))
}

/// What we use of `memory.stat`: the group with all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sample) struct GroupMemory {
    /// Bytes.
    pub(in crate::sample) anonymous: Option<u64>,
    /// Bytes.
    pub(in crate::sample) active_file: u64,
    /// Bytes; holds what was freed with `MADV_FREE` too, which the kernel may take at will.
    pub(in crate::sample) inactive_file: u64,
    /// Bytes; v1 does not tell.
    pub(in crate::sample) slab_reclaimable: u64,
    /// The least limit up to the root, visible or not; v1 only.
    pub(in crate::sample) least_limit: Option<u64>,
    /// Pages taken back though they had been given up a moment ago.
    pub(in crate::sample) refaults_anonymous: Option<u64>,
    pub(in crate::sample) refaults_file: Option<u64>,
}

impl GroupMemory {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut stat = Self::default();
        let mut known = false;
        for line in lines(text) {
            let mut words = words(line);
            let (Some(key), Some(value)) = (words.next(), words.next().and_then(number)) else {
                continue;
            };
            // v1's own figures come before the totals, which are what we want: the later wins.
            match key {
                b"anon" | b"total_rss" => stat.anonymous = Some(value),
                b"active_file" | b"total_active_file" => stat.active_file = value,
                b"inactive_file" | b"total_inactive_file" => {
                    stat.inactive_file = value;
                    known = true;
                }
                b"slab_reclaimable" => stat.slab_reclaimable = value,
                b"hierarchical_memory_limit" => {
                    stat.least_limit = Some(value).filter(|bytes| *bytes < 1 << 62);
                }
                b"workingset_refault_anon" | b"total_workingset_refault_anon" => {
                    stat.refaults_anonymous = Some(value);
                }
                // One for both before Linux 5.9.
                b"workingset_refault"
                | b"total_workingset_refault"
                | b"workingset_refault_file"
                | b"total_workingset_refault_file" => stat.refaults_file = Some(value),
                _ => {}
            }
        }
        if known { Ok(stat) } else { Err(Malformed("memory.stat")) }
    }

    /// What the kernel takes back before it refuses anything.
    pub(in crate::sample) fn reclaimable(&self) -> u64 {
        self.active_file.saturating_add(self.inactive_file).saturating_add(self.slab_reclaimable)
    }
}

/// `memory.events`, and what v1's `memory.oom_control` has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sample) struct GroupEvents {
    pub(in crate::sample) high: Option<u64>,
    pub(in crate::sample) max: Option<u64>,
    pub(in crate::sample) oom: Option<u64>,
    pub(in crate::sample) oom_kill: Option<u64>,
}

impl GroupEvents {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut events = Self::default();
        for line in lines(text) {
            let mut words = words(line);
            let event = match words.next() {
                Some(b"high") => &mut events.high,
                Some(b"max") => &mut events.max,
                Some(b"oom") => &mut events.oom,
                Some(b"oom_kill") => &mut events.oom_kill,
                _ => continue,
            };
            *event = words.next().and_then(number);
        }
        if events == Self::default() { Err(Malformed("memory.events")) } else { Ok(events) }
    }
}

/// What we use of `cpu.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::sample) struct GroupCpu {
    /// Periods in which the group could run; absent without a quota.
    pub(in crate::sample) periods: Option<u64>,
    /// Those in which it used up its quota.
    pub(in crate::sample) throttled: Option<u64>,
    /// For how long its threads then waited, in seconds.
    pub(in crate::sample) throttled_time: Option<f64>,
}

impl GroupCpu {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut stat = Self::default();
        let mut known = false;
        for line in lines(text) {
            let mut words = words(line);
            let (Some(key), Some(value)) = (words.next(), words.next().and_then(number)) else {
                continue;
            };
            known = true;
            match key {
                b"nr_periods" => stat.periods = Some(value),
                b"nr_throttled" => stat.throttled = Some(value),
                b"throttled_usec" => stat.throttled_time = Some(value as f64 / 1e6),
                b"throttled_time" => stat.throttled_time = Some(value as f64 / 1e9),
                _ => {}
            }
        }
        if known { Ok(stat) } else { Err(Malformed("cpu.stat")) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CGROUP: &[u8] = include_bytes!("../testdata/linux-6.18/self_cgroup");
    const MOUNTS: &[u8] = include_bytes!("../testdata/linux-6.18/self_mountinfo");
    const STAT_V1: &[u8] = include_bytes!("../testdata/linux-6.18/v1_memory.stat");

    #[test]
    fn the_group_of_a_hybrid_machine() {
        assert_eq!(group_v1(CGROUP, b"memory"), Some(&b"/process_api/cb8a2fb6"[..]));
        assert_eq!(group_v1(CGROUP, b"cpu"), Some(&b"/"[..]));
        assert_eq!(group_v1(CGROUP, b"mem"), None);
        assert_eq!(group_v2(CGROUP), Some(&b"/"[..]));
    }

    #[test]
    fn groups_with_odd_names() {
        let text = b"4:cpu,cpuacct:/a:b\n0::/gone (deleted)\n";
        assert_eq!(group_v1(text, b"cpuacct"), Some(&b"/a:b"[..]));
        assert_eq!(group_v2(text), Some(&b"/gone"[..]));
        assert_eq!(group_v2(b"0:"), None);
        assert_eq!(group_v2(b"0::/cut"), None);
    }

    #[test]
    fn mounts_with_and_without_optional_fields() {
        let all: Vec<_> = mounts(MOUNTS).filter(|mount| mount.kind == b"cgroup").collect();
        assert_eq!(all.len(), 9);
        assert_eq!(all[3].point, b"/sys/fs/cgroup/memory");
        assert_eq!(all[3].options, b"rw,memory");
        let pure = include_bytes!("../testdata/linux-6.1-v2/self_mountinfo");
        let unified = mounts(pure).find(|mount| mount.kind == b"cgroup2").unwrap();
        assert_eq!((unified.root, unified.point), (&b"/"[..], &b"/sys/fs/cgroup"[..]));
        let docker = b"1525 1514 0:33 /docker/ab /sys/fs/cgroup/memory ro,nosuid master:15 shared:2 - cgroup cgroup rw,memory\n";
        assert_eq!(
            mounts(docker).next(),
            Some(Mount {
                root: b"/docker/ab",
                point: b"/sys/fs/cgroup/memory",
                kind: b"cgroup",
                options: b"rw,memory"
            })
        );
        assert_eq!(mounts(b"1 2 0:3 / /sys rw - sysfs\n1 2\n").count(), 0);
    }

    #[test]
    fn limits() {
        assert_eq!(limit(b"max\n"), Ok(None));
        assert_eq!(limit(b"536870912\n"), Ok(Some(512 << 20)));
        // 4 KiB and 64 KiB pages.
        assert_eq!(limit(b"9223372036854771712\n"), Ok(None));
        assert_eq!(limit(b"9223372036854710272\n"), Ok(None));
        assert_eq!(limit(b"99999999999999999999\n"), Ok(None));
        assert_eq!(limit(b"0\n"), Ok(Some(0)));
        for bad in [&b""[..], b"\n", b"ma", b"-1\n", b"5368", b"maximum\n"] {
            assert!(limit(bad).is_err(), "{bad:?}");
        }
        assert_eq!(single(b"12\n"), Ok(12));
        assert!(single(b"12").is_err());
    }

    #[test]
    fn totals_of_v1_include_the_groups_below() {
        let stat = GroupMemory::parse(STAT_V1).unwrap();
        assert_eq!(stat.active_file, 913_543_168);
        assert_eq!(stat.inactive_file, 990_715_904);
        assert_eq!((stat.slab_reclaimable, stat.least_limit), (0, None));
        assert_eq!(stat.refaults_file, Some(1_336_379));
        assert_eq!(stat.reclaimable(), 913_543_168 + 990_715_904);
    }

    #[test]
    fn v2() {
        let text = include_bytes!("../testdata/linux-6.1-v2/box_memory.stat");
        let expected = GroupMemory {
            anonymous: Some(73_728),
            // 8 MiB of tmpfs are "file", yet on the anonymous lists: nothing to be had back.
            active_file: 0,
            inactive_file: 0,
            slab_reclaimable: 57_224,
            least_limit: None,
            refaults_anonymous: Some(0),
            refaults_file: Some(0),
        };
        assert_eq!(GroupMemory::parse(text), Ok(expected));
        let huge = b"inactive_file 18446744073709551615\nactive_file 7\n";
        assert_eq!(GroupMemory::parse(huge).unwrap().reclaimable(), u64::MAX);
        assert!(GroupMemory::parse(b"anon 5\n").is_err());
    }

    #[test]
    fn older_kernels_and_containers() {
        let old = GroupMemory::parse(include_bytes!("../testdata/linux-4.19-v2/memory.stat"));
        let expected = GroupMemory {
            anonymous: Some(40 << 20),
            active_file: 28 << 20,
            inactive_file: 60 << 20,
            slab_reclaimable: 3 << 20,
            least_limit: None,
            refaults_anonymous: None,
            // Of both kinds, before 5.9.
            refaults_file: Some(733),
        };
        assert_eq!(old, Ok(expected));
        let docker = include_bytes!("../testdata/linux-5.4-v1-docker/memory.stat");
        let docker = GroupMemory::parse(docker).unwrap();
        assert_eq!(docker.least_limit, Some(256 << 20));
        assert_eq!(docker.reclaimable(), 70_418_432 + 37_715_968);
        let text = include_bytes!("../testdata/linux-5.4-v1-docker/self_cgroup");
        let own = group_v1(text, b"memory").unwrap();
        let all = include_bytes!("../testdata/linux-5.4-v1-docker/self_mountinfo");
        let memory = mounts(all).find(|mount| mount.options.ends_with(b"memory")).unwrap();
        assert_eq!((memory.root, memory.point), (own, &b"/sys/fs/cgroup/memory"[..]));
        let pod = GroupMemory::parse(include_bytes!("../testdata/linux-5.15-k8s/memory.stat"));
        assert_eq!(pod.unwrap().reclaimable(), (192 + 128) * (1 << 20) + 14_155_776);
        let text = include_bytes!("../testdata/linux-5.15-k8s/self_mountinfo");
        let unified = mounts(text).find(|mount| mount.kind == b"cgroup2").unwrap();
        assert_eq!((unified.root, unified.point), (&b"/"[..], &b"/sys/fs/cgroup"[..]));
        let text = include_bytes!("../testdata/linux-5.15-k8s/self_cgroup");
        assert_eq!((group_v2(text), group_v1(text, b"memory")), (Some(&b"/"[..]), None));
    }

    #[test]
    fn events() {
        // After a process was killed in it.
        let v2 = GroupEvents::parse(include_bytes!("../testdata/linux-6.1-v2/pod_memory.events"));
        let expected =
            GroupEvents { high: Some(0), max: Some(35), oom: Some(1), oom_kill: Some(1) };
        assert_eq!(v2, Ok(expected));
        let v1 = GroupEvents::parse(b"oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
        assert_eq!(v1, Ok(GroupEvents { oom_kill: Some(4), ..GroupEvents::default() }));
        // Before 4.13.
        assert!(GroupEvents::parse(b"oom_kill_disable 0\nunder_oom 0\n").is_err());
    }

    #[test]
    fn throttling() {
        let v2 = include_bytes!("../testdata/linux-6.1-v2/box_cpu.stat");
        let expected =
            GroupCpu { periods: Some(134), throttled: Some(133), throttled_time: Some(10.550_975) };
        assert_eq!(GroupCpu::parse(v2), Ok(expected));
        let v1 = b"nr_periods 134\nnr_throttled 133\nthrottled_time 10550975000\n";
        assert_eq!(GroupCpu::parse(v1), Ok(expected));
        assert_eq!(GroupCpu::parse(b"usage_usec 10\n"), Ok(GroupCpu::default()));
        assert!(GroupCpu::parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>, cut in 0..MOUNTS.len()) {
            let _ = group_v1(&text, b"memory");
            let _ = group_v2(&text);
            let _ = mounts(&text).count();
            let _ = mounts(&MOUNTS[..cut]).count();
            let _ = limit(&text);
            let _ = single(&text);
            let _ = GroupMemory::parse(&text).map(|stat| stat.reclaimable());
            let _ = GroupEvents::parse(&text);
            let _ = GroupCpu::parse(&text);
        }
    }
}
