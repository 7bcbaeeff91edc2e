#!/bin/bash
# A study in shares on hosts that are reached by ssh, by GNU parallel: each host takes the next
# share when it has finished one, and a share that failed is tried again, on another host.
#
#     ./hosts.sh mine.yaml 6 one two three
#     kdpipe merge from/*/results && kdpipe run mine.yaml
#
# Each host needs kdpipe on the PATH of its non-interactive shells, and perl. Its results lie in
# the folder `study` of its home.
set -euo pipefail
study=$1 count=$2 name=$(basename "$1")
shift 2
for host in "$@"; do
    ssh "$host" "mkdir -p study && cat > study/$name" < "$study"
done
failed=0
parallel --sshlogin "$(IFS=,; echo "$*")" --jobs 1 --retries 3 --line-buffer --workdir study \
    kdpipe run "$name" --share "{}/$count" ::: $(seq "$count") || failed=$?
for host in "$@"; do
    mkdir -p "from/$host"
    ssh "$host" "tar --create --directory study results" | tar --extract --directory "from/$host"
done
exit "$failed"
