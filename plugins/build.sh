#!/usr/bin/env bash
# Rebuilds every component and plugins.lock.json; on the same tools the bytes are the same, in whatever folder this is.
# Needs on Debian 12: rustup's Rust (cargo and rust-lld) and `apt-get install rustc-web rust-web-src`, whose standard
# library is compiled for wasm32 here. Set GUEST_RUSTC for another compiler that has its `rust-src`.
set -euo pipefail
cd "$(dirname "$0")"
target=wasm32-unknown-unknown
export CARGO_TARGET_DIR="$PWD/target"
guest_rustc="${GUEST_RUSTC:-/usr/bin/rustc}"
linker="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/host: //p')/bin/rust-lld"
guest_sources="$("$guest_rustc" --print sysroot)/lib/rustlib/src/rust"

# Native tools first: they use the default compiler.
cargo build --locked --quiet -p pack
pack="$CARGO_TARGET_DIR/debug/pack"

# No path of this machine may end up in a panic message.
flags="--remap-path-prefix=$PWD=plugins"
flags+=" --remap-path-prefix=$(realpath "$guest_sources")=std --remap-path-prefix=$guest_sources=std"
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  flags+=" --remap-path-prefix=$registry=registry"
done
RUSTC_BOOTSTRAP=1 RUSTC="$guest_rustc" RUSTFLAGS="$flags" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$linker" \
  cargo build --locked --release -Z build-std=std,panic_abort --target "$target" -p accuracy -p cut-reflection -p format -p length-penalty -p max-words -p repetition -p hostile

mkdir -p ../tests/plugins
modules="$CARGO_TARGET_DIR/$target/release"
"$pack" component "$modules/cut_reflection.wasm" cut-reflection.wasm
"$pack" component "$modules/max_words.wasm" max-words.wasm
"$pack" component "$modules/hostile.wasm" ../tests/plugins/hostile.wasm
for wit in tests/worlds/*.wit; do
  "$pack" fixture "$wit" wit "../tests/plugins/$(basename "$wit" .wit).wasm"
done
"$pack" fixture tests/newer/newer.wit - ../tests/plugins/newer.wasm

"$pack" lock "rustc=$("$guest_rustc" --version)" "cargo=$(cargo --version)" "rust-lld=$("$linker" -flavor wasm --version)"
ls -l ./*.wasm ../tests/plugins/*.wasm
