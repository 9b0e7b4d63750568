// See unforked.h.
#include "inspect/unforked.h"

#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"
#include "gc/paged_array.h"
#include "inspect/maps_file.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>

namespace warren::inspect::unforked {
namespace {

struct Range {
  uintptr_t low, high;
};

// With room from the beginning: what is mapped between the copy and the look at it would count as missing.
gc::PagedArray<Range> of_program, lent;
gc::PagedArray<uintptr_t> of_copy;  // where they begin
gc::PagedArray<char> text;
bool ready = false;
constexpr size_t kMostMappings = size_t{1} << 17, kMostText = size_t{16} << 20;

LogLine file_of(uint64_t process, const char *name) {
  LogLine path;
  path << "/proc/" << process << "/" << name;
  path.text("", 1);
  return path;
}

// In pages. 0: unknown.
uint64_t mapped_pages(uint64_t process) {
  const LogLine path = file_of(process, "statm");
  const long fd = os_calls::open(path.data(), O_RDONLY);
  if (os_calls::failed(fd)) return 0;
  char digits[32] = {};
  const long got = os_calls::read(static_cast<int>(fd), digits, sizeof digits - 1);
  os_calls::close(static_cast<int>(fd));
  uint64_t pages = 0;
  for (long i = 0; i < got && digits[i] >= '0' && digits[i] <= '9'; ++i) pages = pages * 10 + static_cast<uint64_t>(digits[i] - '0');
  return pages;
}

bool read(uint64_t process, bool (*add)(const Mapping &mapping, void *context)) {
  text.clear();
  return read_maps(file_of(process, "maps").data(), text, add, nullptr);
}

}  // namespace

void prepare() {
  ready = of_program.reserve(kMostMappings) && lent.reserve(kMostMappings) && of_copy.reserve(kMostMappings) && text.reserve(kMostText);
}

void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context) {
  visit(address_of(of_program.begin()), address_of(of_program.begin()) + of_program.capacity_bytes(), context);
  visit(address_of(lent.begin()), address_of(lent.begin()) + lent.capacity_bytes(), context);
  visit(address_of(of_copy.begin()), address_of(of_copy.begin()) + of_copy.capacity_bytes(), context);
  visit(address_of(text.begin()), address_of(text.begin()) + text.capacity_bytes(), context);
}

namespace {

// Whether a copy has less mapped than the program.
bool is_missing(uint64_t copy) {
  const uint64_t there = mapped_pages(copy);
  return there != 0 && there < mapped_pages(os_calls::process_id());
}

// Lets the next fork have what that copy lacks. False: nothing of it can be had.
bool lend(uint64_t copy) {
  of_program.clear();
  of_copy.clear();
  lent.clear();
  const auto add_program = [](const Mapping &mapping, void *) {
    return of_program.size() < kMostMappings && of_program.push_back({mapping.low, mapping.high});
  };
  const auto add_copy = [](const Mapping &mapping, void *) { return of_copy.size() < kMostMappings && of_copy.push_back(mapping.low); };
  if (!ready || !read(os_calls::process_id(), add_program) || !read(copy, add_copy)) return false;
  size_t at = 0;
  for (const Range &range : of_program) {
    while (at < of_copy.size() && of_copy[at] < range.low) ++at;
    if (at < of_copy.size() && of_copy[at] == range.low) continue;
    // Refused for memory of devices, which holds nothing for us.
    void *start = at_address<void>(range.low);
    if (!os_calls::failed(os_calls::madvise(start, range.high - range.low, MADV_DOFORK))) lent.push_back(range);
  }
  return lent.size() != 0;
}

void take_back() {
  for (const Range &range : lent) os_calls::madvise(at_address<void>(range.low), range.high - range.low, MADV_DONTFORK);
}

void await_leave(std::atomic<uint32_t> &leave) {
  constexpr uint64_t kLook = 300'000'000;
  // acquire: pairs with the release of who copied.
  for (const uint64_t patience = os_calls::now() + kPatience; leave.load(std::memory_order_acquire) == 0;) {
    if (os_calls::now() > patience) os_calls::end_process(1);
    os_calls::futex_wait_shared(os_calls::futex_word(leave), 0, kLook);
  }
}

}  // namespace

long copy_whole(std::atomic<uint32_t> &leave) {
  long copy = os_calls::copy_process();
  if (os_calls::failed(copy)) return copy;
  if (const auto id = static_cast<uint64_t>(copy); copy != 0 && is_missing(id) && lend(id)) {
    const long whole = os_calls::copy_process();
    if (whole != 0) take_back();
    if (whole == 0) {
      copy = 0;
    } else if (!os_calls::failed(whole)) {
      os_calls::send_signal(id, static_cast<uint32_t>(id), SIGKILL);
      int status;
      while (os_calls::wait_for(id, &status, false) == -EINTR) {
      }
      copy = whole;
    }
  }
  if (copy == 0) {
    await_leave(leave);
    return 0;
  }
  leave.store(1, std::memory_order_release);  // pairs with the acquire in await_leave()
  os_calls::futex_wake_shared(os_calls::futex_word(leave), 1);
  return copy;
}

}  // namespace warren::inspect::unforked
