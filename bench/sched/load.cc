// Loads an echo server over loopback: so many connections, each of which sends 64 bytes, waits until they are back, and
// sends again. Run by bench/sched.py on each server in turn: load CONNECTIONS SECONDS SERVER ARGUMENT...
// The server prints the port it listens on as its first line, and is ended with SIGTERM.
// Invariant: the client is one thread on epoll, whatever the server is; each answer is compared with what was sent.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr size_t kBytes = 64;

struct Connection {
  int fd;
  uint64_t sent_at;
  uint64_t number;
  size_t received;
  std::array<char, kBytes> answer;
};

[[noreturn]] void fail(const char *what) {
  std::perror(what);
  std::exit(1);
}

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

std::array<char, kBytes> message(const Connection &c) {
  std::array<char, kBytes> text{};
  std::snprintf(text.data(), kBytes, "%d %llu", c.fd, static_cast<unsigned long long>(c.number));
  return text;
}

void send_next(Connection &c) {
  ++c.number;
  c.received = 0;
  const auto text = message(c);
  c.sent_at = now();
  if (write(c.fd, text.data(), kBytes) != static_cast<ssize_t>(kBytes)) fail("write");
}

// Whether an answer is complete.
bool receive(Connection &c) {
  const ssize_t n = read(c.fd, c.answer.data() + c.received, kBytes - c.received);
  if (n < 0 && errno == EAGAIN) return false;
  if (n <= 0) fail("read");
  c.received += static_cast<size_t>(n);
  if (c.received < kBytes) return false;
  if (c.answer != message(c)) {
    std::fprintf(stderr, "a wrong answer\n");
    std::exit(1);
  }
  return true;
}

pid_t start_server(char **argv, int *port) {
  int ends[2];
  if (pipe(ends) != 0) fail("pipe");
  const pid_t server = fork();
  if (server == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    close(ends[1]);
    execv(argv[0], argv);
    fail(argv[0]);
  }
  close(ends[1]);
  FILE *output = fdopen(ends[0], "r");
  if (output == nullptr || std::fscanf(output, "%d", port) != 1) fail("no port from the server");
  return server;
}

double seconds_of(const timeval &t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; }

}  // namespace

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  const int count = std::atoi(argv[1]);
  const double duration = std::atof(argv[2]);
  int port = 0;
  const pid_t server = start_server(argv + 3, &port);

  const int poll = epoll_create1(0);
  std::vector<Connection> connections(static_cast<size_t>(count));
  for (Connection &c : connections) {
    c = {};
    c.fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0) fail("connect");
    const int on = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &c;
    epoll_ctl(poll, EPOLL_CTL_ADD, c.fd, &event);
  }

  std::vector<uint32_t> latencies;
  latencies.reserve(4'000'000);
  const uint64_t began = now();
  // The first tenth warms up and is not counted.
  const uint64_t counted_from = began + static_cast<uint64_t>(duration * 1e8);
  const uint64_t end = began + static_cast<uint64_t>(duration * 1e9);
  for (Connection &c : connections) send_next(c);
  std::array<epoll_event, 512> events;
  uint64_t time = began;
  while (time < end) {
    const int ready = epoll_wait(poll, events.data(), static_cast<int>(events.size()), 1000);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      auto &c = *static_cast<Connection *>(events[static_cast<size_t>(i)].data.ptr);
      if (!receive(c)) continue;
      time = now();
      if (c.sent_at >= counted_from) {
        latencies.push_back(static_cast<uint32_t>(std::min<uint64_t>(time - c.sent_at, UINT32_MAX)));
      }
      send_next(c);
    }
    if (ready <= 0) time = now();
  }
  kill(server, SIGTERM);
  rusage used{};
  wait4(server, nullptr, 0, &used);
  if (latencies.empty()) return 1;
  std::sort(latencies.begin(), latencies.end());
  const auto percentile = [&](double p) {
    return static_cast<double>(latencies[static_cast<size_t>(p * static_cast<double>(latencies.size() - 1))]) / 1000;
  };
  const double served = static_cast<double>(latencies.size());
  const double took = static_cast<double>(time - counted_from) * 1e-9;
  const double cpu = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  std::printf("%-28s %8.0f per second\n", "echoes", served / took);
  std::printf("%-28s %8.1f us p50 %8.1f us p99 %8.1f us p99.9\n", "latency", percentile(0.5), percentile(0.99),
              percentile(0.999));
  std::printf("%-28s %8.2f us each\n", "server CPU", cpu * 1e6 / (served * duration / took));
  return 0;
}
