// Loads a server over loopback: so many connections, each of which sends a request, waits for all of the answer, and
// sends again. Run by bench/sched.py on each server in turn: load PROTOCOL CONNECTIONS SECONDS SERVER ARGUMENT...
//
//   echo   64 bytes there, the same 64 back
//   http   GET, kept alive; the answer is http_hello.cc's
//   wrk    the same, but it is wrk that loads
//
// The server prints the port it listens on as its first line, and is ended with SIGTERM.
// Invariant: the client is one thread on epoll, whatever the server is; each answer is compared with the right one.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr size_t kMostBytes = 256;

struct Text {
  std::array<char, kMostBytes> bytes;
  size_t size;
  std::string_view view() const { return {bytes.data(), size}; }
};

struct Connection {
  int fd;
  uint64_t sent_at;
  uint64_t number;
  Text answer;  // as far as it has come
};

struct Protocol {
  const char *name;
  const char *what;  // of what there are so many a second
  const char *prefix;  // of the other lines
  Text (*request)(const Connection &c);
  Text (*answer)(const Connection &c);
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

Text echoed(const Connection &c) {
  Text text{};
  std::snprintf(text.bytes.data(), kMostBytes, "%d %llu", c.fd, static_cast<unsigned long long>(c.number));
  text.size = 64;
  return text;
}

Text http_request(const Connection &c) {
  Text text{};
  const int size = std::snprintf(text.bytes.data(), kMostBytes, "GET /%d/%llu HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", c.fd,
                                 static_cast<unsigned long long>(c.number));
  text.size = static_cast<size_t>(size);
  return text;
}

Text http_answer(const Connection &) {
  Text text{};
  text.size = static_cast<size_t>(
      std::snprintf(text.bytes.data(), kMostBytes,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n"));
  return text;
}

constexpr Protocol kProtocols[] = {
    {"echo", "echoes", "", echoed, echoed},
    {"http", "http requests", "http ", http_request, http_answer},
    {"wrk", "http requests", "http ", nullptr, nullptr},
};

void send_next(const Protocol &protocol, Connection &c) {
  ++c.number;
  c.answer.size = 0;
  const Text text = protocol.request(c);
  c.sent_at = now();
  if (write(c.fd, text.bytes.data(), text.size) != static_cast<ssize_t>(text.size)) fail("write");
}

// Whether an answer is complete.
bool receive(const Protocol &protocol, Connection &c) {
  const ssize_t n = read(c.fd, c.answer.bytes.data() + c.answer.size, kMostBytes - c.answer.size);
  if (n < 0 && errno == EAGAIN) return false;
  if (n <= 0) fail("read");
  c.answer.size += static_cast<size_t>(n);
  const Text right = protocol.answer(c);
  if (c.answer.size < right.size) return false;
  if (c.answer.view() != right.view()) {
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
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive a load that fails
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

double microseconds_of(double value, std::string_view unit) {
  return unit == "us" ? value : unit == "ms" ? value * 1e3 : value * 1e6;
}

struct Load {
  double counted;   // answers
  double all;       // also those that came while it warmed up
  double seconds;   // that the counted ones took
  std::vector<std::pair<const char *, double>> percentiles;  // microseconds
};

Load load_with_wrk(int count, double duration, int port) {
  char command[256];
  std::snprintf(command, sizeof command, "wrk --latency -t1 -c%d -d%.0fs http://127.0.0.1:%d/", count, duration, port);
  FILE *output = popen(command, "r");
  if (output == nullptr) fail("wrk");
  Load load{};
  bool errors = false;
  char line[512];
  while (std::fgets(line, sizeof line, output) != nullptr) {
    double value;
    char unit[8] = "";
    for (const auto &[name, form] : {std::pair{"p50", " 50%%%lf%7s"}, {"p99", " 99%%%lf%7s"}}) {
      if (std::sscanf(line, form, &value, unit) == 2) load.percentiles.emplace_back(name, microseconds_of(value, unit));
    }
    if (std::sscanf(line, "%lf requests in %lf%7s", &load.all, &value, unit) == 3) {
      load.seconds = microseconds_of(value, unit) * 1e-6;
    }
    errors = errors || std::strstr(line, "Socket errors") != nullptr || std::strstr(line, "Non-2xx") != nullptr;
  }
  load.counted = load.all;
  if (pclose(output) != 0 || errors || load.all == 0) {
    std::fprintf(stderr, "wrk failed, or found errors\n");
    std::exit(1);
  }
  return load;
}

std::vector<Connection> connect_all(int count, int port, int poll) {
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
  return connections;
}

Load load_here(const Protocol &protocol, int count, double duration, int port) {
  const int poll = epoll_create1(0);
  std::vector<Connection> connections = connect_all(count, port, poll);
  std::vector<uint32_t> latencies;
  latencies.reserve(4'000'000);
  const uint64_t began = now();
  // The first tenth warms up and is not counted.
  const uint64_t counted_from = began + static_cast<uint64_t>(duration * 1e8);
  const uint64_t end = began + static_cast<uint64_t>(duration * 1e9);
  double all = 0;
  for (Connection &c : connections) send_next(protocol, c);
  std::array<epoll_event, 512> events;
  uint64_t time = began;
  while (time < end) {
    const int ready = epoll_wait(poll, events.data(), static_cast<int>(events.size()), 1000);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      auto &c = *static_cast<Connection *>(events[static_cast<size_t>(i)].data.ptr);
      if (!receive(protocol, c)) continue;
      time = now();
      ++all;
      if (c.sent_at >= counted_from) {
        latencies.push_back(static_cast<uint32_t>(std::min<uint64_t>(time - c.sent_at, UINT32_MAX)));
      }
      send_next(protocol, c);
    }
    if (ready <= 0) time = now();
  }
  if (latencies.empty()) {
    std::fprintf(stderr, "no answers\n");
    std::exit(1);
  }
  std::sort(latencies.begin(), latencies.end());
  Load load{static_cast<double>(latencies.size()), all, static_cast<double>(time - counted_from) * 1e-9, {}};
  for (const auto &[name, part] : {std::pair{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}}) {
    const auto at = static_cast<size_t>(part * static_cast<double>(latencies.size() - 1));
    load.percentiles.emplace_back(name, static_cast<double>(latencies[at]) / 1000);
  }
  return load;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  const Protocol *protocol = std::ranges::find(kProtocols, std::string_view(argv[1]), &Protocol::name);
  if (protocol == std::end(kProtocols)) return 2;
  const int count = std::atoi(argv[2]);
  const double duration = std::atof(argv[3]);
  int port = 0;
  const pid_t server = start_server(argv + 4, &port);
  const Load load = protocol->request != nullptr ? load_here(*protocol, count, duration, port)
                                                 : load_with_wrk(count, duration, port);
  kill(server, SIGTERM);
  rusage used{};
  wait4(server, nullptr, 0, &used);
  const std::string prefix = protocol->prefix;
  std::printf("%-28s %8.0f per second\n", protocol->what, load.counted / load.seconds);
  std::printf("%-28s", (prefix + "latency").c_str());
  for (const auto &[name, value] : load.percentiles) std::printf(" %8.1f us %s", value, name);
  std::printf("\n");
  const double cpu = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  std::printf("%-28s %8.2f us each\n", (prefix + "server CPU").c_str(), cpu * 1e6 / load.all);
  return 0;
}
