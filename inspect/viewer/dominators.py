"""Who holds what: the dominator tree of a heap, and what each node of it retains.

Nodes are the objects 0 .. n-1, then the holders (variables, threads, fibers), then one node for what nothing holds, then the root. A
dominates B when every path from the root to B passes through A: then B goes when A goes. Method: Lengauer and Tarjan, "A
fast algorithm for finding dominators in a flowgraph" (1979), the version with path compression only. (Iterating to a fixed point, as
Cooper, Harvey and Kennedy do, takes time in the square of the length of a list whose nodes all point to one object.)

Caller: heap_view.py.  Invariant: everything per node lies in arrays of numbers; nothing recurses.
"""

from array import array
from itertools import accumulate


class Dominators:
    def __init__(self, edge_counts, edges, sizes, holder_edges):
        """`sizes` in units, by object; `holder_edges`: for each holder the objects it points to."""
        self.objects = len(edge_counts)
        self.nobody = self.objects + len(holder_edges)
        self.root = self.nobody + 1
        self.edges = edges
        self.starts = array("Q", accumulate(edge_counts, initial=0))
        self.extra = [array("I", sorted(set(row))) for row in holder_edges] + [array("I"), array("I")]
        self.extra[-1].extend(range(self.objects, self.root))
        self._search()
        self._find_predecessors()
        self._find_dominators()
        self._retain(sizes)

    def successors(self, node):
        if node < self.objects:
            return self.edges[self.starts[node]:self.starts[node + 1]]
        return self.extra[node - self.objects]

    # Depth first. number: of a node, from 1, 0 for not seen; order: its inverse; parents: by number.
    def _search(self):
        total = self.root + 1
        self.number = number = array("i", bytes(4 * total))
        self.order = order = array("i", [0])
        self.parents = parents = array("i", [0])
        number[self.root] = 1
        order.append(self.root)
        parents.append(0)
        # The last successor of the root is the node that stands for "nobody": it comes last, when its own are known.
        for node in range(self.objects, self.nobody):
            self._search_from(node, 1)
        number[self.nobody] = nobody = len(order)
        order.append(self.nobody)
        parents.append(1)
        held = bytearray(self.objects)  # by another object that nobody holds
        lost = [node for node in range(self.objects) if number[node] == 0]
        starts, edges = self.starts, self.edges
        for node in lost:
            for to in edges[starts[node]:starts[node + 1]]:
                held[to] = 1
        for wanted in (0, 1):
            for node in lost:
                if held[node] == wanted and number[node] == 0:
                    self.extra[self.nobody - self.objects].append(node)
                    self._search_from(node, nobody)

    def _search_from(self, node, parent):
        number, order, parents = self.number, self.order, self.parents
        objects, starts, edges, extra = self.objects, self.starts, self.edges, self.extra
        stack, from_stack = array("I", [node]), array("I", [parent])
        one = array("I", [0])
        while stack:
            node = stack.pop()
            parent = from_stack.pop()
            if number[node]:
                continue
            number[node] = mine = len(order)
            order.append(node)
            parents.append(parent)
            to = edges[starts[node]:starts[node + 1]] if node < objects else extra[node - objects]
            if to:
                stack.extend(to)
                one[0] = mine
                from_stack.extend(one * len(to))

    # Numbers of the nodes that point to each node, as slices of one array: predecessors[first[w]:first[w + 1]]. What nobody holds is
    # no reason for anything else to stay.
    def _find_predecessors(self):
        number, order = self.number, self.order
        nobody = number[self.nobody]
        count = array("Q", bytes(8 * (len(order) + 1)))
        for node in range(1, len(order)):
            least = nobody if node >= nobody else 0
            for to in self.successors(order[node]):
                if number[to] >= least:
                    count[number[to]] += 1
        # Filled from behind, so that in the end each place is where its slice begins.
        self.first = first = array("Q", accumulate(count))
        self.predecessors = predecessors = array("I", bytes(4 * first[-1]))
        for node in range(1, len(order)):
            least = nobody if node >= nobody else 0
            for to in self.successors(order[node]):
                to = number[to]
                if to >= least:
                    first[to] -= 1
                    predecessors[first[to]] = node

    # dominator: by number, the number of the immediate one.
    def _find_dominators(self):
        total = len(self.order)
        parents, predecessors, first = self.parents, self.predecessors, self.first
        semi = array("i", range(total))
        label = array("i", range(total))
        ancestor = array("i", bytes(4 * total))
        bucket = array("i", bytes(4 * total))  # first of those with this semidominator
        in_bucket = array("i", bytes(4 * total))  # next of them
        self.dominator = dominator = array("i", bytes(4 * total))

        def evaluate(node):
            above = ancestor[node]
            if above == 0:
                return node
            if ancestor[above] == 0:
                return label[node]
            path = []
            while ancestor[above] != 0:
                path.append(node)
                node = above
                above = ancestor[above]
            top = above
            best = label[node]
            best_semi = semi[best]
            for node in reversed(path):
                mine = label[node]
                if best_semi < semi[mine]:
                    label[node] = best
                else:
                    best = mine
                    best_semi = semi[mine]
                ancestor[node] = top
            return best

        for node in range(total - 1, 1, -1):
            least = semi[node]
            for before in predecessors[first[node]:first[node + 1]]:
                if before > node:
                    before = semi[evaluate(before)]
                if before < least:
                    least = before
            semi[node] = least
            in_bucket[node] = bucket[least]
            bucket[least] = node
            parent = parents[node]
            ancestor[node] = parent
            waiting = bucket[parent]
            bucket[parent] = 0
            while waiting != 0:
                best = evaluate(waiting)
                dominator[waiting] = best if semi[best] < semi[waiting] else parent
                waiting = in_bucket[waiting]
        for node in range(2, total):
            if dominator[node] != semi[node]:
                dominator[node] = dominator[dominator[node]]

    def _retain(self, sizes):
        order, dominator, objects = self.order, self.dominator, self.objects
        total = len(order)
        self.retained = retained = array("Q", bytes(8 * total))
        self.retained_objects = count = array("I", bytes(4 * total))
        for node in range(total - 1, 0, -1):
            if order[node] < objects:
                retained[node] += sizes[order[node]]
                count[node] += 1
            above = dominator[node]
            retained[above] += retained[node]
            count[above] += count[node]
        # By number, the first of the nodes it dominates and the next with the same dominator.
        self._child = child = array("i", bytes(4 * total))
        self._next = after = array("i", bytes(4 * total))
        for node in range(total - 1, 1, -1):
            after[node] = child[dominator[node]]
            child[dominator[node]] = node

    # --- questions, by node ---

    def retained_by(self, node):
        """(units, objects) that go when the node goes, itself included."""
        return self.retained[self.number[node]], self.retained_objects[self.number[node]]

    def dominator_of(self, node):
        return self.order[self.dominator[self.number[node]]]

    def children(self, node):
        """The nodes it dominates immediately, those that retain most first."""
        numbers = array("i")
        at = self._child[self.number[node]]
        while at != 0:
            numbers.append(at)
            at = self._next[at]
        return [self.order[number] for number in sorted(numbers, key=self.retained.__getitem__, reverse=True)]

    def child_count(self, node):
        at, count = self._child[self.number[node]], 0
        while at != 0:
            at = self._next[at]
            count += 1
        return count

    def referrers(self, node):
        """What points to it."""
        at = self.number[node]
        return [self.order[number] for number in self.predecessors[self.first[at]:self.first[at + 1]]]

    def chain(self, node):
        """Its dominators, from itself to the one below the root."""
        found = []
        while node != self.root:
            found.append(node)
            node = self.dominator_of(node)
        return found

    def shortest_path(self, node):
        """From what holds it to the node: the fewest steps."""
        came_from = {node: None}
        edge = [node]
        while edge:
            behind = []
            for at in edge:
                for before in self.referrers(at):
                    if before in came_from or before == self.root:
                        continue
                    came_from[before] = at
                    if before >= self.objects:
                        path = []
                        while before is not None:
                            path.append(before)
                            before = came_from[before]
                        return path
                    behind.append(before)
            edge = behind
        return [node]
