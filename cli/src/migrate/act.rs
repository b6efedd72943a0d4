//! What an admin says to a migration. It is written into annotations, so that a pipeline which applies the spec does
//! not undo it, and the spec stays the admin's alone.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{Approval, NetworkConfig, annotation};
use weft_migration::Phase;

use crate::client::Reader;
use crate::error::Error;
use crate::text::paragraph;

/// How often it is tried anew when the object changes between reading and writing: its status does, all the time.
const TRIES: u32 = 5;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go no further.
    Pause,
    /// Go on; what went back is tried once more.
    Resume,
    /// Go back.
    Rollback,
    /// Nodes may send in the new mode.
    Approve {
        /// The generation that was looked at; `None`: whatever the present one is.
        generation: Option<i64>,
    },
}

/// What was done, or why nothing was.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deed {
    /// The generation of the NetworkConfig that it is about.
    pub generation: i64,
    /// It is as was asked for.
    pub done: bool,
    /// Annotations of the NetworkConfig that were set; null: removed.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// What that means.
    pub message: String,
    /// How the same is done in a repository.
    pub in_a_repository: String,
}

/// Does it.
///
/// # Errors
/// The NetworkConfig can't be read or written, or is not of the generation that was meant.
pub async fn act(reader: &Reader, action: Action) -> Result<Deed, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let config = reader.config().await?;
        let deed = deed(&config, action)?;
        if deed.annotations.is_empty() {
            return Ok(deed);
        }
        match reader.annotate(&config, &deed.annotations).await {
            Err(Error::Conflict(_)) if tries < TRIES => {}
            outcome => return outcome.map(|()| deed),
        }
    }
}

/// The deed as text of lines of at most `width`.
pub fn render(deed: &Deed, width: u16) -> String {
    let mut text = paragraph(&deed.message, 2, width);
    for (name, value) in &deed.annotations {
        text.push_str(&match value {
            Some(value) => format!("  set      {name}={value}\n"),
            None => format!("  removed  {name}\n"),
        });
    }
    text.push_str(&paragraph(
        &format!("In a repository: {}", deed.in_a_repository),
        2,
        width,
    ));
    text
}

/// What is to be written, as it follows from what is there.
pub(super) fn deed(config: &NetworkConfig, action: Action) -> Result<Deed, Error> {
    let here = Here::of(config);
    Ok(match action {
        Action::Pause => here.pause(),
        Action::Resume => here.resume(),
        Action::Rollback => here.rollback(),
        Action::Approve { generation } => {
            if let Some(meant) = generation
                && meant != here.generation
            {
                let present = here.generation;
                return Err(Error::OtherGeneration { meant, present });
            }
            here.approve()
        }
    })
}

struct Here<'a> {
    config: &'a NetworkConfig,
    generation: i64,
}

impl<'a> Here<'a> {
    fn of(config: &'a NetworkConfig) -> Self {
        Self {
            config,
            generation: config.metadata.generation.unwrap_or_default(),
        }
    }

    fn has(&self, annotation: &str) -> Option<&str> {
        self.config
            .annotations()
            .get(annotation)
            .map(String::as_str)
    }

    fn migration(&self) -> Option<&weft_migration::Migration<weft_crds::Mode>> {
        self.config.status.as_ref()?.migration.as_ref()
    }

    /// The nodes are not, or not all, in the mode of the spec.
    fn is_to_come(&self) -> bool {
        let status = self.config.status.as_ref();
        let mode = status.and_then(|status| status.mode);
        mode.is_some_and(|mode| mode != self.config.spec.mode)
    }

