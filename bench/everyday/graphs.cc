// Claim: work on large graphs held as a list of edges for each vertex: built edge by edge, searched, copied and contracted.
// Held constant: three graphs of 130,000, 170,000 and 210,000 vertices, each joined to up to five, most of which have many edges already;
// breadth first, shortest paths by a set with nodes of 48 bytes, 3,000 hash sets of neighbours and their neighbours, then in a copy lists
// that are poured into others and released. Unit: one graph. Run by bench/run.py.
#include <deque>
#include <set>
#include <unordered_set>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr std::uint32_t kGraphs = 3;
constexpr std::uint32_t kVertices = 130'000;
constexpr std::uint32_t kMoreVertices = 40'000;
constexpr std::uint32_t kDegree = 5;
constexpr int kSample = 3'000;
constexpr std::size_t kNeighbours = 50;
constexpr std::size_t kLongest = 2'000;

workload::Random generator(0x1357924680acebdfULL);

std::uint64_t next_random() { return generator.next(); }

struct Edge {
  std::uint32_t to;
  std::uint32_t weight;
};

using Graph = std::vector<std::vector<Edge>>;

// Two of three edges go to a vertex by the number of edges that it has: a few vertices get long lists.
Graph make(std::uint32_t vertices) {
  Graph graph(vertices);
  std::vector<std::uint32_t> ends;
  for (std::uint32_t from = 1; from < vertices; ++from) {
    for (std::uint32_t k = 0; k < kDegree; ++k) {
      const bool anywhere = ends.empty() || next_random() % 3 == 0;
      const std::uint32_t to = anywhere ? static_cast<std::uint32_t>(next_random() % from) : ends[next_random() % ends.size()];
      if (to == from) continue;
      const std::uint32_t weight = 1 + static_cast<std::uint32_t>(next_random() % 100);
      graph[from].push_back({to, weight});
      graph[to].push_back({from, weight});
      ends.push_back(to);
      ends.push_back(from);
    }
  }
  return graph;
}

std::uint64_t breadth_first(const Graph &graph, std::uint32_t start) {
  std::vector<int> distances(graph.size(), -1);
  std::deque<std::uint32_t> queue{start};
  distances[start] = 0;
  std::uint64_t sum = 0;
  while (!queue.empty()) {
    const std::uint32_t vertex = queue.front();
    queue.pop_front();
    sum += static_cast<std::uint64_t>(distances[vertex]) * (vertex + 1);
    for (const Edge &edge : graph[vertex]) {
      if (distances[edge.to] < 0) {
        distances[edge.to] = distances[vertex] + 1;
        queue.push_back(edge.to);
      }
    }
  }
  return sum;
}

// Dijkstra's, with a node of a set for each open vertex.
std::uint64_t shortest_paths(const Graph &graph, std::uint32_t start) {
  std::vector<std::uint64_t> distances(graph.size(), UINT64_MAX);
  std::set<std::pair<std::uint64_t, std::uint32_t>> open;
  distances[start] = 0;
  open.insert({0, start});
  std::uint64_t sum = 0;
  while (!open.empty()) {
    const auto [distance, vertex] = *open.begin();
    open.erase(open.begin());
    sum += distance * (vertex % 97 + 1);
    for (const Edge &edge : graph[vertex]) {
      if (distance + edge.weight < distances[edge.to]) {
        if (distances[edge.to] != UINT64_MAX) open.erase({distances[edge.to], edge.to});
        distances[edge.to] = distance + edge.weight;
        open.insert({distances[edge.to], edge.to});
      }
    }
  }
  return sum;
}

// The neighbours, and up to 50 neighbours of each, of a sample of vertices.
std::uint64_t neighbourhoods(const Graph &graph) {
  std::uint64_t sum = 0;
  for (int i = 0; i < kSample; ++i) {
    const auto vertex = static_cast<std::uint32_t>(next_random() % graph.size());
    std::unordered_set<std::uint32_t> seen;
    for (const Edge &edge : graph[vertex]) {
      seen.insert(edge.to);
      std::size_t count = 0;
      for (const Edge &further : graph[edge.to]) {
        seen.insert(further.to);
        if (++count == kNeighbours) break;
      }
    }
    sum = sum * 31 + seen.size();
  }
  return sum;
}

// Contracts random pairs: the shorter list is poured into the longer and released.
std::uint64_t contract(Graph &graph) {
  std::vector<std::uint32_t> merged_into(graph.size());
  for (std::uint32_t i = 0; i < merged_into.size(); ++i) merged_into[i] = i;
  const auto find = [&](std::uint32_t vertex) {
    while (merged_into[vertex] != vertex) {
      merged_into[vertex] = merged_into[merged_into[vertex]];
      vertex = merged_into[vertex];
    }
    return vertex;
  };
  std::uint64_t merged = 0;
  for (std::size_t k = 0; k < graph.size(); ++k) {
    std::uint32_t longer = find(static_cast<std::uint32_t>(next_random() % graph.size()));
    if (graph[longer].empty()) continue;
    std::uint32_t shorter = find(graph[longer][next_random() % graph[longer].size()].to);
    if (shorter == longer || graph[shorter].size() + graph[longer].size() > kLongest) continue;
    if (graph[shorter].size() > graph[longer].size()) std::swap(shorter, longer);
    for (const Edge &edge : graph[shorter]) {
      const std::uint32_t to = find(edge.to);
      if (to != shorter && to != longer) graph[longer].push_back({to, edge.weight});
    }
    std::vector<Edge>().swap(graph[shorter]);
    merged_into[shorter] = longer;
    ++merged;
    if (merged % 16 == 0) graph[longer].shrink_to_fit();
  }
  std::uint64_t sum = merged;
  for (const std::vector<Edge> &edges : graph) sum = sum * 31 + edges.size();
  return sum;
}

}  // namespace

int main() {
  std::uint64_t checksum = 0;
  for (std::uint32_t number = 0; number < kGraphs; ++number) {
    const Graph graph = make(kVertices + number * kMoreVertices);
    checksum = checksum * 31 + breadth_first(graph, 0);
    checksum = checksum * 31 + shortest_paths(graph, 1);
    checksum = checksum * 31 + neighbourhoods(graph);
    Graph copy = graph;
    checksum = checksum * 31 + contract(copy);
    checksum = checksum * 31 + breadth_first(graph, static_cast<std::uint32_t>(next_random() % graph.size()));
  }
  workload::report(kGraphs, checksum);
}
