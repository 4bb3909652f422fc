use std::{
    hint::black_box,
    time::{Duration, Instant},
};
fn time(name: &str, mut f: impl FnMut(u64)) {
    let n = 500_000;
    let mut v: Vec<f64> = (0..21)
        .map(|_| {
            let t = Instant::now();
            f(n);
            t.elapsed().as_nanos() as f64 / n as f64
        })
        .collect();
    v.sort_by(f64::total_cmp);
    println!("{name:34} min {:6.2} med {:6.2}", v[0], v[10]);
}
fn main() {
    let hw = highwater::Highwater::builder("bench").without_presets().start().unwrap();
    let q = hw.query("orders").system("sqlite").build();
    let c = hw.counter("c").build();
    let h = hw.histogram("h").build();
    let dead = {
        let hw = highwater::Highwater::builder("dead").start().unwrap();
        let q = hw.query("x").build();
        hw.shutdown(Duration::from_secs(1)).ok();
        q
    };
    let vals: Vec<f64> = {
        let mut x = 88172645463325252u64;
        (0..4096)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                1e-3 * 2f64.powf((x >> 40) as f64 / (1 << 24) as f64 * 4.0)
            })
            .collect()
    };
    let many: Vec<_> =
        (0..1000).map(|i| hw.histogram("many").label("i", &i.to_string()).build()).collect();
    let work = |n: u64| {
        let mut h = n;
        for _ in 0..900 {
            h = h.wrapping_mul(0x9E3779B97F4A7C15).rotate_left(5) ^ (h >> 3);
        }
        h
    };
    for _ in 0..2 {
        time("2rdtsc", |n| {
            for _ in 0..n {
                unsafe {
                    let a = std::arch::x86_64::_rdtsc();
                    black_box(());
                    let b = std::arch::x86_64::_rdtsc();
                    black_box(b - a);
                }
            }
        });
        time("query.time", |n| {
            for _ in 0..n {
                q.time(|| black_box(()))
            }
        });
        let (c1, c2) = (hw.counter("c1").build(), hw.counter("c2").build());
        use std::arch::x86_64::_rdtsc as r;
        time("2rdtsc+2c", |n| {
            for _ in 0..n {
                unsafe {
                    c1.increment(1);
                    let a = r();
                    black_box(());
                    let b = r();
                    black_box(b - a);
                    c2.increment(1)
                }
            }
        });
        time("2rdtsc+h", |n| {
            for _ in 0..n {
                unsafe {
                    let a = r();
                    black_box(());
                    let b = r();
                    h.record(1e-9 * ((b - a) as f64));
                }
            }
        });
        time("2rdtsc+h+2c", |n| {
            for _ in 0..n {
                unsafe {
                    c1.increment(1);
                    let a = r();
                    black_box(());
                    let b = r();
                    h.record(1e-9 * ((b - a) as f64));
                    c2.increment(1);
                }
            }
        });
        time("h const", |n| {
            for _ in 0..n {
                h.record(1e-8);
            }
        });
        time("query.try_time", |n| {
            for _ in 0..n {
                q.try_time(|| black_box(Ok::<(), ()>(()))).ok();
            }
        });
        time("query.start/stop", |n| {
            for _ in 0..n {
                let g = q.start();
                black_box(());
                g.stop()
            }
        });
        time("dead query", |n| {
            for _ in 0..n {
                dead.time(|| black_box(()))
            }
        });
        time("histogram record", |n| {
            for i in 0..n {
                h.record(vals[i as usize & 4095])
            }
        });
        time("counter", |n| {
            for _ in 0..n {
                c.increment(1)
            }
        });
        let mut x = 1u64;
        time("pick", |n| {
            for i in 0..n {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                black_box(&many[(x >> 20) as usize % 1000]);
                black_box(vals[i as usize & 4095]);
            }
        });
        time("1000 random", |n| {
            for i in 0..n {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                many[(x >> 20) as usize % 1000].record(vals[i as usize & 4095])
            }
        });
        time("work", |n| {
            for i in 0..n / 10 {
                black_box(work(black_box(i)));
            }
        });
        time("work+2rdtsc", |n| {
            for i in 0..n / 10 {
                unsafe {
                    let a = std::arch::x86_64::_rdtsc();
                    black_box(work(black_box(i)));
                    black_box(std::arch::x86_64::_rdtsc() - a);
                }
            }
        });
        time("work+query", |n| {
            for i in 0..n / 10 {
                q.time(|| black_box(work(black_box(i))));
            }
        });
    }
}
