/* The C functions from C11: warren/scheduler.h compiles there, and a program of fibers works. Linked with libwarren.so.
 * Invariant: exits with 0, or says what was wrong. */
#include <warren/scheduler.h>

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition) ((condition) ? (void)0 : (fprintf(stderr, "line %d: %s\n", __LINE__, #condition), exit(1)))

static wr_wait_group group = WR_INIT;
static wr_mutex mutex = WR_INIT;
static wr_rw_mutex rw_mutex = WR_INIT;
static wr_once once = WR_INIT;
static long counter;

static void count(void *argument) {
  wr_chan *c = argument;
  for (int i = 0; i < 100; ++i) {
    wr_mutex_lock(&mutex);
    ++counter;
    wr_mutex_unlock(&mutex);
    wr_rw_mutex_rlock(&rw_mutex);
    wr_rw_mutex_runlock(&rw_mutex);
  }
  if (wr_once_begin(&once)) {
    int one = 1;
    EXPECT(wr_chan_send(c, &one) == WR_CHAN_DONE);
    wr_once_end(&once);
  }
  EXPECT(wr_wait_group_add(&group, -1) == 0);
}

static int main_fiber(void *argument) {
  (void)argument;
  wr_chan *c = wr_chan_make(sizeof(int), 1);
  EXPECT(c != NULL);
  EXPECT(wr_wait_group_add(&group, 10) == 0);
  for (int i = 0; i < 10; ++i) EXPECT(wr_go(count, c, NULL) == 0);
  wr_wait_group_wait(&group);
  EXPECT(counter == 1000);
  int value = 0;
  EXPECT(wr_chan_recv(c, &value) == WR_CHAN_DONE && value == 1);

  wr_timer *timer = wr_timer_make(1000000);
  int64_t time = 0;
  wr_select_case cases[2] = {{.chan = c, .element = &value}, {.chan = wr_timer_chan(timer), .element = &time}};
  EXPECT(wr_select(cases, 2, 1) == 1 && time > 0);
  EXPECT(wr_timer_stop(timer) == 0);
  wr_timer_unref(timer);

  wr_context *context = wr_context_with_deadline(wr_context_background(), wr_now_ns() + 1000000);
  EXPECT(wr_chan_recv(wr_context_done(context), NULL) == WR_CHAN_CLOSED);
  EXPECT(wr_context_err(context) == WR_CONTEXT_DEADLINE_EXCEEDED);
  wr_context_unref(context);

  wr_semaphore semaphore = {.available = 2};
  wr_semaphore_acquire(&semaphore, 2);
  EXPECT(!wr_semaphore_try_acquire(&semaphore, 1));
  wr_semaphore_release(&semaphore, 2);
  wr_pool *pool = wr_pool_make(free);
  wr_pool_put(pool, malloc(10));
  wr_pool_delete(pool);
  wr_chan_unref(c);
  return 7;
}

int main(void) {
  EXPECT(wr_run(main_fiber, NULL) == 7);
  return 0;
}
