//! The hot path's clock: the time-stamp counter where it is sound, [`Instant`] elsewhere.
//!
//! *Sound* is checked once, not assumed: the kernel itself keeps time by the TSC
//! (`current_clocksource`, which it gives up when cores disagree), and the processor says that it
//! is invariant (CPUID 8000_0007h, EDX bit 8: it ticks at one rate through frequency changes and
//! sleep states). Everywhere else a tick is a nanosecond of [`Instant`].
//!
//! Where the TSC is sound by these checks and an operator knows better, `HIGHWATER_CLOCK=instant`
//! takes [`Instant`] all the same; the tests run by both.
//!
//! Error: the first estimate takes 100 µs and is within 500 ppm; each tick of the engine refines
//! it ([`recalibrate`]), to below 1 ppm after the first second. The counter is read unfenced, so
//! a start or stop may be off by the few nanoseconds the processor reorders. A stop that reads
//! less than its start (cores out of step) gives [`None`], never a wrapped duration.
//!
//! [`ticks`] and [`elapsed_since`] are called by any thread; [`recalibrate`] by any, in practice
//! the tick thread.

use std::time::{Duration, Instant};

use super::calibration::{Calibration, Reading};
use crate::sync::{
    Mutex, OnceCell,
    fixed::{AtomicU8, AtomicU64, Ordering},
};

/// Nobody has asked yet.
const UNKNOWN: u8 = 0;
/// A tick is one of the processor's time-stamp counter.
const TSC: u8 = 1;
/// A tick is a nanosecond of [`Instant`].
const STD: u8 = 2;

static SOURCE: AtomicU8 = AtomicU8::new(UNKNOWN);
/// The bits of the length of one tick in seconds.
static FACTOR: AtomicU64 = AtomicU64::new(0);
static STATE: OnceCell<State> = OnceCell::new();

struct State {
    origin: Instant,
    /// `None` where ticks are nanoseconds.
    calibration: Option<Mutex<Calibration>>,
}

/// The hot path's clock, in its own ticks since some origin; never below 2, so that a start can
/// say with the rest what it is not.
#[inline]
pub(crate) fn ticks() -> u64 {
    ticks_near().unwrap_or_else(portable_ticks)
}

/// The same without a call; `None` where it takes one.
#[inline]
pub(crate) fn ticks_near() -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if SOURCE.load(Ordering::Relaxed) == TSC {
        return Some(read_tsc());
    }
    None
}

/// Ticks since `start`; `None` if the clock reads less than it did then.
#[inline]
pub(crate) fn elapsed_since(start: u64) -> Option<u64> {
    let elapsed = ticks().wrapping_sub(start);
    (elapsed as i64 >= 0).then_some(elapsed)
}

/// The length of one tick.
#[inline]
pub(crate) fn seconds_per_tick() -> f64 {
    f64::from_bits(FACTOR.load(Ordering::Relaxed))
}

/// Makes sure that the clock is chosen and [`seconds_per_tick`] known; 100 µs the first time.
pub(crate) fn ready() {
    STATE.get_or_init(start);
}

/// Sharpens [`seconds_per_tick`]; called once a tick of the engine, it takes under a microsecond
/// and never waits.
pub(crate) fn recalibrate() {
    let state = STATE.get_or_init(start);
    if let Some(calibration) = &state.calibration
        && let Some(mut calibration) = calibration.try_lock()
        && let Some(now) = reading(state.origin)
    {
        FACTOR.store(calibration.refine(now).to_bits(), Ordering::Relaxed);
    }
}

