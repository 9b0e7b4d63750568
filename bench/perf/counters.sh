#!/usr/bin/env bash
# Page faults, TLB misses and instructions of one workload on one allocator.
# Usage: bench/perf/counters.sh WORKLOAD [ALLOCATOR]   (warren; glibc, jemalloc ... where installed)
#   LIBRARY=FILE   another libwarren.so than build/libwarren.so
#   OUTPUT=DIR     where WORKLOAD.ALLOCATOR.callgrind goes (bench/report)
# perf stat counts what the machine can count. Where it has no instruction counter (most virtual machines), callgrind
# counts instructions by simulation: some fifty times slower, one thread at a time, and system calls cost nothing there.
# Run by people. Invariant: it says of each thing that was not counted that it was not, and why; status 3 if none was.
set -euo pipefail

here="$(cd -- "${BASH_SOURCE[0]%/*}" && pwd)"
words="$(mktemp)"
trap 'rm -f "$words" "$words".*' EXIT
python3 -B "$here/target.py" "$@" >"$words"
mapfile -d '' -t target <"$words"
label="${target[0]}" input="${target[1]}"
settings=("${target[@]:3:target[2]}")
command=("${target[@]:3+target[2]}")
instructions='' counted=''

if ! command -v perf >/dev/null; then
  echo "perf is not installed (Debian: linux-perf): no page faults, no TLB misses"
else
  events=page-faults,minor-faults,major-faults,context-switches,task-clock
  events+=,instructions,cycles,dTLB-load-misses,dTLB-store-misses,iTLB-load-misses,cache-misses
  if perf stat -x ';' -o "$words.stat" -e "$events" -- \
    env "${settings[@]}" "${command[@]}" <"$input" >"$words.out"; then
    counted=yes
    while IFS=';' read -r value unit event _; do
      case "$value" in
        '' | '#'*) continue ;;
        '<not supported>' | '<not counted>') printf '%16s  %s\n' "${value//[<>]/}" "$event" ;;
        *) printf '%16s  %s %s\n' "$value" "$event" "$unit"
           if [[ $event == instructions* ]]; then instructions="$value"; fi ;;
      esac
    done <"$words.stat"
  else
    echo "perf stat failed; perf_event_paranoid is $(</proc/sys/kernel/perf_event_paranoid)"
  fi
fi

if [[ -z $instructions ]]; then
  if ! command -v valgrind >/dev/null; then
    echo "no instruction counter, and valgrind is not installed (Debian: valgrind): no instructions"
  else
    echo "no instruction counter here: counting by callgrind (slow)"
    # Valgrind knows no thread but those of the C library: warren's scavenger stays out.
    settings+=("WARREN_CONF=${WARREN_CONF:+$WARREN_CONF,}scavenge_delay=off")
    output="${OUTPUT:-$here/../report}"
    mkdir -p "$output"
    if env "${settings[@]}" valgrind --tool=callgrind --callgrind-out-file="$output/$label.callgrind" \
      --log-file="$words.log" "${command[@]}" <"$input" >"$words.out"; then
      counted=yes
      instructions="$(sed -n 's/^\(totals\|summary\): *\([0-9]*\).*/\2/p' "$output/$label.callgrind" | tail -n 1)"
      printf '%16s  instructions (callgrind)\n' "$instructions"
      callgrind_annotate --threshold=90 "$output/$label.callgrind" 2>/dev/null |
        grep -E '^ *[0-9,]+ \(' | head -n 25 | cut -c 1-118
      echo "all of it: callgrind_annotate $output/$label.callgrind"
    else
      echo "callgrind failed on this allocator:"
      tail -n 5 "$words.log"
    fi
  fi
fi

if [[ -n $instructions && "$(<"$words.out")" =~ ^operations\ ([0-9]+) ]]; then
  printf '%16s  instructions per unit, the program included\n' "$((instructions / BASH_REMATCH[1]))"
fi
[[ -n $counted ]] || exit 3
