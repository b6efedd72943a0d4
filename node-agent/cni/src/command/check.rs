//! CHECK: everything is as ADD made it.

use weft_ipam::Store;
use weft_kernel::pod;

use super::{ATTACHMENT_LIMIT, STATE_DIR};
use crate::link::pod_link;
use crate::spec::{Code, Config, Environment, Failure};

pub(super) fn check(environment: &Environment, config: &Config) -> Result<(), Failure> {
    let id = environment.attachment_id()?;
    let netns = environment.netns()?;
    let previous = config.previous_result()?;
    let store = Store::open(STATE_DIR)?;
    let _alone = store.lock_attachment(&id, ATTACHMENT_LIMIT)?;
    let (attachment, node) = {
        let locked = store.lock()?;
        (locked.get(&id).cloned(), locked.read_node()?)
    };
    let attachment = attachment
        .ok_or_else(|| Failure::new(Code::UnknownContainer, format!("{id} is not attached")))?;
    let mut wrong = previous.deviations(&id.ifname, netns, &attachment.addresses);
    wrong.extend(pod::check(&pod_link(&attachment, &node))?);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure {
        code: Code::Deviates,
        message: format!(
            "{} is not as it was attached: {}",
            attachment.owner(),
            wrong[0]
        ),
        details: wrong.join("; "),
    })
}
