//! The bytes of a probe and of its answer.
//!
//! Both begin with a word that says which of the two it is, then the number of the sender's run and
//! the number of the probe. A probe is filled up with zeros to the size that is tested; an answer is
//! not, so that nobody can make a node send more than it is sent.

const PROBE: &[u8; 8] = b"weftask1";
const ANSWER: &[u8; 8] = b"weftans1";

/// Length of an answer, and the least of a probe, in bytes.
pub const HEADER: usize = 24;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// To be answered with [`answer`].
    Probe,
    /// The answer to a probe.
    Answer {
        /// The run of the agent that sent the probe.
        run: u64,
        /// The number of the probe.
        sequence: u64,
    },
}

/// A probe of `length` bytes, or of [`HEADER`] bytes if that is more.
pub fn probe(run: u64, sequence: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length.max(HEADER));
    bytes.extend_from_slice(PROBE);
    bytes.extend_from_slice(&run.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.resize(length.max(HEADER), 0);
    bytes
}

/// The answer to the probe in `bytes`, if it is one.
pub fn answer(bytes: &[u8]) -> Option<[u8; HEADER]> {
    let mut answer: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
    if parse(bytes)? != Packet::Probe {
        return None;
    }
    answer[..8].copy_from_slice(ANSWER);
    Some(answer)
}

/// What `bytes` are.
pub fn parse(bytes: &[u8]) -> Option<Packet> {
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (run, sequence) = (number(8)?, number(16)?);
    match bytes.get(..8)? {
        word if word == PROBE => Some(Packet::Probe),
        word if word == ANSWER => Some(Packet::Answer { run, sequence }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_carries_the_numbers_of_its_probe(run: u64, sequence: u64, length in 0usize..2000) {
            let probe = probe(run, sequence, length);
            prop_assert_eq!(probe.len(), length.max(HEADER));
            let answer = answer(&probe).unwrap();
            prop_assert_eq!(parse(&answer), Some(Packet::Answer { run, sequence }));
        }

        #[test]
        fn anything_else_is_neither(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(parse(&bytes), None);
            prop_assert_eq!(answer(&bytes), None);
        }
    }

    #[test]
    fn an_answer_is_never_answered() {
        let answer_bytes = answer(&probe(1, 2, 100)).unwrap();
        assert_eq!(answer(&answer_bytes), None);
    }
}
