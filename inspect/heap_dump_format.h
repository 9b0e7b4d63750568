// The file that a heap dump is: a header, and sections that are arrays of fixed-size items, or text. Little endian.
//
//   FileHeader     names the sections, with where they are
//   facts          text, lines "name value": process, time, shape of the heap
//   maps           text of /proc/self/maps: what an address outside of the heap belongs to
//   command        the program's arguments, each with a NUL behind it
//   spans          SpanItem, by address: every span, free ones too
//   classes        uint32_t: the object size of each size class
//   addresses      uint64_t by object; objects are numbered from 0 in the order of their addresses
//   sizes          uint32_t by object, in units of 8 bytes
//   kinds          uint8_t by object: ObjectKind
//   edge_counts    uint32_t by object: how many of `edges` are its own
//   edges          uint32_t, the objects that each object's words point to or into, object by object
//   groups         GroupItem: what holds roots
//   roots          RootItem: words outside of the heap that point to or into an object
//   samples        SampleItem: objects of which the heap profile knows where they were allocated
//   stacks         uint64_t: for each stack its number, how many frames it has, and the frames, innermost first
//   names          text that GroupItem::name_at points into
//
// Callers: heap_dump.cc writes it, inspect/viewer/heap_file.py reads it.
// Invariant: the header is written last, so a file that was not finished does not begin with the magic.
#pragma once

#include <cstdint>

namespace warren::inspect {

enum class SectionKind : uint32_t {
  kFacts = 1, kMaps, kCommand, kSpans, kClasses, kAddresses, kSizes, kKinds, kEdgeCounts, kEdges, kGroups, kRoots, kNames,
  kSamples, kStacks
};
inline constexpr uint32_t kSections = 15;

struct Section {
  SectionKind kind;
  uint32_t item_bytes;
  uint64_t offset;
  uint64_t bytes;
};

struct FileHeader {
  char magic[8];
  uint32_t version;
  uint32_t section_count;
  Section sections[kSections];
};
inline constexpr char kMagic[9] = "WRHEAP\r\n";
inline constexpr uint32_t kVersion = 2;

enum class ObjectKind : uint8_t { kMalloc, kCollected, kCollectedNoscan };

struct SpanItem {
  uint64_t start;
  uint32_t pages;
  uint32_t first_object;  // number of its first live object
  uint32_t objects;       // live ones
  uint8_t state;          // SpanState
  uint8_t size_class;     // 0: one large object
  uint8_t released;       // of free ones: no memory stands behind it
  uint8_t noscan;
  uint64_t age;           // ns, at most: of the span, and so of what is in it; 0: unknown
};
static_assert(sizeof(SpanItem) == 32);

enum class GroupKind : uint32_t { kData, kRuntime, kThread, kFiber, kFinalizers };

struct GroupItem {
  GroupKind kind;
  uint32_t name_at;  // of a thread or a fiber: its name, NUL behind it
  uint64_t id;       // of a thread: the kernel's; of a fiber: its own
  uint64_t low, high;
};
static_assert(sizeof(GroupItem) == 32);

struct RootItem {
  uint64_t address;  // of the word
  uint32_t group;
  uint32_t object;
};
static_assert(sizeof(RootItem) == 16);

struct SampleItem {
  uint32_t object;
  uint32_t stack;
  uint64_t asked;  // bytes
  uint64_t age;    // ns
  double weight;   // allocations that it stands for
};
static_assert(sizeof(SampleItem) == 32);

}  // namespace warren::inspect