#[cold]
#[inline(never)]
fn portable_ticks() -> u64 {
    let state = STATE.get_or_init(start);
    if SOURCE.load(Ordering::Relaxed) == TSC {
        return read_tsc();
    }
    u64::try_from(state.origin.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(2)
}

fn start() -> State {
    let origin = Instant::now();
    let calibration =
        (!instant_is_asked_for() && tsc_is_sound()).then(|| first_estimate(origin)).flatten();
    let (source, factor) = match &calibration {
        Some(calibration) => (TSC, calibration.factor()),
        None => (STD, 1e-9),
    };
    FACTOR.store(factor.to_bits(), Ordering::Relaxed);
    // After the factor: who sees the source through `STATE` sees the factor too, and nobody
    // records ticks before the first `ticks()` has returned.
    SOURCE.store(source, Ordering::Release);
    State { origin, calibration: calibration.map(Mutex::new) }
}

/// Read here and not with the other variables: the clock is the process', not an instance's.
fn instant_is_asked_for() -> bool {
    std::env::var_os("HIGHWATER_CLOCK").is_some_and(|name| name.eq_ignore_ascii_case("instant"))
}

fn first_estimate(origin: Instant) -> Option<Calibration> {
    let first = reading(origin)?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_micros(100) {
        std::hint::spin_loop();
    }
    Calibration::new(first, reading(origin)?)
}

/// Both clocks at one time: of five tries the one in which the counter moved least around the
/// reading of the other, so that an interrupt between them does no harm.
fn reading(origin: Instant) -> Option<Reading> {
    (0..5)
        .map(|_| {
            let before = read_tsc();
            let nanos = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let width = read_tsc().wrapping_sub(before);
            (width, Reading { ticks: before.wrapping_add(width / 2), nanos })
        })
        .min_by_key(|(width, _)| *width)
        .map(|(_, reading)| reading)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[allow(unsafe_code)]
fn read_tsc() -> u64 {
    // SAFETY: RDTSC is part of every x86-64; it touches no memory, and reads millions as soon as
    // there is a process. (A process that forbade it to
    // itself by `prctl(PR_SET_TSC)` would be stopped: the kernel's own vDSO clock would be too.)
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn read_tsc() -> u64 {
    0
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
fn tsc_is_sound() -> bool {
    let trusted =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .is_ok_and(|name| name.trim() == "tsc");
    trusted && tsc_is_invariant()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
// CPUID became a safe function after our MSRV.
#[allow(unsafe_code, unused_unsafe)]
fn tsc_is_invariant() -> bool {
    use core::arch::x86_64::__cpuid;
    // SAFETY: CPUID is part of every x86-64; leaf 8000_0000h says how far the extended ones go.
    unsafe { __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0 }
}

/// Other kernels do not say whether they trust it.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
fn tsc_is_sound() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ticks_convert_to_the_time_that_passed() {
        ready();
        recalibrate();
        let (began, start) = (Instant::now(), ticks());
        while began.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        // The ticks were read inside the span: never longer than it, but for the first
        // estimate's error.
        let seconds = elapsed_since(start).unwrap() as f64 * seconds_per_tick();
        let outer = began.elapsed().as_secs_f64();
        assert!(seconds <= outer * 1.001 && seconds >= 0.059, "{seconds} of {outer}");
    }

    #[test]
    fn a_clock_that_reads_less_gives_no_duration() {
        ready();
        assert_eq!(elapsed_since(ticks() + 1_000_000_000_000), None);
    }

    /// The same tests, and those of what is timed, by the clock that this machine may not have
    /// chosen by itself.
    #[test]
    fn by_instant_too_everything_holds() {
        if instant_is_asked_for() {
            ready();
            assert_eq!(SOURCE.load(Ordering::Relaxed), STD);
            recalibrate();
            assert_eq!(seconds_per_tick(), 1e-9);
            return;
        }
        let tests = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["clock::", "instrument::histogram", "instrument::query", "--skip", "churn"])
            .env("HIGHWATER_CLOCK", "instant")
            .env("PROPTEST_CASES", "16")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tests.stdout);
        assert!(tests.status.success(), "{said}");
        assert!(
            said.contains("clock::ticks::tests::by_instant_too_everything_holds ... ok"),
            "{said}"
        );
    }

    #[test]
    fn the_factor_is_known_once_the_clock_is_ready() {
        ready();
        let hertz = 1.0 / seconds_per_tick();
        match SOURCE.load(Ordering::Relaxed) {
            TSC => assert!((1e8..1e10).contains(&hertz), "{hertz}"),
            _ => assert_eq!(seconds_per_tick(), 1e-9),
        }
    }
}
