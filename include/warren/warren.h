/* warren/warren.h: all of warren. */
#ifndef WARREN_WARREN_H
#define WARREN_WARREN_H

#include <warren/allocator.h>
#include <warren/gc.h>
#include <warren/leaks.h>
#include <warren/profile.h>
#include <warren/scheduler.h>

#endif
