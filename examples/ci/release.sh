#!/bin/sh
# Compress a model for a release: release.sh MODEL ARTIFACT. Exits with 0 released, 3 not good enough, 1 anything else.
set -u
model=${1:?the model to compress}
artifact=${2:?where the artifact goes}

embcompress approximate "$model" --ratio 8 --effort fast --fail-if 'error.relative > 0.25' --output "$artifact" --force
code=$?
case $code in
    0) echo "released: $artifact" ;;
    1) echo "nothing released: the model, the disk or the machine is at fault, as told above; try again" >&2 ;;
    2) echo "nothing released: this script calls embcompress wrongly" >&2
       code=1 ;;
    3) echo "nothing released: $artifact would be too far from $model; the report beside it tells where" >&2 ;;
    *) echo "nothing released: stopped by a signal" >&2
       code=1 ;;
esac
exit "$code"
