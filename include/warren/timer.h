/* warren/timer.h: timers and tickers in C. Part of warren/scheduler.h; warren/timer_cxx.h is the C++ face.
 *
 * A timer sends the time, nanoseconds of CLOCK_MONOTONIC as int64_t, over a channel of its own, or runs a function on
 * a fiber. As in Go since 1.23, nothing of the past is received after stop or reset: a time that was sent and not yet
 * received is taken back, and counts as pending.
 */
#ifndef WARREN_TIMER_H
#define WARREN_TIMER_H

#include <warren/channel.h>

#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wr_timer wr_timer;

/* Each is pending at once, and has one reference. NULL: no memory; for a ticker also a period of 0 or less. Source:
 * time.NewTimer, time.NewTicker. A tick that nobody has received when the next is due is not sent again. */
wr_timer *wr_timer_make(int64_t duration);
wr_timer *wr_ticker_make(int64_t period);

/* Runs fn(argument) on a fiber of its own; where no run is under way, on a thread of its own. drop(argument), if not
 * NULL, is called when the last reference is gone and fn will not run any more. Source: time.AfterFunc. */
wr_timer *wr_timer_make_func(int64_t duration, void (*fn)(void *argument), void *argument,
                              void (*drop)(void *argument));

void wr_timer_ref(wr_timer *t);
/* Without references a timer whose channel nobody else has is stopped; any other comes to its end. */
void wr_timer_unref(wr_timer *t);

wr_chan *wr_timer_chan(wr_timer *t); /* the timer's reference; NULL for a function */

/* Both return 1 if it was pending. Reset makes it pending again; a ticker's duration is its new period, -EINVAL for 0
 * or less. */
int wr_timer_stop(wr_timer *t);
int wr_timer_reset(wr_timer *t, int64_t duration);

/* The channel of a timer that nobody stops. */
wr_chan *wr_after(int64_t duration);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
