//! Carries out the actions of a plan. Every write is conditional, bounded in time, and made only while
//! this operator leads.

use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Error, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error as ThisError;
use tracing::warn;
use weft_crds::{BGPPeer, CONFIG_NAME, IPBlock, NetworkConfig, NodeNetwork, NodeReport};

use crate::config::{Subject, resource};
use crate::describe::{kind_of, log, object_of};
use crate::events::Announcer;
use crate::leader::Leadership;
use crate::memory::{Memory, NodeId, Settled};
use crate::metrics::Metrics;
use crate::plan::daemonset::{AGENT, settled};
use crate::plan::{Action, Announcement, Published, RECONCILE};

/// The name under which fields are owned.
pub const MANAGER: &str = "weft-operator";
/// The longest that one call may take: less than the margin of the election.
pub const CALL: Duration = Duration::from_secs(4);
/// Calls under way at once.
const AT_ONCE: usize = 16;

/// A call that didn't do what it should.
#[derive(Debug, ThisError)]
pub enum ApplyError {
    /// The API server refused it, or can't be reached.
    #[error("{0}")]
    Api(#[from] Error),
    /// The API server didn't answer in time.
    #[error("the API server didn't answer within {} s", CALL.as_secs())]
    TimedOut,
}

/// What came of an action.
enum Effect {
    /// It is done, and there is nothing to remember.
    Done,
    /// It is done, or was found done: the block is so now.
    Block(Box<IPBlock>),
    /// It collided with another write: the block is so now, and another has to be chosen.
    Taken(Box<IPBlock>),
    /// The block is no longer there.
    BlockGone(String),
    /// The DaemonSet came out so.
    DaemonSet(Settled),
    /// The object has changed since the plan was made.
    Stale,
}

/// What came of all actions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Something collided: plan again now.
    pub again: bool,
    /// Something failed: plan again in a while.
    pub failed: bool,
}

/// Carries out actions.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    namespace: String,
    leadership: Leadership,
    announcer: Announcer,
    metrics: Metrics,
}

impl Executor {
    /// An executor that acts while `leadership` is held.
    pub fn new(
        client: Client,
        namespace: &str,
        leadership: Leadership,
        announcer: Announcer,
        metrics: Metrics,
    ) -> Self {
        Executor {
            client,
            namespace: namespace.to_string(),
            leadership,
            announcer,
            metrics,
        }
    }

    /// Carries out actions and notes in `memory` what the API server answered. `subject` is the config
    /// that the plan was made from. What is left when the leadership ends is dropped.
    pub async fn apply(
        &self,
        actions: Vec<Action>,
        subject: &Subject,
        memory: &mut Memory,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let creates = actions.iter().any(|a| matches!(a, Action::CreateBlock(_)));
        let fresh = !creates || self.is_present(subject).await;
        let calls = actions
            .into_iter()
            .filter(|action| fresh || !matches!(action, Action::CreateBlock(_)))
            .map(|action| self.one(action, subject));
        let mut effects = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some(effect) = effects.next().await {
            let mono = crate::clock::mono();
            match effect {
                Some(Effect::Done) => {}
                Some(Effect::Block(block)) => memory.block_is(*block, mono),
                Some(Effect::Taken(block)) => {
                    memory.block_is(*block, mono);
                    outcome.again = true;
                }
                Some(Effect::BlockGone(name)) => memory.block_gone(&name),
                Some(Effect::DaemonSet(settled)) => memory.settled = Some(settled),
                Some(Effect::Stale) => outcome.again = true,
                None => outcome.failed = true,
            }
        }
        outcome.failed |= !fresh;
        outcome
    }

    /// Whether the config is still the one that the plan was made from: pools and block sizes decide
    /// which blocks may be made.
    async fn is_present(&self, subject: &Subject) -> bool {
        let api: Api<NetworkConfig> = Api::all(self.client.clone());
        match limited(api.get_metadata_opt(CONFIG_NAME)).await {
            Ok(found) => found.is_some_and(|found| {
                found.metadata.uid == subject.uid && found.metadata.generation == subject.generation
            }),
            Err(error) => {
                warn!(%error, "can't read the NetworkConfig; no block is given out");
                false
            }
        }
    }

