//! What the kernel of this node lacks.

use std::collections::BTreeMap;

use weft_crds::Problem;
use weft_kernel::capability::{self, Capability};

/// What this kernel can't do of what Weft needs, and that as a problem.
pub fn probe() -> (BTreeMap<Capability, String>, Option<Problem>) {
    let mut lacking = BTreeMap::new();
    let message = match capability::probe() {
        Ok(mut missing) => {
            // It has a fallback.
            missing.remove(&Capability::AddressProtocol);
            if missing.is_empty() {
                return (missing, None);
            }
            let all: Vec<String> = missing
                .iter()
                .map(|(what, error)| format!("{what}: {error}"))
                .collect();
            lacking = missing;
            format!(
                "the kernel of this node lacks {}; use a kernel that has it",
                all.join("; ")
            )
        }
        Err(error) => format!("cannot find out what the kernel of this node can do: {error}"),
    };
    tracing::warn!(message);
    let problem = Problem {
        reason: "KernelLacks".into(),
        message,
    };
    (lacking, Some(problem))
}
