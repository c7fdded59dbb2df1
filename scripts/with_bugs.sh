#!/usr/bin/env bash
# The server with seeded bugs (tools/seeded_bugs), for `loadgen chaos --seeded-bugs`.
#
#   scripts/with_bugs.sh check   whether every patch still applies to the tree; takes no time
#   scripts/with_bugs.sh build   release/fleetcast-with-bugs beside the server, from a copy of the tree with all patches
set -euo pipefail
cd "$(dirname "$0")/.."

PATCHES=(tools/seeded_bugs/*.patch)
TARGET=$(scripts/target.sh)
# Below the tree, where git applies patches.
COPY=target/with-bugs
BINARY=$TARGET/release/fleetcast-with-bugs
# What the copy was made from when the binary was built.
STAMP=$COPY.sum

check() {
    local patch failed=0
    for patch in "${PATCHES[@]}"; do
        git apply --check "$patch" || {
            echo "the seeded bug in $patch does not apply any more: tools/seeded_bugs/README.md says how to update it" >&2
            failed=1
        }
    done
    [[ $failed == 0 ]] || return 1
    cat "${PATCHES[@]}" | git apply --check || {
        echo "the patches in tools/seeded_bugs do not apply together" >&2
        return 1
    }
}

# Files that are tracked, or new and not ignored, each ending in a zero byte.
inputs() {
    local file
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [[ -f $file ]] && printf '%s\0' "$file"
    done
}

build() {
    local sum
    sum=$(inputs | xargs -0 sha256sum | sha256sum)
    if [[ -x $BINARY && -f $STAMP && $sum == "$(<"$STAMP")" ]]; then
        return
    fi
    rm -rf "$COPY" "$STAMP"
    mkdir -p "$COPY"
    inputs | xargs -0 cp --parents --no-dereference --preserve=mode,timestamps --target-directory="$COPY"
    cat "${PATCHES[@]}" | git apply --directory="$COPY"
    # The dependencies are those of the product, so they are not built again. But the packages of the copy must have versions of
    # their own: cargo names what it builds by package and version and not by folder, and would link a seeded bug into the
    # product's next build.
    sed -i 's/^version = "\(.*\)"$/version = "\1-with-bugs"/' "$COPY/Cargo.toml"
    # Not --locked, because the versions are in the lock file; --offline changes nothing else in it.
    cargo build --release --offline --manifest-path "$COPY/Cargo.toml" --target-dir "$TARGET" \
        --package fleetcast --bin fleetcast-with-bugs
    echo "$sum" > "$STAMP"
}

case ${1:-} in
    check) check ;;
    build) build ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
