// Claim: an HTTP server with 100 connections that are kept alive serves at least what Go's does, with a lower p99.
// Loaded by load.cc, or by wrk. It reads what there is, answers every request that is complete with one write, and keeps
// the rest; go/http_hello.go parses and answers in the same way.
#include "server.h"

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <strings.h>

namespace {

constexpr std::string_view kHello =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";
constexpr std::string_view kRefused = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
constexpr size_t kMostPending = 4096;  // of a request that is not complete

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The text up to `end`, which is removed from `rest` with it; all of it where there is none.
std::string_view cut(std::string_view &rest, std::string_view end) {
  const size_t at = rest.find(end);
  const std::string_view before = rest.substr(0, at);
  rest.remove_prefix(at == rest.npos ? rest.size() : at + end.size());
  return before;
}

struct Verdict {
  bool good, keep;
};

// A request's head: its lines, without the empty one. Bodies are not expected.
Verdict judge(std::string_view head) {
  std::string_view line = cut(head, "\r\n");
  const std::string_view method = cut(line, " "), target = cut(line, " ");
  if (method != "GET" || target.empty() || target.front() != '/' || line != "HTTP/1.1") return {false, false};
  bool keep = true;
  while (!head.empty()) {
    std::string_view value = cut(head, "\r\n");
    const std::string_view name = cut(value, ":");
    if (equal_ignoring_case(name, "Connection") && equal_ignoring_case(trimmed(value), "close")) keep = false;
  }
  return {true, keep};
}

void serve(const warren::net::conn &connection) {
  char buffer[kMostPending];
  size_t pending = 0;
  std::string answer;
  for (bool keep = true; keep && pending < sizeof buffer;) {
    const size_t n = connection.read(std::as_writable_bytes(std::span(buffer).subspan(pending)));
    if (n == 0) return;
    pending += n;
    std::string_view rest(buffer, pending);
    answer.clear();
    while (keep) {
      const size_t end = rest.find("\r\n\r\n");
      if (end == rest.npos) break;
      const Verdict verdict = judge(rest.substr(0, end));
      answer += verdict.good ? kHello : kRefused;
      keep = verdict.keep;
      rest.remove_prefix(end + 4);
    }
    if (!answer.empty()) connection.write(std::as_bytes(std::span(answer)));
    pending = rest.size();
    if (pending != 0) std::memmove(buffer, rest.data(), pending);
  }
}

}  // namespace

int main(int argc, char **argv) { return run_server(argc, argv, serve); }
