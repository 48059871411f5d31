#!/bin/sh
# Builds engine.wasm: QuickJS-ng for wasm32, initialised, as a snapshot.
# A plain cargo build never runs this; it uses the committed file.
#
#   ./build.sh          builds and replaces engine.wasm and its sum
#   ./build.sh --check  builds and fails where the sum differs from the committed one
#
# Needs clang and llvm-ar (Debian: clang llvm) and the Rust target wasm32-unknown-unknown (rustup target add).
# The same compilers give the same bytes in any directory: paths are remapped and every version is locked.
set -eu
cd "$(dirname "$0")"
here=$PWD
target=${CARGO_TARGET_DIR:-$here/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
for tool in clang llvm-ar cargo sha256sum; do
  command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing" >&2; exit 1; }
done

export CC_wasm32_unknown_unknown=clang
export AR_wasm32_unknown_unknown=llvm-ar
export CFLAGS_wasm32_unknown_unknown="-O2 -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$target=/target"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C link-arg=--stack-first -C link-arg=-zstack-size=1048576 --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$target=/target --remap-path-prefix=$here=/engine"
unset CFLAGS RUSTFLAGS || true

cargo build --locked --release --package guest --target wasm32-unknown-unknown --target-dir "$target"
cargo build --locked --release --package wizen --target-dir "$target"
"$target/release/wizen" "$target/wasm32-unknown-unknown/release/guest.wasm" "$target/engine.wasm"

if [ "${1:-}" = --check ]; then
  (cd "$target" && sha256sum --check "$here/engine.wasm.sha256")
else
  cp "$target/engine.wasm" engine.wasm
  sha256sum engine.wasm > engine.wasm.sha256
  cat engine.wasm.sha256
fi
