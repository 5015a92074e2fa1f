#!/usr/bin/env bash
# Rebuilds the components of the plugins in Rust, the components that the tests refuse, and plugins.lock.json; on the same tools
# the bytes are the same, in whatever folder this is. Components in C that lie here are locked as they are.
#
# Needs the compiler's target (`rustup target add wasm32-unknown-unknown`), or on Debian 12 rustup's Rust (cargo and rust-lld)
# and `apt-get install --no-install-recommends rustc-web rust-web-src`, whose standard library is compiled for wasm32 here.
# What is committed was made in the second way. Set GUEST_RUSTC for another compiler that has its `rust-src`.
# `accuracy` is made for size: in a profile of its own, by the second way with a standard library in which a panic is a trap and
# no more, and with `wasm-opt` (`apt-get install binaryen`); see `small_accuracy`.
set -euo pipefail
cd "$(dirname "$0")"
plugins=(cut-reflection format length-penalty max-words repetition)
target=wasm32-unknown-unknown
export CARGO_TARGET_DIR="$PWD/target"
host_rustc="$(rustc --print sysroot)"
linker="$host_rustc/lib/rustlib/$(rustc -vV | sed -n 's/host: //p')/bin/rust-lld"

# Native tools first: they use the default compiler.
cargo build --locked --quiet -p pack
pack="$CARGO_TARGET_DIR/debug/pack"

# No path of this machine may end up in a panic message. Sources in this workspace have none: cargo names them relative to it.
# The remapped prefixes are not part of the crates' hashes, so that they do not change the bytes in any other way.
remap=()
if [[ -z "${GUEST_RUSTC:-}" && -d "$host_rustc/lib/rustlib/$target" ]]; then
  guest_rustc=rustc
  std=()
  trap=()
else
  guest_rustc="${GUEST_RUSTC:-/usr/bin/rustc}"
  std=(-Z build-std=std,panic_abort)
  trap=(-Zunstable-options -Cpanic=immediate-abort)
  library="$("$guest_rustc" --print sysroot)/lib/rustlib/src/rust"
  remap+=("$(realpath "$library")=std" "$library=std")
  export RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$linker"
fi
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  remap+=("$registry=registry")
done
# One flag an element, so that paths may have spaces.
guest() {
  local flags
  flags="$(printf -- '%s\x1f' ${extra[@]+"${extra[@]}"} "${remap[@]/#/--remap-path-prefix=}")"
  RUSTC="$guest_rustc" CARGO_ENCODED_RUSTFLAGS="${flags%$'\x1f'}" cargo build --locked "${std[@]}" --target "$target" "$@"
}
# Writes the component of `accuracy` to $1.
small_accuracy() {
  extra=("${trap[@]}")
  guest --profile small -p accuracy
  # The features that the compiler uses by default, and no more: the engine refuses others. What is below address 1024 is the end
  # of the stack, which no object is at; control flow that is made anew from flat code is shorter, twice.
  wasm-opt --enable-bulk-memory --enable-sign-ext --enable-mutable-globals --enable-nontrapping-float-to-int --enable-multivalue \
    --enable-reference-types --low-memory-unused -Oz --flatten --rereloop -Oz --flatten --rereloop -Oz --memory-packing \
    --reorder-functions --reorder-locals -Oz \
    "$CARGO_TARGET_DIR/$target/small/accuracy.wasm" -o "$CARGO_TARGET_DIR/accuracy.wasm"
  "$pack" small "$CARGO_TARGET_DIR/accuracy.wasm" "$1"
}

# `build.sh accuracy FILE` makes that component alone.
if [[ "${1:-}" == accuracy ]]; then
  small_accuracy "$2"
  exit
fi

extra=()
guest --release "${plugins[@]/#/-p}" -p hostile
small_accuracy accuracy.wasm

mkdir -p ../tests/plugins
modules="$CARGO_TARGET_DIR/$target/release"
for plugin in "${plugins[@]}"; do
  # `ruminate plugin build "$plugin" -o "$plugin.wasm"` makes the same bytes.
  "$pack" component "$modules/${plugin//-/_}.wasm" "$plugin.wasm"
done
"$pack" component "$modules/hostile.wasm" ../tests/plugins/hostile.wasm
for wit in tests/worlds/*.wit; do
  "$pack" fixture "$wit" wit "../tests/plugins/$(basename "$wit" .wit).wasm"
done
"$pack" fixture tests/newer/newer.wit - ../tests/plugins/newer.wasm

"$pack" lock "rustc=$("$guest_rustc" --version)" "cargo=$(cargo --version)" "rust-lld=$("$linker" -flavor wasm --version)" \
  "wasm-opt=$(wasm-opt --version)" "clang=$(clang --version | head -1)"
ls -l ./*.wasm ../tests/plugins/*.wasm
