/* warren/leaks.h: blocks of malloc's that nothing points to any more, and fibers that nothing can ever wake.
 *
 * Blocks: for programs that run with WARREN_CONF=gc=leaks, as `warren leaks -- PROG` starts them. C11 and C++20.
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

/* Looks for fibers that wait for something that nobody can come by any more: a channel, a mutex, a wait group and the
 * like to which nothing leads but the stacks of such fibers. Reports them on stderr, grouped by where they wait, as the
 * option `stuck` has it done when a run ends. The program stands still as for wr_leak_check, and no option is needed.
 * Returns how many there are, 0 where no run is under way, -1: it cannot be found out (a line on stderr says why). A
 * fiber that is reported is stuck; one may be missed because an old word somewhere looks like the address of what it
 * waits for. Any fiber or thread; not from a signal handler. Source: Go's goroutine leak profile. */
int64_t wr_stuck_check(void);

#ifdef __cplusplus
}
#endif

#endif
