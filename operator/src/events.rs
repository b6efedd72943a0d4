//! Events about the NetworkConfig.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube_runtime::events::{Event, EventType, Recorder, Reporter};

use crate::plan::Announcement;

/// Longest note that the API takes, in bytes.
const NOTE_BYTES: usize = 1024;

/// Publishes events; those of the same reason become a series.
#[derive(Clone)]
pub struct Announcer {
    recorder: Recorder,
}

impl Announcer {
    /// `instance` is the name of the pod.
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "weft-operator".into(),
            instance: Some(instance.to_string()),
        };
        Announcer {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Publishes one.
    ///
    /// # Errors
    /// The API server refuses it or doesn't answer.
    pub async fn announce(
        &self,
        announcement: &Announcement,
        about: &ObjectReference,
    ) -> Result<(), kube::Error> {
        let event = Event {
            type_: match announcement.warning {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: announcement.reason.clone(),
            note: Some(shorten(&announcement.note)),
            action: announcement.action.clone(),
            secondary: None,
        };
        self.recorder.publish(&event, about).await
    }
}

fn shorten(note: &str) -> String {
    if note.len() <= NOTE_BYTES {
        return note.to_string();
    }
    let mut end = NOTE_BYTES - 3;
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let long = "ä".repeat(NOTE_BYTES);
        let cut = shorten(&long);
        assert!(cut.len() <= NOTE_BYTES && cut.ends_with("ä..."));
    }
}
