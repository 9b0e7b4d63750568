// See stack_trace.h. Walks by the unwind tables (call_frame_info.h) and keeps the rules it has read in a small cache.
// Code without tables (a JIT's) is walked by frame pointers, and from there on nothing is believed: every word is read by a
// system call that fails where a load would fault.
#include "inspect/stack_trace.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "inspect/call_frame_info.h"

#include <atomic>
#include <bit>
#include <ctime>
#include <link.h>

// glibc 2.35. Weak: on an older one there are no stacks.
extern "C" decltype(_dl_find_object) _dl_find_object __attribute__((weak));

namespace warren::inspect {
namespace {

// Rules by place. Two words without a lock: the second is the place's hash mixed with the first, so that halves of two
// writers do not fit together, and are read as a miss. More: nothing for most programs. Fewer: tables are read again, 200 ns each.
constexpr size_t kCachedRules = 8192;
struct CachedRule {
  // relaxed, both: they prove one another.
  std::atomic<uint64_t> rule, check;
};
WARREN_LARGE_TABLE CachedRule cached[kCachedRules];

uint64_t place_of(uintptr_t pc, const dl_find_object &object) {
  // With what was loaded there: another library may come to lie where one was.
  const uint64_t identity = address_of(object.dlfo_link_map) * 31 + address_of(object.dlfo_eh_frame);
  return (pc ^ identity * 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd;
}

// In code that is never unloaded the address alone says which.
uint64_t place_for_ever(uintptr_t pc) { return pc * 0xff51afd7ed558ccd; }

CachedRule &slot_of(uint64_t place) {
  static_assert(kCachedRules == uint64_t{1} << (64 - 51));
  return cached[place >> 51];
}

bool is_known(uint64_t place, FrameRule &rule) {
  const CachedRule &slot = slot_of(place);
  const uint64_t known = slot.rule.load(std::memory_order_relaxed);
  rule = std::bit_cast<FrameRule>(known);
  return (slot.check.load(std::memory_order_relaxed) ^ known) == place;
}

bool is_program(const dl_find_object &object) { return object.dlfo_link_map->l_name[0] == '\0'; }

// The program, this library and the libc that it needs.
bool is_for_ever(const dl_find_object &object) {
  const auto holds = [&object](const void *what) {
    return address_of(what) - address_of(object.dlfo_map_start) < address_of(object.dlfo_map_end) - address_of(object.dlfo_map_start);
  };
  return is_program(object) || holds(cached) || holds(reinterpret_cast<const void *>(&clock_gettime));
}

WARREN_NOINLINE FrameRule find_rule(uintptr_t pc, const dl_find_object &object) {
  const uint64_t place = is_for_ever(object) ? place_for_ever(pc) : place_of(pc, object);
  FrameRule rule;
  if (is_known(place, rule)) return rule;
  rule = rule_at(pc, object);
  const auto word = std::bit_cast<uint64_t>(rule);
  CachedRule &slot = slot_of(place);
  slot.rule.store(word, std::memory_order_relaxed);
  slot.check.store(word ^ place, std::memory_order_relaxed);
  return rule;
}

// More is no frame: it is a mistake.
constexpr uintptr_t kLargestFrame = uintptr_t{64} << 20;

class Walk {
 public:
  Walk(uintptr_t pc, uintptr_t rsp, uintptr_t rbp) : pc_(pc), rsp_(rsp), rbp_(rbp) {
    object_.dlfo_map_start = object_.dlfo_map_end = nullptr;  // none yet
  }

  uintptr_t pc() const { return pc_; }
  uintptr_t rsp() const { return rsp_; }

  // The object that holds pc(), or nullptr.
  const dl_find_object *object() {
    if (pc_ - address_of(object_.dlfo_map_start) < size_of_object()) return &object_;
    if (_dl_find_object(at_address<void>(pc_), &object_) == 0) return &object_;
    object_.dlfo_map_start = object_.dlfo_map_end = nullptr;
    return nullptr;
  }

  // How to go to the caller.
  FrameRule rule() {
    FrameRule rule;
    if (WARREN_LIKELY(is_known(place_for_ever(pc_), rule))) return rule;
    const dl_find_object *here = object();
    return here != nullptr ? find_rule(pc_, *here) : FrameRule{};
  }

  // To the caller. False: this was the outermost frame, or nobody knows.
  bool step() {
    const FrameRule rule = this->rule();
    uintptr_t cfa = 0;
    switch (rule.kind) {
      case FrameRule::Kind::kUnknown:
        // The collector's and the scheduler's own handlers return to code without a table.
        if (object() != nullptr && os_calls::returns_from_signal(at_address<void>(pc_ + 1))) return step_over_signal();
        return step_by_frame_pointer();
      case FrameRule::Kind::kEnd: return false;
      case FrameRule::Kind::kFromRsp: cfa = rsp_ + static_cast<uintptr_t>(int64_t{rule.cfa_offset}); break;
      case FrameRule::Kind::kFromRbp: cfa = rbp_ + static_cast<uintptr_t>(int64_t{rule.cfa_offset}); break;
      case FrameRule::Kind::kFromRbpSlot:
        if (!read(rbp_ + static_cast<uintptr_t>(int64_t{rule.cfa_offset}), cfa)) return false;
        return go_to(cfa) && read(rbp_, rbp_);
      case FrameRule::Kind::kPlt: cfa = rsp_ + ((pc_ & 15) >= 11 ? 16 : 8); break;
      case FrameRule::Kind::kSignal: return step_over_signal();
    }
    if (!go_to(cfa)) return false;
    return rule.rbp_words == FrameRule::kSameRbp || read(cfa + static_cast<uintptr_t>(int64_t{rule.rbp_words} * 8), rbp_);
  }

 private:
  uintptr_t size_of_object() const { return address_of(object_.dlfo_map_end) - address_of(object_.dlfo_map_start); }

  bool read(uintptr_t address, uintptr_t &word) {
    if ((address & 7) != 0) return false;
    if (WARREN_LIKELY(trusted_)) {
      word = *at_address<const uintptr_t>(address);
      return true;
    }
    return os_calls::copy_memory(os_calls::process_id(), &word, address, sizeof word) == sizeof word;
  }

  // The caller's frame begins at `cfa`, below which lies the address of its next instruction.
  bool go_to(uintptr_t cfa) {
    if (cfa - rsp_ - 1 >= kLargestFrame) return false;
    uintptr_t return_address;
    if (!read(cfa - 8, return_address) || return_address == 0) return false;
    pc_ = return_address - 1;
    rsp_ = cfa;
    return true;
  }

  bool step_by_frame_pointer() {
    trusted_ = false;
    const uintptr_t frame = rbp_;
    uintptr_t next;
    if (frame < rsp_ || !read(frame, next) || !go_to(frame + 16)) return false;
    rbp_ = next;
    return true;
  }

  // rsp is at the handler's ucontext: words of it.
  bool step_over_signal() {
    constexpr uintptr_t kRbp = 120, kRsp = 160, kRip = 168;
    uintptr_t rip, rsp, rbp;
    if (!read(rsp_ + kRip, rip) || !read(rsp_ + kRsp, rsp) || !read(rsp_ + kRbp, rbp) || rip == 0) return false;
    pc_ = rip;  // of the interrupted instruction itself; the handler's stack may lie anywhere
    rsp_ = rsp;
    rbp_ = rbp;
    return true;
  }

  uintptr_t pc_, rsp_, rbp_;
  bool trusted_ = true;
  dl_find_object object_;
};

struct OwnCode {
  uintptr_t start, end;
  bool contains(uintptr_t pc) const { return pc - start < end - start; }
};

// The ways from capture() out of this library. They are few, and half of the frames of most stacks, and the library is never
// unloaded: so they are kept, as what has to stand on the stack. Read without a lock: a way never changes once it is counted.
struct WayOut {
  static constexpr unsigned kMostFrames = 14;
  static constexpr uint32_t kSameRbp = UINT32_MAX;
  unsigned count;
  uint32_t rbp;                   // where the rbp of the first frame outside is saved: bytes above capture()'s rsp
  uint32_t place[kMostFrames];    // where return addresses are: likewise
  uintptr_t address[kMostFrames];
};
constexpr unsigned kMostWays = 8;
WayOut ways[kMostWays];
std::atomic<unsigned> way_count{0};
std::atomic<unsigned> last_way{0};  // relaxed: a guess
std::atomic<bool> adding_way{false};

// Each place is read only when the frames below it are those of the way, and so surely holds a return address.
bool stands_on(uintptr_t rsp, const WayOut &way) {
  for (unsigned i = 0; i < way.count; ++i) {
    if (*at_address<const uintptr_t>(rsp + way.place[i]) != way.address[i]) return false;
  }
  return true;
}

const WayOut *find_way(uintptr_t rsp) {
  const unsigned count = way_count.load(std::memory_order_acquire);  // pairs with the release in add_way()
  if (count == 0) return nullptr;
  const unsigned last = last_way.load(std::memory_order_relaxed);
  if (WARREN_LIKELY(stands_on(rsp, ways[last]))) return &ways[last];
  for (unsigned i = 0; i < count; ++i) {
    if (!stands_on(rsp, ways[i])) continue;
    last_way.store(i, std::memory_order_relaxed);
    return &ways[i];
  }
  return nullptr;
}

// Only where all frames are found from rsp alone: then the addresses say all.
WARREN_COLD void add_way(Walk walk, const OwnCode &own) {
  const unsigned count = way_count.load(std::memory_order_relaxed);
  if (count == kMostWays || adding_way.exchange(true, std::memory_order_acquire)) return;
  // Once more: another thread may have been quicker.
  if (count == way_count.load(std::memory_order_relaxed)) {
    WayOut &way = ways[count];
    way.count = 0;
    way.rbp = WayOut::kSameRbp;
    const uintptr_t rsp = walk.rsp();
    while (way.count < WayOut::kMostFrames) {
      const FrameRule rule = walk.rule();
      if (rule.kind != FrameRule::Kind::kFromRsp || !walk.step()) break;
      if (rule.rbp_words != FrameRule::kSameRbp) {
        way.rbp = static_cast<uint32_t>(walk.rsp() - rsp + static_cast<uintptr_t>(int64_t{rule.rbp_words} * 8));
      }
      way.place[way.count] = static_cast<uint32_t>(walk.rsp() - 8 - rsp);
      way.address[way.count++] = walk.pc() + 1;
      if (own.contains(walk.pc())) continue;
      way_count.store(count + 1, std::memory_order_release);  // pairs with the acquire in find_way()
      break;
    }
  }
  adding_way.store(false, std::memory_order_release);  // pairs with the exchange
}

}  // namespace

WARREN_NOINLINE unsigned capture(void **frames, unsigned most, unsigned skip) {
  if (_dl_find_object == nullptr) return 0;
  uintptr_t pc, rsp, rbp;
  asm volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2" : "=&r"(pc), "=&r"(rsp), "=&r"(rbp));
  unsigned count = 0;
  const auto add = [&](uintptr_t at) {
    if (skip != 0) {
      --skip;
    } else {
      frames[count++] = at_address<void>(at);
    }
  };
  Walk walk(pc, rsp, rbp);
  if (const WayOut *way = find_way(rsp)) {
    walk = Walk(way->address[way->count - 1] - 1, rsp + way->place[way->count - 1] + 8,
                way->rbp == WayOut::kSameRbp ? rbp : *at_address<const uintptr_t>(rsp + way->rbp));
    if (most != 0) add(walk.pc());
  } else {
    const dl_find_object *found = walk.object();
    if (found == nullptr) return 0;
    const OwnCode own{address_of(found->dlfo_map_start), address_of(found->dlfo_map_end)};
    // Linked into the program the library's own frames cannot be told from it: then only this function's is left out.
    bool inside = !is_program(*found);
    if (inside) add_way(walk, own);
    while (count < most && walk.step()) {
      inside = inside && own.contains(walk.pc());
      if (inside) continue;
      add(walk.pc());
      break;
    }
  }
  while (count < most && walk.step()) add(walk.pc());
  return count;
}

}  // namespace warren::inspect
