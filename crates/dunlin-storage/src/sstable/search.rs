//! Interpolation search (Perl, Itai, Avni 1978): tokens are uniform, so a straight line guesses the place
//! and a short walk corrects the guess. One or two cache misses instead of one per halving.

/// Number of the first of `count` sorted items that is not `less`, searched outward from `guess` in doubling
/// steps: right for any guess, and logarithmic in how far it is off.
#[inline]
pub(crate) fn lower_bound(guess: usize, count: usize, less: impl Fn(usize) -> bool) -> usize {
    // Invariant: items before `low` are less, those from `high` on are not.
    let (mut low, mut high) = (0, count);
    let mut step = 1;
    if guess < count && less(guess) {
        low = guess + 1;
        while low < count {
            let probe = (low + step - 1).min(count - 1);
            if !less(probe) {
                high = probe;
                break;
            }
            low = probe + 1;
            step *= 2;
        }
    } else {
        high = guess.min(count);
        while high > 0 {
            let probe = high.saturating_sub(step);
            if less(probe) {
                low = probe + 1;
                break;
            }
            high = probe;
            step *= 2;
        }
    }
    while low < high {
        let middle = low.midpoint(high);
        if less(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_guess_ends_at_the_bound() {
        for count in 0..40 {
            for bound in 0..=count {
                for guess in (0..count + 3).chain([usize::MAX]) {
                    assert_eq!(lower_bound(guess, count, |i| i < bound), bound, "{count} {bound} {guess}");
                }
            }
        }
    }
}
