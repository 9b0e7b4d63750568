/* warren/channel.h: channels and select in C. Part of warren/scheduler.h; warren/channel_cxx.h is the C++ face.
 *
 * A channel hands values from one fiber (or plain thread) to another, in order, each to one receiver. With capacity 0
 * sender and receiver wait for each other; else a send waits only while the channel is full, a receive only while it
 * is empty. The model is Go's. A NULL channel is the nil channel, on which everything waits for ever.
 */
#ifndef WARREN_CHANNEL_H
#define WARREN_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wr_chan wr_chan;

enum wr_chan_status {
  WR_CHAN_DONE = 0,        /* sent, received, closed */
  WR_CHAN_WOULD_BLOCK = 1, /* try_: not now */
  WR_CHAN_CLOSED = 2,      /* send: nothing was sent; recv: closed and drained; close: it is closed already */
  WR_CHAN_NIL = 3          /* close of NULL */
};

/* How values are handled that are more than their bytes. The functions run under the channel's lock: they may
 * allocate, but must not wait and not use the channel. */
typedef struct wr_element {
  size_t size;                           /* a multiple of the alignment, which is at most 16 */
  void (*relocate)(void *to, void *from); /* makes a value at `to` and ends the one at `from`. NULL: memcpy */
  void (*destroy)(void *value);           /* NULL: nothing to do */
} wr_element;

/* NULL: no memory, or sizes out of range. Source: make(chan T, capacity). */
wr_chan *wr_chan_make(size_t element_size, size_t capacity);
wr_chan *wr_chan_make_of(const wr_element *element, size_t capacity);

/* A channel lives while its count of references, 1 at first, is above 0. What it holds then is destroyed. */
void wr_chan_ref(wr_chan *c);
void wr_chan_unref(wr_chan *c);

/* WR_CHAN_DONE or WR_CHAN_CLOSED. The value at `value` is moved from, unless it was not sent. */
int wr_chan_send(wr_chan *c, void *value);
/* `out` is memory for a value, or NULL: the value is dropped. On WR_CHAN_CLOSED the bytes are 0, where there is no
 * relocate. */
int wr_chan_recv(wr_chan *c, void *out);
/* Never wait; WR_CHAN_WOULD_BLOCK in addition. */
int wr_chan_try_send(wr_chan *c, void *value);
int wr_chan_try_recv(wr_chan *c, void *out);

/* No more values will come. Who waits to receive gets WR_CHAN_CLOSED, who waits to send likewise. */
int wr_chan_close(wr_chan *c);

size_t wr_chan_len(const wr_chan *c);
size_t wr_chan_cap(const wr_chan *c);

typedef struct wr_select_case {
  wr_chan *chan;  /* NULL: never ready */
  void *element;  /* as for wr_chan_send, wr_chan_recv */
  int send;       /* 0: receive */
  int status;     /* of the chosen case, after: WR_CHAN_DONE or WR_CHAN_CLOSED */
  void *room[8];  /* the scheduler's while wr_select runs */
} wr_select_case;

#define WR_SELECT_DEFAULT (-1)

/* Does exactly one of the operations and returns its index; where several can go ahead, each is as likely.
 * Where none can: waits, or with block == 0 returns WR_SELECT_DEFAULT. */
int wr_select(wr_select_case *cases, size_t count, int block);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
