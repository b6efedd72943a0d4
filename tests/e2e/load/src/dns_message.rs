//! Just enough of DNS (RFC 1035) to ask for an address and to check the answer.

use crate::plan::Record;

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
/// Recursion desired.
const FLAGS: u16 = 0x0100;

/// What a datagram from the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR. There may be no record of the type asked for.
    Good,
    /// Another response code.
    Code(u8),
    /// An answer to another query.
    Other,
    /// Not an answer to any query.
    Damaged,
}

/// Says what is wrong with a name.
pub fn check_name(name: &str) -> Result<(), String> {
    let name = name.trim_end_matches('.');
    if name.is_empty() || name.len() > 253 {
        return Err(format!("query {name:?} must have from 1 to 253 characters"));
    }
    match name
        .split('.')
        .find(|label| label.is_empty() || label.len() > 63)
    {
        Some(label) => Err(format!(
            "query {name:?}: label {label:?} must have from 1 to 63 characters"
        )),
        None => Ok(()),
    }
}

/// A query for `name`, which [`check_name`] has accepted.
pub fn query(id: u16, name: &str, record: Record) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    for number in [id, FLAGS, 1, 0, 0, 0] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    let kind: u16 = match record {
        Record::A => 1,
        Record::Aaaa => 28,
    };
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message
}

/// Looks at what came back for `query`.
pub fn answer(query: &[u8], message: &[u8]) -> Answer {
    let question = &query[HEADER..];
    let Some(asked) = message.get(HEADER..HEADER + question.len()) else {
        return Answer::Damaged;
    };
    let is_response = message[2] & 0x80 != 0;
    if !is_response {
        return Answer::Damaged;
    }
    if message[..2] != query[..2] {
        return Answer::Other;
    }
    if !asked.eq_ignore_ascii_case(question) {
        return Answer::Damaged;
    }
    match message[3] & 0x0f {
        0 => Answer::Good,
        code => Answer::Code(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(query: &[u8], code: u8) -> Vec<u8> {
        let mut response = query.to_vec();
        response[2] |= 0x80;
        response[3] |= code;
        response
    }

    #[test]
    fn a_query_is_as_the_rfc_has_it() {
        let want = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
            \x03www\x07example\x00\x00\x1c\x00\x01";
        assert_eq!(query(0x1234, "www.example.", Record::Aaaa), want);
    }

    #[test]
    fn answers_are_told_apart() {
        let query = query(7, "a.b", Record::A);
        assert_eq!(answer(&query, &response(&query, 0)), Answer::Good);
        assert_eq!(answer(&query, &response(&query, 3)), Answer::Code(3));
        assert_eq!(answer(&query, &query), Answer::Damaged);
        assert_eq!(answer(&query, &query[..HEADER + 3]), Answer::Damaged);
        let mut other = response(&query, 0);
        other[1] = 8;
        assert_eq!(answer(&query, &other), Answer::Other);
        let mut damaged = response(&query, 0);
        damaged[13] ^= 1;
        assert_eq!(answer(&query, &damaged), Answer::Damaged);
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_refused() {
        let long = "a".repeat(64);
        for name in ["", ".", "a..b", long.as_str()] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert_eq!(check_name("kubernetes.default.svc.cluster.local."), Ok(()));
    }
}
