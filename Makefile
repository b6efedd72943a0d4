# Everything that one does with Weft from a checkout. As root, on Debian 12, with git, make, Rust and Go.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export WEFT_CACHE ?= $(HOME)/.cache/weft
TESTBED := cargo run --quiet --release -p weft-e2e --bin weft-testbed --
BENCH := cargo run --quiet --release --locked -p weft-bench --
SCENARIO := cargo run --quiet --release -p weft-scenarios --bin weft-scenario --

.PHONY: help
help: ## Print this.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

.PHONY: deps
deps: ## Install and build what is missing: Debian packages, Kubernetes, Helm, CoreDNS.
	@tests/e2e/setup.sh

.PHONY: binaries
binaries: ## Build the static binaries that go into the image, and the testbed.
	@echo "building the binaries (5 minutes the first time)"
	@cargo build --release --locked -p weft-operator -p weft-agent -p weft-cni -p weft-load -p kubectl-weft -p weft-e2e -p weft-scenarios -p weft-bench

.PHONY: demo
demo: deps binaries ## A real cluster; things change under traffic; nothing lost: make demo [MODE=bgp] [MIGRATE=1]
	@$(SCENARIO) demo --mode $(or $(MODE),overlay) $(if $(MIGRATE),--migrate)

.PHONY: demo-down
demo-down: ## Remove every trace of the demo.
	@$(TESTBED) --cluster demo down

.PHONY: crds
crds: ## Write the manifests and the reference that follow from the API types.
	@cargo run --quiet -p weft-crds --bin crdgen crds/yaml
	@cp crds/yaml/*.yaml charts/weft/files/crds/
	@cargo run --quiet -p weft-crds --bin docgen docs/reference

.PHONY: lint
lint: ## Formatting, clippy, licences.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (5 minutes, once)"; cargo install --quiet --locked cargo-deny --version 0.20.2 --target-dir $(WEFT_CACHE)/cargo-deny-build; }
	cargo fetch --quiet --locked
	cargo deny --offline check licenses bans sources

.PHONY: unit
unit: deps ## All tests that need no cluster; some need root for network namespaces.
	cargo test --workspace --locked

.PHONY: e2e-all
e2e-all: deps binaries ## Every scenario on a real cluster.
	@$(SCENARIO) all

.PHONY: e2e
e2e: deps binaries ## One scenario on a real cluster: make e2e S=NAME. Its last line is JSON.
	@test -n "$(S)" || { echo "which? make e2e S=NAME; make e2e-list names them"; exit 2; }
	@$(SCENARIO) run $(S)

.PHONY: prove
prove: deps binaries ## Random migrations with random faults, under traffic: make prove [RUNS=50] [SEED=1]
	@$(SCENARIO) prove --runs $(or $(RUNS),50) --seed $(or $(SEED),1)

.PHONY: naive
naive: deps binaries ## What moving a cluster by hand loses, to compare with a migration.
	@$(SCENARIO) naive

.PHONY: e2e-list
e2e-list: ## Name the scenarios.
	@$(SCENARIO) list

.PHONY: fuzz
fuzz: ## Fuzz the BGP session and the decoding of UPDATEs: make fuzz [FOR=600], seconds each.
	@for target in session update; do node-agent/bgp/fuzz/run.sh $$target $(or $(FOR),600); done

.PHONY: test
test: lint unit e2e-all ## All tests. Exits non-zero on any failure.
	@echo "all tests passed"

.PHONY: bench
bench: deps binaries ## Ratios, measured side by side, in 15 minutes: make bench [ROUNDS=5] [FIGURES=...]
	@cargo build --quiet --release --locked -p weft-kernel --example program_peers
	@$(BENCH) --rounds $(or $(ROUNDS),5) $(FIGURES)
