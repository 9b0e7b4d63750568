/* warren/scheduler.h: fibers, channels, select, locks, timers, contexts, network connections.
 *
 * The C ABI (wr_…) is in the headers below, usable from C11; over it, in C++20, namespace warren. Everything but go()
 * works on plain threads too, and blocks the thread there.
 */
#ifndef WARREN_SCHEDULER_H
#define WARREN_SCHEDULER_H

#include <warren/channel.h>
#include <warren/context.h>
#include <warren/net.h>
#include <warren/scheduler_core.h>
#include <warren/sync.h>
#include <warren/timer.h>

#ifdef __cplusplus
#include <warren/channel_cxx.h>
#include <warren/context_cxx.h>
#include <warren/fiber_cxx.h>
#include <warren/net_cxx.h>
#include <warren/sync_cxx.h>
#include <warren/timer_cxx.h>
#endif

#endif