    /// None: it failed, or the leadership has ended.
    async fn one(&self, action: Action, subject: &Subject) -> Option<Effect> {
        let name = kind_of(&action);
        if !self.leadership.may_act() {
            self.metrics.acted(name, "dropped");
            return None;
        }
        let (label, effect) = match self.carry_out(&action, subject).await {
            Ok(effect @ (Effect::Stale | Effect::Taken(_))) => ("conflict", Some(effect)),
            Ok(effect) => {
                log(&action);
                ("done", Some(effect))
            }
            Err(error) => {
                warn!(action = name, object = object_of(&action), %error, "can't carry out; trying again");
                ("failed", None)
            }
        };
        self.metrics.acted(name, label);
        effect
    }

    async fn carry_out(&self, action: &Action, subject: &Subject) -> Result<Effect, ApplyError> {
        match action {
            Action::CreateBlock(block) => self.create_block(block).await,
            Action::AssignBlock(block) | Action::DrainBlock(block) => {
                self.replace_block(block).await
            }
            Action::ReleaseBlock { block, gone } => match gone {
                Some(node) if !self.is_gone(node).await? => Ok(Effect::Done),
                _ => self.replace_block(block).await,
            },
            Action::DeleteBlock(block) => {
                let api: Api<IPBlock> = Api::all(self.client.clone());
                let preconditions = Preconditions {
                    resource_version: block.resource_version(),
                    uid: block.uid(),
                };
                let gone = delete(&api, &block.name_any(), preconditions).await?;
                Ok(match gone {
                    true => Effect::BlockGone(block.name_any()),
                    false => Effect::Stale,
                })
            }
            Action::DeletePublished { kind, node, uid } => {
                if self.is_gone(node).await? {
                    self.delete_published(*kind, &node.0, uid).await?;
                }
                Ok(Effect::Done)
            }
            Action::SetNodeCondition {
                node,
                resource_version,
                condition,
            } => {
                let api: Api<Node> = Api::all(self.client.clone());
                let patch = json!({
                    "metadata": {"resourceVersion": resource_version},
                    "status": {"conditions": [condition]},
                });
                let parameters = PatchParams::default();
                let patch = Patch::Strategic(&patch);
                conditional(limited(api.patch_status(node, &parameters, &patch)).await)
            }
            Action::CreateDaemonSet(daemonset) => {
                let call = self.daemonsets();
                let created = limited(call.create(&by_us(), daemonset)).await;
                daemonset_effect(daemonset, created)
            }
            Action::ReplaceDaemonSet { daemonset, repair } => {
                let call = self.daemonsets();
                let replaced = limited(call.replace(AGENT, &by_us(), daemonset)).await;
                let effect = daemonset_effect(daemonset, replaced)?;
                if *repair && matches!(effect, Effect::DaemonSet(_)) {
                    self.announce(&repaired(), subject).await?;
                }
                Ok(effect)
            }
            Action::WriteStatus(config) => {
                let api: Api<NetworkConfig> = Api::all(self.client.clone());
                conditional(limited(api.replace_status(CONFIG_NAME, &by_us(), config)).await)
            }
            Action::WriteBgpPeer(peer) => {
                let api: Api<BGPPeer> = Api::all(self.client.clone());
                let name = peer.name_any();
                conditional(limited(api.replace_status(&name, &by_us(), peer)).await)
            }
            Action::Refuse(object) => {
                let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource());
                conditional(limited(api.replace_status(CONFIG_NAME, &by_us(), object)).await)
            }
            Action::Announce(announcement) => {
                self.announce(announcement, subject).await?;
                Ok(Effect::Done)
            }
        }
    }

    fn daemonsets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn announce(
        &self,
        announcement: &Announcement,
        subject: &Subject,
    ) -> Result<(), ApplyError> {
        limited(self.announcer.announce(announcement, &subject.reference)).await
    }

    /// The API server decides who gets a block: of two creations of one name, one is refused.
    async fn create_block(&self, block: &IPBlock) -> Result<Effect, ApplyError> {
        let api: Api<IPBlock> = Api::all(self.client.clone());
        match limited(api.create(&by_us(), block)).await {
            Ok(created) => Ok(Effect::Block(Box::new(created))),
            Err(error) if is_code(&error, 409) => {
                let existing = limited(api.get_opt(&block.name_any())).await?;
                Ok(existing.map_or(Effect::Stale, |b| Effect::Taken(Box::new(b))))
            }
            Err(error) => Err(error),
        }
    }

    async fn replace_block(&self, block: &IPBlock) -> Result<Effect, ApplyError> {
        let api: Api<IPBlock> = Api::all(self.client.clone());
        let name = block.name_any();
        match limited(api.replace(&name, &by_us(), block)).await {
            Ok(written) => Ok(Effect::Block(Box::new(written))),
            Err(error) if is_code(&error, 404) => Ok(Effect::BlockGone(name)),
            Err(error) if is_code(&error, 409) => {
                let existing = limited(api.get_opt(&name)).await?;
                Ok(existing.map_or(Effect::Stale, |b| Effect::Taken(Box::new(b))))
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the API server itself, not the watch.
    async fn is_gone(&self, node: &NodeId) -> Result<bool, ApplyError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let found = limited(api.get_metadata_opt(&node.0)).await?;
        Ok(found.is_none_or(|found| found.metadata.uid.as_deref() != Some(node.1.as_str())))
    }

    async fn delete_published(
        &self,
        kind: Published,
        name: &str,
        uid: &str,
    ) -> Result<(), ApplyError> {
        let preconditions = Preconditions {
            resource_version: None,
            uid: Some(uid.to_string()),
        };
        match kind {
            Published::Network => {
                let api: Api<NodeNetwork> = Api::all(self.client.clone());
                delete(&api, name, preconditions).await?;
            }
            Published::Report => {
                let api: Api<NodeReport> = Api::all(self.client.clone());
                delete(&api, name, preconditions).await?;
            }
        }
        Ok(())
    }
}

/// Limits a call in time.
pub async fn limited<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, ApplyError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApplyError::TimedOut),
    }
}

