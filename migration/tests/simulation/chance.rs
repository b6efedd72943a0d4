//! Chance from a seed: the same seed, the same story.

/// Splitmix64.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of this range, its end left out; its beginning if it is empty.
    pub fn within(&mut self, range: (u64, u64)) -> u64 {
        range.0 + self.next() % range.1.saturating_sub(range.0).max(1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.within((0, end as u64)) as usize
    }

    pub fn percent(&mut self, of_100: u64) -> bool {
        self.within((0, 100)) < of_100
    }
}
