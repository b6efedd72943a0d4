//! AS_PATH and AS4_PATH (RFC 4271, section 4.3; RFC 6793).

use super::bytes::Reader;
use super::open::AS_TRANS;
use crate::route::Segment;

/// AS numbers of one segment on the wire.
const MAX_SEGMENT: usize = 255;

/// Octets of an AS number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
}

impl Width {
    /// What stands for `asn` in this width.
    pub(super) fn shown(self, asn: u32) -> u32 {
        match self {
            Self::Two => u16::try_from(asn).unwrap_or(AS_TRANS).into(),
            Self::Four => asn,
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>, asn: u32) {
        match self {
            Self::Two => out.extend((self.shown(asn) as u16).to_be_bytes()),
            Self::Four => out.extend(asn.to_be_bytes()),
        }
    }
}

/// Reads an AS_PATH; an error says how it is malformed (RFC 7606, section 7.2; RFC 7607 for AS 0).
pub(super) fn read(bytes: &[u8], width: Width) -> Result<Vec<Segment>, &'static str> {
    segments(bytes, width)?
        .into_iter()
        .map(|segment| segment.ok_or("confederation segment from outside a confederation"))
        .collect()
}

/// Reads an AS4_PATH: as an AS_PATH, but confederation segments are passed over (RFC 6793, section 6).
pub(super) fn read_as4(bytes: &[u8]) -> Result<Vec<Segment>, &'static str> {
    Ok(segments(bytes, Width::Four)?
        .into_iter()
        .flatten()
        .collect())
}

/// `None` for each segment of a confederation.
fn segments(bytes: &[u8], width: Width) -> Result<Vec<Option<Segment>>, &'static str> {
    let mut reader = Reader::new(bytes);
    let mut segments = Vec::new();
    while let Some(kind) = reader.u8() {
        let count = reader.u8().ok_or("segment without a length")?;
        if count == 0 {
            return Err("empty segment");
        }
        let ases = (0..count)
            .map(|_| match width {
                Width::Two => reader.u16().map(u32::from),
                Width::Four => reader.u32(),
            })
            .collect::<Option<Vec<_>>>()
            .ok_or("segment longer than the attribute")?;
        if ases.contains(&0) {
            return Err("AS 0");
        }
        segments.push(match kind {
            1 => Some(Segment::Set(ases)),
            2 => Some(Segment::Sequence(ases)),
            3 | 4 => None,
            _ => return Err("unknown segment type"),
        });
    }
    Ok(segments)
}

/// Appends the path. What doesn't fit in two octets is written as AS_TRANS; segments of more than 255 ASes become
/// several.
pub(super) fn write(out: &mut Vec<u8>, path: &[Segment], width: Width) {
    for segment in path {
        let (kind, ases) = match segment {
            Segment::Set(ases) => (1, ases),
            Segment::Sequence(ases) => (2, ases),
        };
        for ases in ases.chunks(MAX_SEGMENT) {
            out.extend([kind, ases.len() as u8]);
            for &asn in ases {
                width.write(out, asn);
            }
        }
    }
}

/// Does the path lose something when it is written in two octets?
pub(super) fn needs_four(path: &[Segment]) -> bool {
    path.iter()
        .any(|(Segment::Set(ases) | Segment::Sequence(ases))| ases.iter().any(|asn| *asn > 0xffff))
}

/// The whole path from the two that came (RFC 6793, section 4.2.3): as much of the front of `path` as `as4` is
/// shorter, then `as4`. An `as4` that is the longer is wrong and is ignored.
pub(super) fn merge(path: Vec<Segment>, as4: Vec<Segment>) -> Vec<Segment> {
    let Some(mut missing) = length(&path).checked_sub(length(&as4)) else {
        return path;
    };
    let mut merged = Vec::new();
    for segment in path {
        match segment {
            _ if missing == 0 => break,
            Segment::Set(ases) => {
                missing -= 1;
                merged.push(Segment::Set(ases));
            }
            Segment::Sequence(mut ases) => {
                ases.truncate(missing);
                missing -= ases.len();
                merged.push(Segment::Sequence(ases));
            }
        }
    }
    let mut as4 = as4.into_iter().peekable();
    if let Some(Segment::Sequence(front)) = merged.last_mut()
        && let Some(Segment::Sequence(rest)) =
            as4.next_if(|segment| matches!(segment, Segment::Sequence(_)))
    {
        front.extend(rest);
    }
    merged.extend(as4);
    merged
}

/// As many as a path counts (RFC 4271, section 9.1.2.2).
fn length(path: &[Segment]) -> usize {
    path.iter()
        .map(|segment| match segment {
            Segment::Set(_) => 1,
            Segment::Sequence(ases) => ases.len(),
        })
        .sum()
}
