// What a contract case says while it runs: expectations, which fail it, and observations, which are compared
// between glibc and warren. Used by the cases; printed by victim.cc.
// Invariant: nothing here allocates, so that a case's first call is the process's first.
#pragma once

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace contract {

inline constexpr int kErrnoBefore = 1789;  // no system has such an error

class Report {
 public:
  // Counts as a failure of the case unless `holds`.
  __attribute__((format(printf, 3, 4))) void expect(bool holds, const char *format, ...) {
    if (holds || failures_++ > 20) return;
    va_list arguments;
    va_start(arguments, format);
    add("FAIL ", format, arguments);
    va_end(arguments);
  }

  // One line "name=value" for the comparison with glibc.
  __attribute__((format(printf, 2, 3))) void observe(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add("", format, arguments);
    va_end(arguments);
  }

  // The usual observation of a call that returns a pointer: whether it is NULL, and errno.
  void observe_pointer(const char *name, const void *pointer) {
    const int error = errno;
    observe("%s=%s errno %d", name, pointer != nullptr ? "block" : "NULL", error);
    errno = error;
  }

  int failures() const { return failures_; }
  const char *text() const { return text_; }
  size_t length() const { return length_; }

 private:
  void add(const char *prefix, const char *format, va_list arguments) {
    const int error = errno;
    length_ += static_cast<size_t>(snprintf(text_ + length_, sizeof text_ - length_, "%s", prefix));
    if (length_ < sizeof text_) length_ += static_cast<size_t>(vsnprintf(text_ + length_, sizeof text_ - length_, format, arguments));
    if (length_ < sizeof text_) length_ += static_cast<size_t>(snprintf(text_ + length_, sizeof text_ - length_, "\n"));
    if (length_ >= sizeof text_) length_ = sizeof text_ - 1;
    errno = error;
  }

  char text_[32768] = {};
  size_t length_ = 0;
  int failures_ = 0;
};

struct Case {
  int number;  // as in the project's list of bad inputs
  const char *name;
  void (*run)(Report &);
};

extern const Case size_cases[];
extern const Case alignment_cases[];
extern const Case other_cases[];
extern const Case cxx_cases[];  // in the victim that has a C++ runtime

inline bool aligned_to(const void *pointer, size_t align) { return reinterpret_cast<uintptr_t>(pointer) % align == 0; }

}  // namespace contract
