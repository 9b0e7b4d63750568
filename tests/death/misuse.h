// What a case of misuse is: an act that ends in handing a bad pointer to a releaser. Shared by the acts,
// the table of cases (misuse_cases.cc), the victim that plays one case and the driver that judges it.
// Invariant: an act calls Deed::finish exactly once, with the bad pointer, as its last step; nothing an
// act does before that is an error. A victim puts nothing on the heap but what its act asks for, so
// that an act can tell which addresses are live.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace misuse {

// The categories of the fatal texts. A case may allow several where the allocator cannot tell them apart.
enum Category : unsigned {
  kDoubleFree = 1U << 0,
  kInvalidPointer = 1U << 1,
  kForeignPointer = 1U << 2,
  kAnyCategory = kDoubleFree | kInvalidPointer | kForeignPointer,
};

// A function that takes a pointer to a block: everything that must refuse a bad one.
struct Releaser {
  const char *name;
  const char *reported_as;  // the function the fatal text names
  bool (*available)();      // nullptr: always
  void (*call)(void *block, std::size_t size);
};

// Where a block comes from.
struct Origin {
  const char *name;
  void *(*make)(std::size_t size);
};

std::span<const Releaser> releasers();  // the first is plain free
std::span<const Origin> origins();      // the first is plain malloc

struct Deed {
  std::size_t size;
  const Releaser *releaser;
  const Origin *origin;

  // A block of `size` bytes from the origin, its first and last bytes written.
  char *make_block() const { return make_block(size); }
  char *make_block(std::size_t bytes) const;
  // Frees a block that may be freed.
  void free_rightly(void *block) const;
  // Says which pointer is to be misused (one line on stdout), then misuses it.
  void finish(void *bad) const;
};

using Act = void (*)(const Deed &);

enum class StderrState { kCaptured, kClosed, kBrokenPipe, kFullDevice };

struct ActRow {
  enum class Spread { kSizes, kSizesAndReleasers, kSizesAndOrigins, kOnce };
  const char *name;
  Act act;
  unsigned categories;
  Spread spread;
  std::size_t smallest = 0;  // the row makes no sense for blocks below this size
  StderrState stderr_state = StderrState::kCaptured;
  bool several_lines_allowed = false;  // more than one thread, or a handler, may reach the fatal path
};

std::span<const ActRow> double_free_rows();
std::span<const ActRow> bad_pointer_rows();
std::span<const ActRow> foreign_rows();
std::span<const ActRow> plight_rows();

struct MisuseCase {
  const ActRow *row;
  std::size_t size;
  const Releaser *releaser;
  const Origin *origin;

  std::string name() const;  // unique; letters, digits and _ only
};

// Every row multiplied by the sizes, releasers and origins it is spread over. For the driver only: it
// allocates, and a victim must not.
const std::vector<MisuseCase> &misuse_cases();

// For acts: ends the victim with the status for "cannot be played here".
[[noreturn]] void skip_case();
// For acts: the act itself went wrong, so the case proves nothing.
[[noreturn]] void act_failed(const char *why);
// Runs body(argument) on a new thread and waits for its end.
void run_on_thread(void (*body)(void *), void *argument);
// Writes a string to a descriptor, without stdio.
void say(int fd, const char *text);

}  // namespace misuse
