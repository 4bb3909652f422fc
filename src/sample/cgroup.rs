//! Where this process' control groups are: its own and every ancestor that can be seen.
//!
//! Two files tell. `/proc/self/cgroup` names the group within its hierarchy, `mountinfo` says
//! which part of the hierarchy is mounted where; in a container both are relative to the
//! container's namespace, or only one is. A hybrid machine has the memory controller in v1 and
//! pressure in v2, so each question asks for its own hierarchy. Asked when a sampler starts.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::parse::cgroup::{Mount, group_v1, group_v2, mounts};

/// More levels than any machine nests; the outermost are left out.
const MOST_LEVELS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A hierarchy's groups from our own outward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) version: Version,
    pub(super) folders: Vec<PathBuf>,
}

/// `/proc/self/cgroup` and `/proc/self/mountinfo`, as they were when the sampler started.
#[derive(Debug, Default)]
pub(super) struct Membership {
    groups: Vec<u8>,
    mounts: Vec<u8>,
}

impl Membership {
    /// Of this process; empty where it cannot be told.
    pub(super) fn read(procfs: &Path) -> Self {
        let read = |file: &str| fs::read(procfs.join("self").join(file)).unwrap_or_default();
        Self { groups: read("cgroup"), mounts: read("mountinfo") }
    }

    /// Whether `groups`, read later, says the same.
    pub(super) fn still(&self, groups: &[u8]) -> bool {
        self.groups == groups
    }

    /// Where `controller` is: in the v1 hierarchy that has it, else in v2.
    pub(super) fn of(&self, controller: &str) -> Option<Groups> {
        self.v1(controller).or_else(|| self.v2())
    }

