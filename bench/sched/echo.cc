// Claim: an echo server with 300 connections serves at least what Go's does, with a lower p99. Loaded by load.cc.
#include "measure.h"

#include <warren/scheduler.h>

#include <cstddef>
#include <span>
#include <string>

int main(int argc, char **argv) {
  warren::max_procs(procs_from(argc, argv));
  return warren::run([] {
    const warren::net::listener listener = warren::net::listen("127.0.0.1:0");
    const std::string address = listener.addr();
    std::printf("%s\n", address.substr(address.rfind(':') + 1).c_str());
    std::fflush(stdout);
    for (;;) {
      warren::go([connection = listener.accept()] {
        std::byte buffer[4096];
        try {
          while (const size_t n = connection.read(buffer)) connection.write(std::span(buffer, n));
        } catch (const warren::net::error &) {
          // The client is gone.
        }
        connection.close();
      });
    }
  });
}
