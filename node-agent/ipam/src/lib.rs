//! The address store on a node's disk, shared by the plugin and the agent.
