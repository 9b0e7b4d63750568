/* warren/net.h: TCP for fibers, in C. Part of warren/scheduler.h; warren/net_cxx.h is the C++ face.
 *
 * A fiber that waits for a connection parks; names are resolved off the scheduler's places. Sockets are handles with a
 * count of references, and are closed with the last one. Any number of fibers may use one: reads wait for reads,
 * writes for writes, close for nobody. Functions return a negative errno where they fail: -ETIMEDOUT when the deadline
 * has passed, -ECANCELED when the socket is closed, by whomever. Source: Go's net package.
 */
#ifndef WARREN_NET_H
#define WARREN_NET_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wr_socket wr_socket;

/* "127.0.0.1:80", "[::1]:80", "name:http"; ":80" and "0.0.0.0:80" listen on all interfaces, port 0 on one that is free.
 * -EINVAL: not an address; -ENOENT: no such name. A socket that is handed out has one reference. */
int wr_net_listen(const char *address, wr_socket **out);
int wr_net_accept(wr_socket *listener, wr_socket **out);
/* The deadline is for the resolving of the name and the connecting together. WR_NEVER: as long as the system tries. */
int wr_net_dial(const char *address, uint64_t deadline, wr_socket **out);

int64_t wr_net_read(wr_socket *s, void *to, size_t size);        /* bytes, as soon as there are any; 0: end of stream */
int wr_net_write(wr_socket *s, const void *from, size_t size);   /* all of it */
int wr_net_shutdown_write(wr_socket *s);                         /* the other side reads the end of the stream */

/* For everything on this socket that waits, now and later. WR_NEVER: none. */
void wr_net_set_deadline(wr_socket *s, uint64_t deadline);

void wr_net_close(wr_socket *s); /* as often as one likes */

/* As "host:port"; valid as long as the socket. The remote address of a listener is empty. */
const char *wr_net_local_address(const wr_socket *s);
const char *wr_net_remote_address(const wr_socket *s);

void wr_net_ref(wr_socket *s);
void wr_net_unref(wr_socket *s);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
