# A whole program for bench/run.py: dictionaries, lists, strings and small classes in CPython. It runs with
# PYTHONMALLOC=malloc, so that every object is a malloc. Invariant: same output on every allocator.
import json


class Node:
    def __init__(self, key, left, right):
        self.key, self.left, self.right = key, left, right


def tree(depth):
    return Node(depth, tree(depth - 1), tree(depth - 1)) if depth else None


def size(node):
    return 1 + size(node.left) + size(node.right) if node else 0


def words(count):
    state = 1
    for _ in range(count):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        yield "w" + str((state >> 40) % 5000)


counts = {}
for word in words(400_000):
    counts.setdefault(word, []).append(len(word))
records = [{"name": word, "lengths": lengths, "tags": [word[:2], word[-2:]]}
           for word, lengths in sorted(counts.items())]
text = json.dumps(records)
again = json.loads(text)
print(len(counts), len(text), again == records)
print(size(tree(14)), sum(size(tree(9)) for _ in range(300)))
lines = "\n".join(f"{record['name']},{len(record['lengths'])}" for record in again)
print(sum(int(line.split(",")[1]) for _ in range(40) for line in lines.split("\n")))
