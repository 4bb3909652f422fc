//! Runs in pairs, and what they say.

/// One side loaded for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Requests or transactions a second.
    pub(crate) throughput: f64,
    /// Seconds.
    pub(crate) p99: f64,
    /// The process' processor seconds for each request.
    pub(crate) cpu: f64,
}

/// Without and with, by pair.
pub(crate) struct Pairs(Vec<[Run; 2]>);

type Figure = fn(&Run) -> f64;

impl Pairs {
    /// `run` loads one side after the other: that without it (0) or with it (1) first, as it is told.
    /// Prints what came of it.
    pub(crate) fn run(
        what: &str,
        count: usize,
        mut run: impl FnMut(usize) -> [Run; 2],
    ) -> Option<Self> {
        let mut pairs = Self(Vec::with_capacity(count));
        for pair in 0..count {
            pairs.0.push(run(pair % 2));
            eprint!("\r{what}: pair {} of {count}", pair + 1);
        }
        eprintln!();
        pairs.print(what);
        (count > 0).then_some(pairs)
    }

    fn print(&self, what: &str) {
        let head = format!("{what}, {} pairs", self.0.len());
        println!("\n{head:28} {:>12} {:>12} {:>8}  95% interval", "without", "with", "ratio");
        let rows: [(&str, Figure, &str, f64); 3] = [
            ("throughput", |run| run.throughput, "/s", 1.0),
            ("99th percentile", |run| run.p99, "us", 1e6),
            ("processor time for each", |run| run.cpu, "us", 1e6),
        ];
        for (what, figure, unit, factor) in rows {
            let [without, with] =
                [0, 1].map(|at| median(self.0.iter().map(|pair| figure(&pair[at])).collect()).0);
            let (ratio, low, high) = self.ratio(figure);
            println!(
                "{what:28} {:>9.1} {unit:2} {:>9.1} {unit:2} {ratio:>8.4}  {low:.4} to {high:.4}",
                without * factor,
                with * factor
            );
        }
    }

    fn ratio(&self, figure: Figure) -> (f64, f64, f64) {
        median(self.0.iter().map(|[without, with]| figure(with) / figure(without)).collect())
    }

    /// Says whether a median ratio is what is claimed of it.
    pub(crate) fn claim(
        &self,
        text: &str,
        figure: Figure,
        bound: f64,
        keeps: fn(&f64, &f64) -> bool,
    ) -> bool {
        let (ratio, low, high) = self.ratio(figure);
        let held = keeps(&ratio, &bound);
        let verdict = if held { "holds" } else { "DOES NOT HOLD" };
        println!("{verdict:>14}: {text} {ratio:.4} ({low:.4} to {high:.4}), bound {bound}");
        if self.0.len() < 15 {
            println!("{:>14}  of {} pairs, which say nothing yet", "", self.0.len());
        }
        held
    }
}

/// The median, and the order statistics between which it lies with at least 95% confidence.
fn median(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    let n = of.len();
    // How many of n fair coins show heads: at most `skip` with less than 2.5%.
    let (mut skip, mut below, mut chance) = (0, 0.0, 0.5_f64.powi(n as i32));
    while below + chance <= 0.025 {
        below += chance;
        chance *= (n - skip) as f64 / (skip + 1) as f64;
        skip += 1;
    }
    let low = skip.saturating_sub(1);
    (of[n / 2], of[low], of[n - 1 - low])
}
