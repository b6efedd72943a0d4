//! A real Kubernetes cluster on one machine, and the scenarios that run on it.
