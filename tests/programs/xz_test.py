#!/usr/bin/python3 -B
"""xz with two threads: dictionaries of megabytes per thread and one large buffer per block.

Oracle: compressed files byte-identical to the control's (xz's threading splits by size, so its output is
deterministic), and the round trip gives the input back.
"""

import harness
import text_source

kScript = r"""
for level in 0 3; do xz -k -c -T2 -$level --block-size=1MiB "$1" > $level.xz; xz -T2 -dc $level.xz | cmp - "$1"; done
xz -T1 -6 -c "$1" > one.xz
xz -dc one.xz | cmp - "$1"
xz --format=lzma -1 -c "$1" | xz --format=lzma -dc | cmp - "$1"
xz --lzma2=preset=1,dict=32MiB -T2 -c "$1" > dictionary.xz
xz -t *.xz
xz -l 0.xz | wc -l
xz --robot --info-memory | wc -l
if head -c 3000 3.xz | xz -t 2> truncated.txt; then exit 1; fi
if xz --memlimit-compress=1MiB --no-adjust -9 -c "$1" > refused 2> refused.txt; then exit 1; fi
"""


def xz(trial):
    program = trial.program("/usr/bin/xz", "xz-utils")
    text = trial.write("text", text_source.words(3 << 20))
    _, warren = trial.same(["/bin/sh", "-eu", trial.write("script.sh", kScript), text], outputs=["*.xz", "*.txt"])
    trial.check_witnesses(warren.witnesses, program, at_least=12)


harness.main(xz)
