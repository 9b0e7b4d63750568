#!/usr/bin/env bash
# Where one workload spends its time on one allocator: perf record, the hottest functions, and a flame graph.
# Usage: bench/perf/record.sh WORKLOAD [ALLOCATOR]     (warren; glibc, jemalloc ... where installed)
#   LIBRARY=FILE   another libwarren.so than build/libwarren.so
#   OUTPUT=DIR     where WORKLOAD.ALLOCATOR.perf and .svg go (bench/report)
#   RATE=N         samples a second (499)
# Run by people. Invariant: it changes nothing of the machine (no sysctl); where perf may not record it says why and
# exits with status 3.
set -euo pipefail

here="$(cd -- "${BASH_SOURCE[0]%/*}" && pwd)"
if ! command -v perf >/dev/null; then
  echo "record.sh: perf is not installed (Debian: linux-perf)" >&2
  exit 3
fi

words="$(mktemp)"
trap 'rm -f "$words"' EXIT
python3 -B "$here/target.py" "$@" >"$words"
mapfile -d '' -t target <"$words"
label="${target[0]}" input="${target[1]}"
settings=("${target[@]:3:target[2]}")
command=("${target[@]:3+target[2]}")

output="${OUTPUT:-$here/../report}"
mkdir -p "$output"
data="$output/$label.perf"

# Stacks by DWARF: neither the C library nor most allocators keep frame pointers. cpu-clock where there is no counter.
if ! perf record -q -F "${RATE:-499}" --call-graph dwarf,8192 -o "$data" -- env "${settings[@]}" "${command[@]}" \
  <"$input" >/dev/null; then
  echo "record.sh: perf record failed; perf_event_paranoid is $(</proc/sys/kernel/perf_event_paranoid)" >&2
  exit 3
fi
perf report -i "$data" --stdio --no-children --no-inline -g none --percent-limit 1 2>/dev/null | grep -v '^#' | grep . |
  cut -c 1-118
perf script -i "$data" --no-inline -F comm,ip,sym,dso 2>/dev/null |
  python3 -B "$here/flame_graph.py" "$label" "${settings[0]#LD_PRELOAD=}" >"$output/$label.svg"
echo "flame graph: $output/$label.svg"
