//! Pressure stall information: `/proc/pressure/*` and a group's `*.pressure`
//! ([psi](https://docs.kernel.org/accounting/psi.html)); `/proc/thread-self/schedstat`
//! ([sched-stats](https://docs.kernel.org/scheduler/sched-stats.html)).

use super::{Malformed, decimal, lines, number, words};

/// One line of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::sample) struct Stall {
    /// The share of the last 10 seconds, 0 to 1.
    pub(in crate::sample) avg10: f64,
    /// The share of the last minute, 0 to 1.
    pub(in crate::sample) avg60: f64,
    /// Microseconds since boot.
    pub(in crate::sample) total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::sample) struct Pressure {
    /// At least one task waited.
    pub(in crate::sample) some: Stall,
    /// All that could have run waited. The CPU's has no such line before Linux 5.13.
    pub(in crate::sample) full: Option<Stall>,
}

impl Pressure {
    pub(in crate::sample) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let (mut some, mut full) = (None, None);
        for line in lines(text) {
            let mut words = words(line);
            match words.next() {
                Some(b"some") => some = stall(words),
                Some(b"full") => full = stall(words),
                _ => {}
            }
        }
        Ok(Self { some: some.ok_or(Malformed("pressure"))?, full })
    }
}

fn stall<'t>(words: impl Iterator<Item = &'t [u8]>) -> Option<Stall> {
    let (mut avg10, mut avg60, mut total) = (None, None, None);
    for word in words {
        let equals = word.iter().position(|byte| *byte == b'=')?;
        let value = &word[equals + 1..];
        let share = || decimal(value).map(|percent| (percent / 100.0).min(1.0));
        match &word[..equals] {
            b"avg10" => avg10 = share(),
            b"avg60" => avg60 = share(),
            b"total" => total = number(value),
            _ => {}
        }
    }
    Some(Stall { avg10: avg10?, avg60: avg60?, total: total? })
}

/// How long a thread waited for a CPU though it could have run, in nanoseconds.
pub(in crate::sample) fn run_delay(text: &[u8]) -> Result<u64, Malformed> {
    let line = lines(text).next().unwrap_or_default();
    words(line).nth(1).and_then(number).ok_or(Malformed("schedstat"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IO: &[u8] = b"some avg10=0.03 avg60=0.36 avg300=0.76 total=11293186\n\
        full avg10=0.00 avg60=0.28 avg300=0.72 total=10745698\n";

    #[test]
    fn both_lines() {
        let io = Pressure::parse(IO).unwrap();
        assert_eq!(io.some, Stall { avg10: 0.0003, avg60: 0.0036, total: 11_293_186 });
        assert_eq!(io.full.unwrap().total, 10_745_698);
    }

    #[test]
    fn the_cpu_of_an_old_kernel_has_one_line() {
        let cpu = Pressure::parse(b"some avg10=16.71 avg60=8.86 avg300=3.01 total=26026284\n");
        assert_eq!(cpu.unwrap().full, None);
    }

    #[test]
    fn hostile_ones() {
        let over = b"some avg10=250.00 avg60=1.00 avg300=0 total=99999999999999999999\n";
        let stall = Pressure::parse(over).unwrap().some;
        assert_eq!((stall.avg10, stall.total), (1.0, u64::MAX));
        for bad in [
            &b""[..],
            b"some\n",
            b"some avg10=nan avg60=0.00 avg300=0.00 total=0\n",
            b"some avg10=-1 avg60=0.00 avg300=0.00 total=0\n",
            b"some avg10 avg60=0.00 avg300=0.00 total=0\n",
            b"full avg10=0.00 avg60=0.28 avg300=0.72 total=1\n",
        ] {
            assert!(Pressure::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        let first_line = IO.iter().position(|byte| *byte == b'\n').unwrap();
        for end in 0..=first_line {
            assert!(Pressure::parse(&IO[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn scheduling_delay() {
        assert_eq!(run_delay(b"70643 107252 2\n"), Ok(107_252));
        assert!(run_delay(b"70643\n").is_err());
        assert!(run_delay(b"70643 107252").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>, tail in "[a-z0-9=. ]{0,40}\n") {
            let _ = Pressure::parse(&text);
            let _ = Pressure::parse(format!("some {tail}").as_bytes());
            let _ = run_delay(&text);
        }
    }
}
