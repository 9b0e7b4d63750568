// See leak_groups.h. The lost blocks are a graph. Each in turn that nobody has taken takes all that can be reached from it and
// nobody has taken yet. So none of the takers is reached by an earlier one. Once more with the last taker first: who is not
// taken then is reached by no other at all, and one block stands for each ring that nothing else points into. (Kosaraju's way to
// strongly connected components, of which only the sources are wanted.)
#include "inspect/leak_groups.h"

#include "allocator/base/address.h"
#include "gc/mappings.h"
#include "inspect/block_origins.h"
#include "inspect/heap_blocks.h"
#include "inspect/reach.h"

namespace warren::inspect::leak_groups {
namespace {

using heap_blocks::HeapBlock;

constexpr uint32_t kNobody = 0xffffffff;

struct Lost {
  uintptr_t start;
  size_t bytes;     // that the heap has given it
  uint32_t holder;  // who has taken it: in the end the leak that holds it, which holds itself
};

gc::PagedArray<Lost> lost;         // in the order of addresses
gc::PagedArray<uint32_t> takers;  // in their order
gc::PagedArray<uint32_t> work;
gc::PagedArray<uint32_t> places;   // group of each stack, plus 1
gc::PagedArray<Group> found_groups;
uint64_t live = 0;
bool out_of_memory = false;

uint32_t find_lost(uintptr_t word) {
  HeapBlock block;
  if (!heap_blocks::find(word, block) || reach::is_reached(block.start)) return kNobody;
  size_t low = 0, high = lost.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (lost[middle].start < block.start) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < lost.size() && lost[low].start == block.start ? static_cast<uint32_t>(low) : kNobody;
}

template <class Visit>
void for_each_pointed_to(const Lost &from, Visit visit) {
  for (uintptr_t at = from.start; at + sizeof at <= from.start + from.bytes; at += sizeof at) {
    const uint32_t other = find_lost(*at_address<const uintptr_t>(at));
    if (other != kNobody) visit(other);
  }
}

void take_all_from(uint32_t leak) {
  lost[leak].holder = leak;
  out_of_memory |= !work.push_back(leak);
  while (work.size() != 0) {
    const uint32_t number = work[work.size() - 1];
    work.shrink(work.size() - 1);
    for_each_pointed_to(lost[number], [leak](uint32_t other) {
      if (lost[other].holder != kNobody) return;
      lost[other].holder = leak;
      out_of_memory |= !work.push_back(other);
    });
  }
}

Group &group_of(uint32_t stack) {
  uint32_t &place = places[stack];
  if (place == 0) {
    if (!found_groups.push_back({stack, false, {}, {}, {}})) {
      out_of_memory = true;
      return found_groups[0];
    }
    place = static_cast<uint32_t>(found_groups.size());
  }
  return found_groups[place - 1];
}

uint64_t size_of(const Lost &block, block_origins::Origin origin) {
  return origin.size != 0 && origin.size <= block.bytes ? origin.size : block.bytes;
}

}  // namespace

bool find(bool (*suppress)(uint32_t stack)) {
  uint32_t highest_stack = 0;
  heap_blocks::for_each([&highest_stack](HeapBlock block) {
    ++live;
    if (reach::is_reached(block.start)) return;
    out_of_memory |= !lost.push_back({block.start, block.bytes, kNobody});
    const uint32_t stack = block_origins::of(block.start).stack;
    if (stack > highest_stack) highest_stack = stack;
  });
  if (out_of_memory || !places.reserve(highest_stack + size_t{1}) || !found_groups.reserve(1)) return false;

  for (uint32_t i = 0; i < lost.size(); ++i) {
    if (lost[i].holder != kNobody) continue;
    take_all_from(i);
    out_of_memory |= !takers.push_back(i);
  }
  for (Lost &block : lost) block.holder = kNobody;
  for (size_t i = takers.size(); i-- > 0;) {
    if (lost[takers[i]].holder == kNobody) take_all_from(takers[i]);
  }
  if (out_of_memory) return false;

  for (uint32_t i = 0; i < lost.size(); ++i) {
    if (lost[i].holder != i) continue;
    const block_origins::Origin origin = block_origins::of(lost[i].start);
    Group &group = group_of(origin.stack);
    if (group.direct.blocks == 0) group.suppressed = suppress(origin.stack);
    group.direct.add(size_of(lost[i], origin));
  }
  for (uint32_t i = 0; i < lost.size(); ++i) {
    if (lost[i].holder == i) continue;
    const block_origins::Origin origin = block_origins::of(lost[i].start);
    const uint64_t size = size_of(lost[i], origin);
    Group &holder = group_of(block_origins::of(lost[lost[i].holder].start).stack);
    holder.held.add(size);
    if (!holder.suppressed) group_of(origin.stack).indirect.add(size);
  }
  return !out_of_memory;
}

gc::PagedArray<Group> &groups() { return found_groups; }
uint64_t live_blocks() { return live; }

}  // namespace warren::inspect::leak_groups
