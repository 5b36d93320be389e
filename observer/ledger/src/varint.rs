//! Whole numbers in as few bytes as they need (LEB128): seven bits a byte, the lowest first. What a
//! live stream remembers are small numbers, and thousands of streams remember hundreds each.

/// Longest number: 64 bits, seven a byte.
pub(super) const LONGEST: usize = 10;

/// Hands out the bytes of a number.
#[inline]
pub(super) fn put(mut number: u64, mut out: impl FnMut(u8)) {
    let low = |number: u64| number.to_le_bytes()[0];
    while number > 0x7f {
        out(low(number) | 0x80);
        number >>= 7;
    }
    out(low(number));
}

/// Takes the next number; `None` where the bytes end.
#[inline]
pub(super) fn take(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for place in 0..LONGEST {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

/// From one number to another, forwards or back, so that a short way either way is a small number.
pub(super) fn way(from: u64, to: u64) -> u64 {
    let step = to.wrapping_sub(from).cast_signed();
    ((step << 1) ^ (step >> 63)).cast_unsigned()
}

/// Where a way leads.
pub(super) fn go(from: u64, way: u64) -> u64 {
    from.wrapping_add((way >> 1) ^ 0u64.wrapping_sub(way & 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(numbers: &[u64]) -> (usize, Vec<u64>) {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|&number| put(number, |byte| bytes.push(byte)));
        let mut left = bytes.iter().copied();
        let back = std::iter::from_fn(|| take(&mut left)).collect();
        (bytes.len(), back)
    }

    #[test]
    fn sizes() {
        for (number, size) in [(0, 1), (127, 1), (128, 2), (20_000_000, 4), (u64::MAX, LONGEST)] {
            assert_eq!(through(&[number]), (size, vec![number]));
        }
    }

    #[test]
    fn short_ways_are_small() {
        assert_eq!([way(5, 5), way(5, 6), way(5, 4), way(0, u64::MAX), way(u64::MAX, 0)], [0, 2, 1, 1, 2]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(numbers in proptest::collection::vec(any::<u64>(), 0..20), from: u64, to: u64) {
            prop_assert_eq!(through(&numbers).1, numbers);
            prop_assert_eq!(go(from, way(from, to)), to);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut left = bytes.iter().copied();
            while take(&mut left).is_some() {}
        }
    }
}
