// Implements child.h with fork, exec and poll. Linked into the drivers only.
// Invariant: between fork and exec the child calls nothing that allocates, so a driver may itself run
// under the library being tested.
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>

extern char **environ;

namespace victims {
namespace {

constexpr int kExecFailed = 127;

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe &) = delete;
  Pipe &operator=(const Pipe &) = delete;
  void close_read() { close_end(read_end); }
  void close_write() { close_end(write_end); }

 private:
  static void close_end(int &end) {
    if (end >= 0) close(end);
    end = -1;
  }
};

bool same_name(const std::string &a, const std::string &b) {
  const auto end_a = a.find('=');
  const auto end_b = b.find('=');
  return a.substr(0, end_a) == b.substr(0, end_b);
}

std::vector<std::string> environment_for(const ChildRequest &request) {
  std::vector<std::string> wanted;
  for (char **entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "LD_PRELOAD=", 11) != 0) wanted.emplace_back(*entry);
  }
  std::vector<std::string> changes;
  if (!library_under_test().empty()) changes.push_back("LD_PRELOAD=" + library_under_test());
  changes.insert(changes.end(), request.environment.begin(), request.environment.end());
  for (const auto &change : changes) {
    wanted.erase(std::remove_if(wanted.begin(), wanted.end(),
                                [&](const std::string &e) { return same_name(e, change); }),
                 wanted.end());
    wanted.push_back(change);
  }
  return wanted;
}

std::vector<char *> pointers_to(const std::vector<std::string> &strings) {
  std::vector<char *> result;
  for (const auto &s : strings) result.push_back(const_cast<char *>(s.c_str()));
  result.push_back(nullptr);
  return result;
}

// Appends what is there to read. False at end of file.
bool drain(int fd, std::string &into) {
  char buffer[65536];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 0) return got < 0 && errno == EINTR;
  into.append(buffer, static_cast<std::size_t>(got));
  return true;
}

[[noreturn]] void become_victim(const ChildRequest &request, int out, int err, char **argv, char **env) {
  setpgid(0, 0);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  sigaction(SIGPIPE, &usual, nullptr);
  dup2(out, STDOUT_FILENO);
  if (request.stderr_state == ChildRequest::Stderr::kFullDevice) err = open("/dev/full", O_WRONLY);
  if (err >= 0) dup2(err, STDERR_FILENO);
  if (request.stderr_state == ChildRequest::Stderr::kClosed) close(STDERR_FILENO);
  for (int fd : request.closed_fds) close(fd);
  execve(argv[0], argv, env);
  _exit(kExecFailed);
}

}  // namespace

std::string library_under_test() {
  const char *path = getenv("WARREN_LIB");
  return path == nullptr ? "" : path;
}

bool control_run() {
  const char *value = getenv("WARREN_CONTROL");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

int soak_factor() {
  const char *value = getenv("WARREN_SOAK");
  if (value == nullptr) return 1;
  const int factor = atoi(value);
  return factor > 1 ? factor : 10;  // WARREN_SOAK=1 is the usual long run
}

ChildOutcome run_child(const ChildRequest &request) {
  using Clock = std::chrono::steady_clock;
  const auto env_strings = environment_for(request);
  auto argv = pointers_to(request.argv);
  auto env = pointers_to(env_strings);
  Pipe out, err;
  if (request.stderr_state == ChildRequest::Stderr::kBrokenPipe) err.close_read();

  const pid_t pid = fork();
  if (pid < 0) abort();
  if (pid == 0) become_victim(request, out.write_end, err.write_end, argv.data(), env.data());
  setpgid(pid, pid);
  out.close_write();
  err.close_write();

  ChildOutcome outcome;
  const int exited = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  const auto deadline = Clock::now() + std::chrono::seconds(request.timeout_seconds);
  bool running = true;
  while (running) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      outcome.timed_out = true;
      break;
    }
    pollfd watched[3] = {{exited, POLLIN, 0}, {out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}};
    if (poll(watched, 3, static_cast<int>(left.count()) + 1) < 0 && errno != EINTR) break;
    if ((watched[1].revents & (POLLIN | POLLHUP)) != 0 && !drain(out.read_end, outcome.out)) out.close_read();
    if ((watched[2].revents & (POLLIN | POLLHUP)) != 0 && !drain(err.read_end, outcome.err)) err.close_read();
    running = (watched[0].revents & POLLIN) == 0;
  }
  kill(-pid, SIGKILL);  // the group: stray grandchildren always, the victim itself when it hangs
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  while (out.read_end >= 0 && drain(out.read_end, outcome.out)) {
  }
  while (err.read_end >= 0 && drain(err.read_end, outcome.err)) {
  }
  if (exited >= 0) close(exited);
  if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

std::string ChildOutcome::describe() const {
  std::ostringstream text;
  if (timed_out) {
    text << "timed out";
  } else if (signal != 0) {
    text << "killed by signal " << signal << " (" << sigabbrev_np(signal) << ")";
  } else {
    text << "exit status " << exit_status;
  }
  text << "\n  stdout: " << out << "\n  stderr: " << err;
  return text.str();
}

}  // namespace victims
