// What a contract case says while it runs: expectations, which fail it, and observations, which are compared
// between glibc and warren. Used by the cases; read by contract_test.cc from the victim's standard output.
// Invariant: nothing here allocates, so that a case's first call is the process's first; errno is kept.
#pragma once

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <unistd.h>

namespace contract {

inline constexpr int kErrnoBefore = 1789;  // no system has such an error

inline bool aligned_to(const void *pointer, size_t align) { return reinterpret_cast<uintptr_t>(pointer) % align == 0; }

class Report {
 public:
  // Counts as a failure of the case unless `holds`. Only the first lines are printed.
  __attribute__((format(printf, 3, 4))) void expect(bool holds, const char *format, ...) {
    if (holds || failures_++ > kPrintedFailures) return;
    va_list arguments;
    va_start(arguments, format);
    print("FAIL ", format, arguments);
    va_end(arguments);
  }

  // One line "seen name=value" for the comparison with glibc. A name may come several times.
  __attribute__((format(printf, 2, 3))) void observe(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print("seen ", format, arguments);
    va_end(arguments);
  }

  // The usual observation of a call that returns a pointer: NULL or a block, whether the block has the
  // alignment asked for, and errno.
  void observe_block(const char *name, const void *block, size_t align) {
    const int error = errno;
    observe("%s=%s errno %d", name, block == nullptr ? "NULL" : aligned_to(block, align) ? "block" : "misaligned", error);
  }

  int failures() const { return failures_; }

 private:
  static constexpr int kPrintedFailures = 20;

  // A line at a time, so that what was said before a crash is seen.
  void print(const char *prefix, const char *format, va_list arguments) {
    const int error = errno;
    char line[1024];
    size_t length = static_cast<size_t>(snprintf(line, sizeof line, "%s", prefix));
    length += static_cast<size_t>(vsnprintf(line + length, sizeof line - length, format, arguments));
    if (length >= sizeof line - 1) length = sizeof line - 2;
    line[length++] = '\n';
    if (write(STDOUT_FILENO, line, length) != static_cast<ssize_t>(length)) ++failures_;
    errno = error;
  }

  int failures_ = 0;
};

struct Case {
  int number;  // as in the project's list of bad inputs; kFirstCall and kWhole for what is not on it
  const char *name;
  void (*run)(Report &);
};

inline constexpr int kListedCases = 36;
inline constexpr int kFirstCall = 37;  // one function as the first of a process
inline constexpr int kWhole = 38;      // the family as a whole

// Each ends with a row whose name is nullptr.
extern const Case size_cases[];
extern const Case realloc_cases[];
extern const Case alignment_cases[];
extern const Case other_cases[];
extern const Case libc_cases[];
extern const Case first_call_cases[];
extern const Case cxx_cases[];  // in the victim that has a C++ runtime

}  // namespace contract
