#!/bin/sh
# The gate of a merge: sh merge_gate.sh BASE FILE ROLE [CASES]
#
# BASE is the commit that is merged into, FILE the root file of the project, ROLE that of whoever asked for the merge, as the
# platform knows it: never something that the change itself says. Run in a clean checkout of the change. Ends with 0 only if
# the role owns every change and everything that no device is needed for holds now, by runs of this machine alone.
set -eu
base=$1 file=$2 role=$3 cases=${4:-50}
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
git archive "$base" | tar -x -C "$old"

spakc fmt --check "$file"
spakc diff "$old/$file" "$file" --role "$role"

# Nothing counts that came with the change: figures are worked out anew, beside a copy of the files without evidence.
git archive HEAD | (mkdir "$old/new" && tar -x -C "$old/new")
find "$old/new" -name '*.evidence.jsonl' -delete
spakc check "$old/new/$file"
spakc verify "$old/new/$file" --cases "$cases"
if [ -n "${SPAK_BENCH:-}" ]; then  # on a machine with the device of the claims
    spakc bench "$old/new/$file"
fi
spakc status "$old/new/$file"
