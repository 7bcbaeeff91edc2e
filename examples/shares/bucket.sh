#!/bin/bash
# One share on a machine that keeps nothing, such as a spot instance or a pod: it goes on from what
# the bucket has, and uploads what is finished every ten minutes and in the end.
#
#     ./bucket.sh mine.yaml 2/5 s3://my-bucket/mine
#     kdpipe merge s3://my-bucket/mine && kdpipe run mine.yaml     # on one machine, in the end
set -euo pipefail
study=$1 share=$2 bucket=$3
kdpipe merge "$bucket" || echo "nothing is merged from $bucket"
set -m # in a process group of its own, which is ended as a whole
while sleep 600; do
    kdpipe archive "$study" --to "$bucket" || echo "nothing is uploaded yet"
done &
uploads=$!
set +m
failed=0
kdpipe run "$study" --share "$share" || failed=$?
kill -- "-$uploads"
kdpipe archive "$study" --to "$bucket"
exit "$failed"
