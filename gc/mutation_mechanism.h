// What a mechanism implements, and what all of them use. Callers: mutation.cc and the mutation_*.cc.
// Invariant: the contracts are those of mutation.h; what is said there about threads holds here.
#pragma once

#include "allocator/base/os_calls.h"
#include "gc/mutation.h"

namespace warren::gc::mutation {

struct Operations {
  bool (*open)();                           // false: the kernel does not have it; close() has been done
  void (*close)();                          // nothing is watched
  bool (*cover)(Range range);
  bool (*watch)(Range range);
  bool (*for_each_dirty)(Range in, bool clear, Visit visit, void *context);
  void (*unwatch)();
  void (*reset_in_child)();                 // and close(): what is open is the parent's, and nothing is asked of it
  bool (*store_by_system_call)(void *to);   // eight bytes, for the self-test; nullptr where such stores fail
  bool clears;                              // whether `clear` is heeded
  bool (*lift)(Range range);                // nullptr where nothing can stay watched between cycles
  void (*lifted_all)();
};

namespace userfault {
extern const Operations operations;
}
namespace soft_dirty {
extern const Operations operations;
}
namespace protect {
extern const Operations operations;
}

// A file descriptor that the program is not to notice: on a high number, closed by exec. The program may close it all
// the same (closefrom), and open something else on the number.
class KeptDescriptor {
 public:
  // Takes a fresh descriptor (a negative errno is no descriptor). False: there is none.
  bool keep(long fd);

  // Unless the number stands for something else by now.
  void close();

  // Whether the number still stands for what was kept.
  bool is_open() const;

  int number() const { return number_; }

 private:
  int number_ = -1;
  os_calls::FileIdentity identity_{};
};

// Eight bytes for each OS page of the process, by page number.
inline constexpr char kPagemapPath[] = "/proc/self/pagemap";

}  // namespace warren::gc::mutation
