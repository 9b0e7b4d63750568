// A server on loopback for load.cc: prints its port, accepts, and gives each connection a fiber. Callers: echo.cc, http_hello.cc;
// go/server.go is the same in Go. Invariant: the port is the first line, and is printed when connections are taken.
#pragma once

#include "measure.h"

#include <warren/scheduler.h>

#include <string>

inline int run_server(int argc, char **argv, void (*serve)(const warren::net::conn &)) {
  warren::max_procs(procs_from(argc, argv));
  return warren::run([serve] {
    const warren::net::listener listener = warren::net::listen("127.0.0.1:0");
    const std::string address = listener.addr();
    std::printf("%s\n", address.substr(address.rfind(':') + 1).c_str());
    std::fflush(stdout);
    for (;;) {
      warren::go([serve, connection = listener.accept()] {
        try {
          serve(connection);
        } catch (const warren::net::error &) {
          // The client is gone.
        }
        connection.close();
      });
    }
  });
}
