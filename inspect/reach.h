// Which blocks of malloc's anything leads to. Marks from ranges of roots; words that point anywhere into a live block
// keep it. Memory that the program has mapped by itself counts as one block for each mapping: it is searched once
// something points there. (Interpreters keep their objects in such memory, and from there point to what they have from
// malloc.)
//
// Caller: leak_roots.cc gives it roots and mappings, leak_groups.cc and reclaim.cc ask; stuck_fibers.cc does
// both. In a copy of the process.
// Invariant: marks lie in memory of their own; the heap is read and never written to.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::inspect::reach {

// What a word that points just behind a block keeps: with kFew, an array of no elements, which C++ makes with its count before
// the pointer that the program has; with kAll, any block. (Leaks are to be found to the block, so not every neighbour keeps one.)
enum class EndPointers { kFew, kAll };

// False: no memory.
bool prepare(EndPointers ends);

// A mapping, or the stack of a fiber, to be searched when something points into it. All of them, in any order, then
// index_mappings(), then the first root.
void add_mapping(uintptr_t low, uintptr_t high);
void index_mappings();

// Roots: memory that can be read as it is; and any memory, where only pages that hold anything are looked at.
void scan_range(uintptr_t low, uintptr_t high);
void scan_touched(uintptr_t low, uintptr_t high);

// One word; and a block that is reached but not searched.
void scan_word(uintptr_t word);
void keep_unsearched(uintptr_t word);

// Follows everything that was found so far.
void finish();

bool is_reached(uintptr_t block);
// Of any address: by the block or the mapping around it. What lies in neither counts as reached, but not free memory.
bool is_reached_around(uintptr_t address);
bool ran_out_of_memory();

}  // namespace warren::inspect::reach
