/* warren/profile.h: the heap profile.
 *
 * Which stacks of the program allocate how much, and how much of that is still there: sampled by bytes, so that it costs next
 * to nothing, and written in the format of pprof (`go tool pprof -top FILE`, `-http=:8080 FILE`). Without any call:
 * WARREN_CONF=prof=FILE, or `warren profile -- PROG`. C11 and C++20.
 */
#ifndef WARREN_PROFILE_H
#define WARREN_PROFILE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Samples from now on, one allocation in about `rate` bytes; 0: at the rate that the key prof_rate has (512 KiB). What was
 * allocated before is not in the profile. Called again it changes the rate. Any thread. Source: Go's MemProfileRate. */
void wr_profile_start(uint64_t rate);

/* No more samples; what has been gathered stays, and blocks that are freed leave it. Any thread. */
void wr_profile_stop(void);

/* Writes the profile as it is now: allocated since the start, and in use. The file appears whole or not at all. 0; ENODATA when
 * sampling never started; else the error of the system call that failed. Any thread; not from a signal handler (see the key
 * prof_signal). Source: Go's pprof.WriteHeapProfile. */
int wr_profile_dump(const char *path);

#ifdef __cplusplus
}
#endif

#endif
