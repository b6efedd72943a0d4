#!/bin/bash
# Fuzzes one target: run.sh TARGET SECONDS. What it finds goes to artifacts/ here; the corpus that is checked in is read only.
#
# libFuzzer with the coverage that cargo-fuzz asks the compiler for, and without its sanitizers: there is no unsafe
# code in the crate, so what can be found is a panic, an endless loop or too much memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=${1:?session or update} seconds=${2:?for how many seconds}
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$coverage cargo build --quiet --release --target "$host" --bin "$target"
mkdir -p artifacts
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
"${CARGO_TARGET_DIR:-target}/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
  -artifact_prefix=artifacts/ -print_final_stats=1 "$found" "corpus/$target"
