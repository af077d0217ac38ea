#!/bin/sh
# The gate of a merge: sh merge_gate.sh BASE FILE ROLE [CASES]
#
# BASE is the commit that is merged into, FILE the root file of the project, ROLE that of whoever asked for the merge, as the
# platform knows it: never something that the change itself says. Run in a clean checkout of the change. Ends with 0 only if
# the role owns every change and everything that no device is needed for holds now, by runs of this machine alone.
set -eu
base=$1 file=$2 role=$3 cases=${4:-50}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

files() {  # the files of commit $1 in a folder of their own: an archive would let attributes write into them
    GIT_INDEX_FILE="$work/index" git read-tree "$1"
    GIT_INDEX_FILE="$work/index" git checkout-index --all --prefix="$work/$2/"
}
refuse() { echo "merge gate: $1" >&2; exit 1; }

# What is judged must be what everybody has: no attribute of git that turns files into others, no link to elsewhere.
git diff --quiet "$base" HEAD -- '*.gitattributes' || refuse "the change alters .gitattributes, which decide what a checkout holds"
files "$base" old
files HEAD new
for state in old new; do
    folder=$(readlink -f "$work/$state")
    out=$(find "$folder" -type l -exec sh -c 'case $(readlink -f "$2") in "$1"/*) ;; *) echo "$2" ;; esac' - "$folder" {} \;)
    [ -z "$out" ] || refuse "a link that leads out of the project: ${out#"$folder"/}"
done

# Nothing counts that came with the change: figures are worked out anew, beside the files without evidence.
find "$work/new" -name '*.evidence.jsonl' -delete
spakc fmt --check "$work/new/$file"
spakc diff "$work/old/$file" "$work/new/$file" --role "$role"
spakc check "$work/new/$file"
spakc verify "$work/new/$file" --cases "$cases"
if [ -n "${SPAK_BENCH:-}" ]; then  # on a machine with the device of the claims
    spakc bench "$work/new/$file"
fi
spakc status "$work/new/$file"
