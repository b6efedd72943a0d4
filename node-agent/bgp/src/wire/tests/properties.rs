//! What holds for every UPDATE.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::route::{Attributes, Family, Nlri, Update};
use crate::wire::samples::{agreement, update};

/// What a sequence of updates says of one family: all withdrawals, then all announcements.
type Said = (Vec<Nlri>, Option<(Arc<Attributes>, Vec<Nlri>)>);

fn said(updates: &[Update], family: Family) -> Said {
    let mut said: Said = (Vec::new(), None);
    for update in updates.iter().filter(|update| update.family == family) {
        said.0.extend(&update.withdrawn);
        if let Some((attributes, nlri)) = &update.announced {
            let all = said
                .1
                .get_or_insert_with(|| (attributes.clone(), Vec::new()));
            assert_eq!(&all.0, attributes);
            all.1.extend(nlri);
        }
    }
    said
}

fn decode_all(stream: &[u8], receive: &Receive) -> Vec<Update> {
    messages(stream)
        .into_iter()
        .flat_map(|(kind, body)| {
            assert_eq!(kind, Kind::Update);
            let decoded = decode(&body, receive).unwrap();
            assert_eq!((decoded.defect, decoded.end_of_rib), (None, None));
            decoded.updates
        })
        .collect()
}

fn agreed_update() -> impl Strategy<Value = (Transmit, Receive, Update)> {
    agreement()
        .prop_flat_map(|(transmit, receive)| (Just(transmit), Just(receive), update(transmit)))
}

/// No list has more elements than there were octets for it.
fn within_bounds(decoded: &Decoded, octets: usize) -> bool {
    decoded.updates.len() <= 3
        && decoded.updates.iter().all(|update| {
            let announced = update.announced.as_ref();
            let lists = announced.map_or(0, |(attributes, _)| {
                4 * attributes.communities.len()
                    + 12 * attributes.large_communities.len()
                    + 4 * attributes.cluster_list.len()
                    + 8 * attributes.extended_communities.len()
                    + attributes
                        .opaque
                        .iter()
                        .map(|opaque| opaque.value.len())
                        .sum::<usize>()
            });
            update.withdrawn.capacity() + announced.map_or(0, |(_, nlri)| nlri.capacity())
                <= 4 * octets + 8
                && lists <= octets
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn update_and_back((transmit, receive, update) in agreed_update()) {
        let mut bytes = Vec::new();
        prop_assert_eq!(encode(std::slice::from_ref(&update), &transmit, &mut bytes), 0);
        let back = decode_all(&bytes, &receive);
        prop_assert_eq!(said(&back, update.family), (update.withdrawn, update.announced));
        prop_assert!(messages(&bytes).iter().all(|(_, body)| body.len() + frame::HEADER <= transmit.max));
    }

    #[test]
    fn mutated_bytes_do_no_harm(
        (transmit, receive, update) in agreed_update(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        encode(&[update], &transmit, &mut bytes);
        for (_, mut body) in messages(&bytes) {
            // Attributes come first: most changes should be there.
            for (at, value) in &changes {
                let end = body.len().min(200);
                body[at.index(end)] = *value;
            }
            if let Ok(decoded) = decode(&body, &receive) {
                prop_assert!(within_bounds(&decoded, body.len()));
            }
            body.truncate(cut.index(body.len()));
            if let Ok(decoded) = decode(&body, &receive) {
                prop_assert!(within_bounds(&decoded, body.len()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        (_, receive) in agreement(),
        body in proptest::collection::vec(prop_oneof![any::<u8>(), 0..20_u8], 0..400),
    ) {
        if let Ok(decoded) = decode(&body, &receive) {
            prop_assert!(within_bounds(&decoded, body.len()));
        }
        let _ = Open::decode(&body);
        let _ = RouteRefresh::decode(&body);
        let _ = Notification::decode(&body).to_string();
    }
}
