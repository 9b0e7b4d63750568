/* warren/leaks.h: blocks of malloc's that nothing points to any more.
 *
 * For programs that run with WARREN_CONF=gc=leaks, as `warren leaks -- PROG` starts them. C11 and C++20.
 */
#ifndef WARREN_LEAKS_H
#define WARREN_LEAKS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Looks for leaks now and reports them as at exit: grouped by the stack that allocated them, on stderr or
 * in the file that the option `leaks` names. The other threads stand still while their registers are read
 * and the process is copied, and run on while the copy is searched; the caller waits. Returns how many
 * blocks are lost, those included that only lost ones point to; 0: none; -1: the option is off, or it
 * cannot be found out (a line on stderr says why). A block that only this call's callers' registers or
 * dead parts of stacks point to may be missed; a block that is reported is lost. Any thread; not from a
 * signal handler. Source: LeakSanitizer's __lsan_do_recoverable_leak_check. */
int64_t wr_leak_check(void);

#ifdef __cplusplus
}
#endif

#endif