    fn deed(
        &self,
        done: bool,
        annotations: &[(&'static str, Option<String>)],
        message: impl Into<String>,
        in_a_repository: impl Into<String>,
    ) -> Deed {
        let is_new =
            |(name, value): &&(&'static str, Option<String>)| self.has(name) != value.as_deref();
        Deed {
            generation: self.generation,
            done,
            annotations: annotations.iter().filter(is_new).cloned().collect(),
            message: message.into(),
            in_a_repository: in_a_repository.into(),
        }
    }

    fn pause(&self) -> Deed {
        let message = match self.migration() {
            Some(way) if way.back => {
                "Paused; but the migration goes back, and the way back does not stop for it."
                    .to_owned()
            }
            Some(way) => format!(
                "Paused: the migration from {} to {} finishes what is under way in phase {:?}, and goes no further. Every pair of nodes works meanwhile.",
                way.from.as_str(),
                way.to.as_str(),
                way.phase
            ),
            None if self.is_to_come() => "Paused: the migration does not begin.".into(),
            None => "Paused: no migration is under way; the next one does not begin.".into(),
        };
        self.deed(
            true,
            &[(annotation::PAUSED, Some("true".into()))],
            message,
            "set spec.migration.paused: true.",
        )
    }

    fn resume(&self) -> Deed {
        let status = self.config.status.as_ref();
        let failed = status.filter(|status| status.failed_migration.is_some());
        let mut annotations = vec![(annotation::PAUSED, None), (annotation::ROLLBACK, None)];
        let at_rest = failed.filter(|status| status.migration.is_none());
        annotations
            .extend(at_rest.map(|status| (annotation::RETRY, Some(status.step.to_string()))));
        let still = self.config.spec.migration.paused;
        let holds =
            self.has(annotation::PAUSED).is_some() || self.has(annotation::ROLLBACK).is_some();
        let message = if still {
            "spec.migration.paused is true and still holds it: set it to false where the spec comes from."
        } else if failed.is_some() && self.migration().is_some() {
            "The migration goes back; that does not stop. Once it is over, run this again to try it once more."
        } else if failed.is_some() {
            "The migration that went back is tried once more."
        } else if holds && (self.migration().is_some() || self.is_to_come()) {
            "Resumed: the migration goes on."
        } else if holds {
            "Resumed: no migration is under way; the next one begins by itself."
        } else {
            "Nothing holds a migration: there was nothing to resume."
        };
        self.deed(
            !still,
            &annotations,
            message,
            "set spec.migration.paused: false. What went back is tried once more after any change of the spec, such as of spec.migration.bakeSeconds.",
        )
    }

    fn rollback(&self) -> Deed {
        let from = self.migration().map(|way| way.from.as_str());
        let repository = match from {
            Some(from) => format!("set spec.mode: {from}."),
            None => "set spec.mode to the mode that the cluster is to be in.".into(),
        };
        let annotate = [(annotation::ROLLBACK, Some(self.generation.to_string()))];
        match self.migration() {
            Some(way) if way.back => self.deed(
                true,
                &[],
                format!("It goes back to {} already.", way.to.as_str()),
                repository,
            ),
            Some(way) if way.phase >= Phase::Retire => self.deed(
                false,
                &[],
                format!(
                    "Too late for the way back: all nodes send in {}, and {} is being taken down (phase {:?}). Let it finish; then set spec.mode: {}, which is another migration and as lossless.",
                    way.to.as_str(),
                    way.from.as_str(),
                    way.phase,
                    way.from.as_str()
                ),
                repository,
            ),
            Some(way) => self.deed(
                true,
                &annotate,
                format!(
                    "The migration goes back from {} to {}, from phase {:?}. Generation {} is not tried again until kubectl weft migrate resume, or a change of the spec.",
                    way.to.as_str(),
                    way.from.as_str(),
                    way.phase,
                    self.generation
                ),
                repository,
            ),
            None if self.is_to_come() => self.deed(
                true,
                &annotate,
                format!(
                    "No migration is under way, and that of generation {} does not begin until kubectl weft migrate resume, or a change of the spec.",
                    self.generation
                ),
                repository,
            ),
            None => self.deed(
                false,
                &[],
                "No migration is under way: there is nothing to go back from. To go to another mode, change spec.mode.",
                repository,
            ),
        }
    }

    fn approve(&self) -> Deed {
        const REPOSITORY: &str = "set spec.migration.approval: Automatic.";
        if self.config.spec.migration.approval == Approval::Automatic {
            let message = "spec.migration.approval is Automatic: the evidence alone lets nodes send in the new mode.";
            return self.deed(true, &[], message, REPOSITORY);
        }
        if self.migration().is_none() && !self.is_to_come() {
            let message = "No migration is under way: there is nothing to approve.";
            return self.deed(false, &[], message, REPOSITORY);
        }
        let message = match self.migration() {
            Some(way) if way.back => {
                format!(
                    "It goes back to {}: there is nothing to approve.",
                    way.to.as_str()
                )
            }
            Some(way) if way.phase > Phase::Verify => {
                "Approved; nodes send in the new mode already.".into()
            }
            _ => format!(
                "Approved for generation {}: nodes come to send in {} as soon as phase Verify has its evidence.",
                self.generation,
                self.config.spec.mode.as_str()
            ),
        };
        if self.migration().is_some_and(|way| way.back) {
            return self.deed(false, &[], message, REPOSITORY);
        }
        let annotate = [(annotation::APPROVED, Some(self.generation.to_string()))];
        self.deed(true, &annotate, message, REPOSITORY)
    }
}
