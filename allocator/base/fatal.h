// One function for each way in which the heap ends the process, or with abort_on_error=0 reports
// and goes on. Callers: misuse.cc for the user's errors, CHECK for ours.
// The texts are stable: tests/death compares them. One line on stderr, then SIGABRT.
//
//   warren: fatal error: double free: free(0x55d0c0ffee00): <why>; aborting
//   warren: fatal error: invalid pointer: free(0x55d0c0ffee08): <why>; aborting
//   warren: fatal error: foreign pointer: free(0x7ffc12345678): <why>; aborting
//   warren: fatal error: write after free: gc_poison(0x55d0c0ffee00): <why>; aborting
//   warren: fatal error: gc_verify: <which object, reached from where>; aborting
//   warren: fatal error: check failed: <condition> at <file>:<line>; aborting
//   warren: fatal error: lock order: taking <lock> while holding <ranks>; aborting
//   warren: fatal error: no std::bad_alloc: <why>; aborting
//   warren: fatal error: no next malloc: the process has no other <function> to pass the call on to; aborting
//
// With abort_on_error=0 the first four say "error" and "ignored" instead, and return.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::fatal {

// The user's errors. `function` is the public function that was called with `pointer`.
void double_free_block(const char *function, const void *pointer, size_t block_size);
void double_free_pages(const char *function, const void *pointer);
void double_free_raced(const void *pointer, size_t block_size);
void interior_pointer(const char *function, const void *pointer, size_t offset, size_t block_size);
void misaligned_pointer(const char *function, const void *pointer);
void unused_pages(const char *function, const void *pointer);
void collected_object(const char *function, const void *pointer);
void not_collected(const char *function, const void *pointer);
void foreign_pointer(const char *function, const void *pointer);
void write_after_free(const void *object, size_t size, size_t offset);

// Ours.
[[noreturn]] void check_failed(const char *condition, const char *file, int line);
[[noreturn]] void missed_mark(const void *object, size_t size, const void *reached_from);
[[noreturn]] void lock_order(const char *taking, uint64_t held_ranks);
[[noreturn]] void no_bad_alloc(const char *why);
[[noreturn]] void no_next_function(const char *name);

// Whether the user's errors end the process; set from the option abort_on_error.
void set_abort_on_error(bool abort_on_error);

}  // namespace warren::fatal
