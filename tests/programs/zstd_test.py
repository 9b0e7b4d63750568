#!/usr/bin/python3 -B
"""zstd with two threads: job buffers passed between threads, large window tables, dictionary training, long mode.

Oracle: compressed files byte-identical to the control's (zstd's output does not depend on the thread count from one
thread on), the round trip gives the input back, and the built-in benchmark's self-check passes.
"""

import harness
import text_source

kScript = r"""
for level in 1 5 12; do
  zstd -q -T2 -$level -k -c "$1" > $level.zst
  zstd -q -dc $level.zst | cmp - "$1"
done
zstd -q -T2 -6 --long=25 -c "$1" > long.zst
zstd -q -dc --long=25 long.zst | cmp - "$1"
zstd -q -T2 -B256KiB --rsyncable -3 -c "$1" > rsyncable.zst
split -b 2000 "$1" sample.
zstd -q --train sample.a? sample.b? --maxdict=8000 -o dictionary
for sample in sample.c?; do zstd -q -D dictionary -19 -c $sample | zstd -q -D dictionary -dc | cmp - $sample; done
zstd -q -T2 -3 -r sample.d? --rm
zstd -q -t ./*.zst
zstd -q -b1e3 -i0 "$1" > benchmark 2>&1
zstd -l 5.zst | wc -l
if head -c 3000 5.zst | zstd -q -t 2> truncated.txt; then exit 1; fi
"""


def zstd(trial):
    program = trial.program("/usr/bin/zstd", "zstd")
    text = trial.write("text", text_source.words(6 << 20))
    _, warren = trial.same(["/bin/sh", "-eu", trial.write("script.sh", kScript), text],
                           outputs=["*.zst", "dictionary", "*.txt"])
    trial.check_witnesses(warren.witnesses, program, at_least=60)


harness.main(zstd)