/// Whether the API server answered with this HTTP status.
pub fn is_code(error: &ApplyError, code: u16) -> bool {
    matches!(error, ApplyError::Api(Error::Api(status)) if status.code == code)
}

/// Deletes an object if it is still the one that was meant. False: it has changed.
async fn delete<K>(
    api: &Api<K>,
    name: &str,
    preconditions: Preconditions,
) -> Result<bool, ApplyError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let parameters = DeleteParams::default().preconditions(preconditions);
    match limited(api.delete(name, &parameters)).await {
        Ok(_) => Ok(true),
        Err(error) if is_code(&error, 404) => Ok(true),
        Err(error) if is_code(&error, 409) => Ok(false),
        Err(error) => Err(error),
    }
}

fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.into()),
        ..PostParams::default()
    }
}

fn conditional<T>(answer: Result<T, ApplyError>) -> Result<Effect, ApplyError> {
    match answer {
        Ok(_) => Ok(Effect::Done),
        // The watch tells what it is now, and that wakes the loop.
        Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(Effect::Stale),
        Err(error) => Err(error),
    }
}

fn daemonset_effect(
    wanted: &DaemonSet,
    answer: Result<DaemonSet, ApplyError>,
) -> Result<Effect, ApplyError> {
    match answer {
        Ok(result) => Ok(Effect::DaemonSet(settled(wanted, &result))),
        other => conditional(other),
    }
}

fn repaired() -> Announcement {
    Announcement {
        warning: true,
        reason: "AgentRepaired".into(),
        action: RECONCILE.into(),
        note: "the DaemonSet weft-agent was edited and is put right; change spec.agent of the NetworkConfig instead".into(),
    }
}
