//! What is asked of an AS path, and how it grows.

use crate::route::{Attributes, Segment};

/// What fits into a segment on the wire (RFC 4271, section 4.3: the count is one byte).
const SEGMENT_MAX: usize = 255;

impl Attributes {
    /// The AS that the route came from last, unless the path is empty or starts with a set
    /// (RFC 4271, section 9.1.2.2 c).
    pub fn neighbour(&self) -> Option<u32> {
        match self.as_path.first() {
            Some(Segment::Sequence(ases)) => ases.first().copied(),
            _ => None,
        }
    }

    /// The number of ASes in the path, a set counted as one (RFC 4271, section 9.1.2.2 a).
    pub fn path_length(&self) -> usize {
        let length = |segment: &Segment| match segment {
            Segment::Sequence(ases) => ases.len(),
            Segment::Set(_) => 1,
        };
        self.as_path.iter().map(length).sum()
    }

    /// How many times an AS is in the path.
    pub fn path_count(&self, asn: u32) -> usize {
        let all = self.as_path.iter().flat_map(|segment| {
            let (Segment::Sequence(ases) | Segment::Set(ases)) = segment;
            ases
        });
        all.filter(|one| **one == asn).count()
    }

    /// Puts an AS at the head of the path (RFC 4271, section 5.1.2 b).
    pub fn prepend(&mut self, asn: u32) {
        match self.as_path.first_mut() {
            Some(Segment::Sequence(ases)) if ases.len() < SEGMENT_MAX => ases.insert(0, asn),
            _ => self.as_path.insert(0, Segment::Sequence(vec![asn])),
        }
    }
}
