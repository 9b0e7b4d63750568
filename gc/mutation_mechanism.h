// What a mechanism implements, and what all of them use. Callers: mutation.cc and the mutation_*.cc.
// Invariant: the contracts are those of mutation.h; what is said there about threads holds here.
#pragma once

#include "gc/mutation.h"

namespace warren::gc::mutation {

struct Operations {
  bool (*open)();                           // false: the kernel does not have it; close() has been done
  void (*close)();                          // right after open() and its trial
  bool (*cover)(Range range);
  bool (*watch)(Range range);
  bool (*for_each_dirty)(Range in, bool clear, Visit visit, void *context);
  void (*unwatch)();
  void (*reset_in_child)();                 // nothing is watched here, and what is open is the parent's
  bool (*store_by_system_call)(void *to);   // eight bytes, for the self-test; nullptr where such stores fail
  bool clears;                              // whether `clear` is heeded
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

// A file descriptor that the program is not to notice: on a high number, closed by exec. The program may close it all the same
// (closefrom), and open something else on the number.
class KeptDescriptor {
 public:
  // Takes a fresh descriptor (a negative errno is no descriptor). False: there is none.
  bool keep(long fd);

  // One opened a moment ago.
  void close();

  // One of long ago, unless the number stands for something else by now. `ours` says so without doing harm.
  void close_if(bool (*ours)(int fd));

  int number() const { return number_; }

 private:
  int number_ = -1;
};

// Eight bytes for each OS page of the process, by page number.
inline constexpr char kPagemapPath[] = "/proc/self/pagemap";

}  // namespace warren::gc::mutation
