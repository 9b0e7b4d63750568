"""Reads heap profiles in pprof's format, by the definition of the format (profile.proto).

Callers: heap_profile_test.py, and what profiles other programs (../programs/profiled_servers_test.py).
Invariant: knows nothing of the writer, so that the format is checked against its definition.
"""
import collections
import pathlib


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """field number -> values: numbers, or bytes."""
    found, at = collections.defaultdict(list), 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size
        found[key >> 3].append(value)
    return found


def packed(data):
    values, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values


class Profile:
    def __init__(self, path):
        top = fields(pathlib.Path(path).read_bytes())
        self.strings = [text.decode() for text in top[6]]
        assert self.strings[0] == ""
        self.types = [self.strings[fields(entry)[1][0]] for entry in top[1]]
        self.default = self.strings[top[14][0]]
        self.period = top[12][0]
        self.mappings = {m[1][0]: m for m in map(fields, top[3])}
        functions = {f[1][0]: self.strings[f[2][0]] for f in map(fields, top[5])}
        self.functions, self.addresses = {}, {}
        for location in map(fields, top[4]):
            number = location[1][0]
            self.addresses[number] = location[3][0]
            if 2 in location:
                mapping = self.mappings[location[2][0]]
                assert mapping[2][0] <= location[3][0] < mapping[3][0]
            self.functions[number] = functions[fields(location[4][0])[1][0]] if 4 in location else "?"
        self.samples = []
        for entry in map(fields, top[2]):
            stack = [self.functions[number] for number in packed(entry[1][0])] if entry[1] else []
            self.samples.append((stack, packed(entry[2][0])))

    def of(self, function):
        """The four sums over the stacks whose innermost frame is the function."""
        sums = [0] * 4
        for stack, values in self.samples:
            if stack and stack[0] == function:
                sums = [a + b for a, b in zip(sums, values)]
        return sums

    def total(self):
        return [sum(values[i] for _, values in self.samples) for i in range(4)]