    pub(super) fn v1(&self, controller: &str) -> Option<Groups> {
        let own = group_v1(&self.groups, controller.as_bytes())?;
        let has = |mount: &Mount<'_>| {
            mount.kind == b"cgroup"
                && mount.options.split(|byte| *byte == b',').any(|of| of == controller.as_bytes())
        };
        self.levels(own, has).map(|folders| Groups { version: Version::V1, folders })
    }

    pub(super) fn v2(&self) -> Option<Groups> {
        let own = group_v2(&self.groups)?;
        let has = |mount: &Mount<'_>| mount.kind == b"cgroup2";
        self.levels(own, has).map(|folders| Groups { version: Version::V2, folders })
    }

    fn levels(&self, own: &[u8], has: impl Fn(&Mount<'_>) -> bool) -> Option<Vec<PathBuf>> {
        let own = clean(path(own));
        let all = || mounts(&self.mounts).filter(&has);
        // The mount that shows the most of our ancestors.
        let around = all()
            .filter_map(|mount| {
                let root = unescape(mount.root);
                let inside = own.strip_prefix(&root).ok()?.to_owned();
                Some((root.components().count(), unescape(mount.point), inside))
            })
            .min_by_key(|(depth, ..)| *depth);
        let (point, inside) = match around {
            Some((_, point, inside)) => (point, inside),
            // The mount's root is no ancestor of what we are told is our group: they are told in
            // different namespaces. What is mounted is ours or an ancestor's; which, and what is
            // between, cannot be told.
            None => (unescape(all().next()?.point), PathBuf::new()),
        };
        let levels = inside.ancestors().map(|part| point.join(part));
        // `join` of an empty path leaves a slash behind.
        let levels = levels.map(|level| level.components().collect::<PathBuf>());
        Some(levels.filter(|level| level.is_dir()).take(MOST_LEVELS).collect())
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// A group outside our namespace is shown as `/../name`: nothing of it is visible to us.
fn clean(group: PathBuf) -> PathBuf {
    if group.components().any(|part| part.as_os_str() == "..") { "/".into() } else { group }
}

/// `\040` and such, as mountinfo writes what would end a field.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digit: &u8| (b'0'..=b'7').contains(digit).then(|| u32::from(digit - b'0'));
        let code = match (first, after) {
            (b'\\', [a, b, c, ..]) => {
                octal(a).zip(octal(b)).zip(octal(c)).map(|((a, b), c)| a * 64 + b * 8 + c)
            }
            _ => None,
        };
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    path(&plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::procfs::tests::Fake, *};

    fn membership(groups: &str, mounts: String) -> Membership {
        Membership { groups: groups.into(), mounts: mounts.into() }
    }

    /// A line of mountinfo for what is at `point` in `fake`.
    fn mount(fake: &Fake, root: &str, point: &str, kind: &str, options: &str) -> String {
        let point = fake.0.join(point);
        fs::create_dir_all(&point).unwrap();
        format!("31 23 0:28 {root} {} rw shared:9 - {kind} cgroup {options}\n", point.display())
    }

    #[test]
    fn own_group_and_ancestors_up_to_the_mount() {
        let fake = Fake::new("groups-v2");
        let line = mount(&fake, "/", "cg", "cgroup2", "rw,nsdelegate");
        let own = fake.0.join("cg/kubepods/pod1/box");
        fs::create_dir_all(&own).unwrap();
        let groups = membership("0::/kubepods/pod1/box\n", line).of("memory").unwrap();
        assert_eq!(groups.version, Version::V2);
        let cg = fake.0.join("cg");
        assert_eq!(groups.folders, [own, cg.join("kubepods/pod1"), cg.join("kubepods"), cg]);
    }

    #[test]
    fn hybrid_memory_is_in_v1_and_pressure_in_v2() {
        let fake = Fake::new("groups-hybrid");
        let lines = mount(&fake, "/", "unified", "cgroup2", "rw")
            + &mount(&fake, "/", "memory", "cgroup", "rw,memory");
        fs::create_dir_all(fake.0.join("memory/a")).unwrap();
        let membership = membership("4:memory:/a\n0::/\n", lines);
        let memory = membership.of("memory").unwrap();
        assert_eq!(memory.version, Version::V1);
        assert_eq!(memory.folders, [fake.0.join("memory/a"), fake.0.join("memory")]);
        assert_eq!(membership.v2().unwrap().folders, [fake.0.join("unified")]);
        assert_eq!(membership.of("cpu").unwrap().version, Version::V2);
    }

    /// Docker with v1 and the host's namespace: the group's path is the host's, and the mount
    /// shows only that group.
    #[test]
    fn the_mount_is_the_group() {
        let fake = Fake::new("groups-docker");
        let line = mount(&fake, "/docker/ab", "memory", "cgroup", "rw,memory");
        let own = membership("4:memory:/docker/ab\n", line.clone());
        assert_eq!(own.of("memory").unwrap().folders, [fake.0.join("memory")]);
        // A child within the container.
        fs::create_dir_all(fake.0.join("memory/child")).unwrap();
        let child = membership("4:memory:/docker/ab/child\n", line);
        let expected = [fake.0.join("memory/child"), fake.0.join("memory")];
        assert_eq!(child.of("memory").unwrap().folders, expected);
    }

    #[test]
    fn namespaces_that_do_not_agree_leave_the_mount() {
        let fake = Fake::new("groups-foreign");
        let line = mount(&fake, "/../..", "cg", "cgroup2", "rw");
        let groups = membership("0::/\n", line).of("memory").unwrap();
        assert_eq!(groups.folders, [fake.0.join("cg")]);
        let line = mount(&fake, "/", "cg", "cgroup2", "rw");
        let groups = membership("0::/../outside\n", line).of("memory").unwrap();
        assert_eq!(groups.folders, [fake.0.join("cg")]);
    }

    #[test]
    fn nothing_mounted_is_no_group() {
        assert_eq!(membership("0::/a\n", String::new()).of("memory"), None);
        assert_eq!(membership("", String::new()).of("memory"), None);
        let gone = "1 2 0:3 / /no/such/folder rw - cgroup2 cgroup2 rw\n";
        let groups = membership("0::/a\n", gone.into()).of("memory").unwrap();
        assert_eq!(groups.folders, Vec::<PathBuf>::new());
    }

    #[test]
    fn octal_escapes() {
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
        for plain in [r"/a\04", r"/a\998", r"/\777", "\\"] {
            assert_eq!(unescape(plain.as_bytes()), Path::new(plain));
        }
    }
}
