//! How sure a figure is: blocks of time are drawn with replacement, and the figure is made anew of
//! each draw. Blocks, since what one second does the next one often does too (Künsch 1989).

/// More do not change what is printed.
const DRAWS: usize = 1000;

/// Fewer blocks say nothing about how far a figure swings.
pub(super) const LEAST_BLOCKS: usize = 5;

/// Blocks are made at least this long by having no more of them.
pub(super) const MOST_BLOCKS: usize = 60;

/// The bounds of the middle 95% of `figure(before's blocks, after's blocks)` over many draws, each
/// a list of blocks' numbers. `None` with too few blocks, or where the figure cannot be made.
pub(super) fn interval(
    before: usize,
    after: usize,
    mut figure: impl FnMut(&[usize], &[usize]) -> f64,
) -> Option<(f64, f64)> {
    if before < LEAST_BLOCKS || after < LEAST_BLOCKS {
        return None;
    }
    // The same figures give the same interval.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |of: usize, into: &mut Vec<usize>| {
        into.clear();
        into.extend((0..of).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // From the high bits; the bias of so few blocks is nothing.
            ((u128::from(state) * of as u128) >> 64) as usize
        }));
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let mut figures: Vec<_> = (0..DRAWS)
        .map(|_| {
            draw(before, &mut one);
            draw(after, &mut two);
            figure(&one, &two)
        })
        .filter(|figure| figure.is_finite())
        .collect();
    // A figure that can hardly be made is not known.
    if figures.len() < DRAWS * 9 / 10 {
        return None;
    }
    figures.sort_by(f64::total_cmp);
    let at = |share: f64| figures[((figures.len() - 1) as f64 * share).round() as usize];
    Some((at(0.025), at(0.975)))
}

/// Slices in contiguous blocks of about the same length.
pub(super) fn blocks(slices: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let count = slices.min(MOST_BLOCKS);
    (0..count).map(move |at| at * slices / count..(at + 1) * slices / count)
}
