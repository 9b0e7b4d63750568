"""Deterministic text: words with a skewed distribution and lines of uneven length, some megabytes in a moment.

Used by the compressor, pipeline, openssl and nginx tests. Invariant: equal arguments give equal bytes, on every
machine and version of Python (random.Random(int).random() is fixed by its documentation).
"""

import random


def words(size, seed=1):
    """`size` bytes of lines of lower-case words; compresses about threefold."""
    rng = random.Random(seed)
    stock = ["".join(chr(97 + int(rng.random() * 26)) for _ in range(2 + int(rng.random() * 9))) for _ in range(3000)]
    lines = []
    for _ in range(2000):
        lines.append(" ".join(stock[int(rng.random() ** 3 * len(stock))] for _ in range(3 + int(rng.random() * 12))))
    parts, length = [], 0
    while length < size:
        line = f"{int(rng.random() * 1000000)} {lines[int(rng.random() ** 2 * len(lines))]}\n"
        parts.append(line)
        length += len(line)
    return "".join(parts).encode()[:size]
