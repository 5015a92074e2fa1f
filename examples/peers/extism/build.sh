#!/usr/bin/env bash
# Builds the host and the guest into TARGET (default: target beside this file), the guest as ../../../plugins/build.sh does.
# Ten minutes on two cores. Then: cargo run --release --example plugin_speed -- --extism TARGET
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${1:-$PWD/target}"
cargo build --locked --release
linker="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/host: //p')/bin/rust-lld"
RUSTC_BOOTSTRAP=1 RUSTC="${GUEST_RUSTC:-/usr/bin/rustc}" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$linker" \
  cargo build --locked --profile guest -Z build-std=std,panic_abort --target wasm32-unknown-unknown -p extism-guest
