// Claim: a server of many open connections: event loops on four threads, each session with buffers that grow and are replaced.
// Held constant: 4 threads, 26,000 sessions each, 300 open at a time and thread; a session takes 4 to 15 steps and has six headers, an
// input buffer of 1 to 8 KiB that is replaced for messages of up to 7 or 64 KiB, and an output buffer that is dropped above 24,000 bytes;
// after its third step one of eight goes to the next thread, if fewer than 100 wait there. Unit: one session. Run by bench/run.py.
#include <array>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kThreads = 4;
constexpr std::uint64_t kSessionsPerThread = 26'000;
constexpr std::size_t kOpen = 300;  // at a time and thread
constexpr std::size_t kMostArrivals = 100;
constexpr int kEventsPerTurn = 64;
constexpr std::size_t kSendAbove = 24'000;

// What a session does depends on its number only, not on the thread that runs it or when.
class Session {
 public:
  explicit Session(std::uint64_t id) : id_(id), random_(id) {
    for (int i = 0; i < 4; ++i) random_.next();
    steps_ = 4 + static_cast<int>(random_.next() % 12);
    const std::uint64_t port = random_.next() % 65'536;
    const std::uint64_t third = random_.next() % 256;
    const std::uint64_t second = random_.next() % 256;
    peer_ = "10." + std::to_string(second) + "." + std::to_string(third) + ".7:" + std::to_string(port);
  }

  // False after the last step.
  bool advance() {
    if (step_ == 0) {
      open();
    } else if (step_ % 2 != 0) {
      receive();
    } else {
      respond();
    }
    return ++step_ < steps_;
  }

  std::uint64_t id() const { return id_; }
  int step() const { return step_; }
  std::uint64_t checksum() const { return digest_ ^ id_ ^ peer_.size(); }

 private:
  void open() {
    input_size_ = std::size_t{1024} << (random_.next() % 4);
    input_ = std::make_unique<char[]>(input_size_);
    static const char *const names[] = {"host", "accept", "user-agent", "cookie", "content-type", "x-trace-id"};
    for (const char *name : names) {
      const char letter = static_cast<char>('a' + random_.next() % 26);
      const std::size_t size = 10 + random_.next() % 90;
      headers_[name] = std::string(size, letter);
    }
  }

  void receive() {
    const std::uint64_t random = random_.next();
    const std::size_t size = 1024 + random % (random_.next() % 8 == 0 ? 64'512 : 6000);
    if (size > input_size_) {
      input_ = std::make_unique<char[]>(size);
      input_size_ = size;
    }
    std::memset(input_.get(), static_cast<int>('A' + random_.next() % 26), size);
    for (std::size_t i = 0; i < size; i += 64) digest_ = digest_ * 31 + static_cast<unsigned char>(input_[i]) + i;
  }

  void respond() {
    std::string head = "HTTP/1.1 200 OK\r\n";
    for (const char *name : {"host", "cookie", "x-trace-id"}) head += std::string(name) + ": " + headers_[name] + "\r\n";
    output_.insert(output_.end(), head.begin(), head.end());
    const std::size_t body = 200 + random_.next() % 5000;
    output_.insert(output_.end(), input_.get(), input_.get() + (body < input_size_ ? body : input_size_));
    if (output_.size() > kSendAbove) {
      for (std::size_t i = 0; i < output_.size(); i += 128) digest_ = digest_ * 17 + static_cast<unsigned char>(output_[i]);
      std::vector<char>().swap(output_);
    }
  }

  std::uint64_t id_;
  workload::Random random_;
  int step_ = 0;
  int steps_;
  std::string peer_;
  std::unordered_map<std::string, std::string> headers_;
  std::unique_ptr<char[]> input_;
  std::size_t input_size_ = 0;
  std::vector<char> output_;
  std::uint64_t digest_ = 0;
};

struct Inbox {
  std::mutex mutex;
  std::vector<std::unique_ptr<Session>> arrivals;  // guarded by mutex
};

struct Event {
  std::uint64_t when;
  Session *session;
  bool operator<(const Event &other) const { return when > other.when; }
};

std::array<Inbox, kThreads> inboxes;
std::array<std::uint64_t, kThreads> sums;

void serve(int self) {
  workload::Random random(0xC0FFEE + static_cast<std::uint64_t>(self) * 7919);
  std::uint64_t now = 0;
  std::uint64_t made = 0;
  std::uint64_t sum = 0;
  std::unordered_map<std::uint64_t, std::unique_ptr<Session>> open;
  std::priority_queue<Event> events;
  auto schedule = [&](Session *session) { events.push({now + 1 + random.next() % 100, session}); };
  auto take = [&](std::unique_ptr<Session> session) {
    Session *taken = session.get();
    open[taken->id()] = std::move(session);
    schedule(taken);
  };
  for (;;) {
    {
      std::vector<std::unique_ptr<Session>> arrived;
      {
        std::lock_guard<std::mutex> lock(inboxes[self].mutex);
        arrived.swap(inboxes[self].arrivals);
      }
      for (auto &session : arrived) take(std::move(session));
    }
    while (open.size() < kOpen && made < kSessionsPerThread) {
      ++made;
      take(std::make_unique<Session>(static_cast<std::uint64_t>(self) << 40 | made));
    }
    if (events.empty()) break;
    for (int i = 0; i < kEventsPerTurn && !events.empty(); ++i) {
      const Event event = events.top();
      events.pop();
      now = event.when;
      Session *session = event.session;
      if (!session->advance()) {
        sum += session->checksum();
        open.erase(session->id());
      } else if (session->step() == 3 && session->id() % 8 == 0) {
        Inbox &next = inboxes[(self + 1) % kThreads];
        std::lock_guard<std::mutex> lock(next.mutex);
        if (next.arrivals.size() < kMostArrivals) {
          const auto found = open.find(session->id());
          next.arrivals.push_back(std::move(found->second));
          open.erase(found);
        } else {
          schedule(session);
        }
      } else {
        schedule(session);
      }
    }
  }
  sums[self] = sum;
}

}  // namespace

int main() {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(serve, i);
  for (auto &thread : threads) thread.join();
  std::uint64_t checksum = 0;
  for (const std::uint64_t sum : sums) checksum += sum;
  for (auto &inbox : inboxes) {  // what was handed over after the loop had ended
    for (auto &session : inbox.arrivals) {
      while (session->advance()) {
      }
      checksum += session->checksum();
    }
  }
  workload::report(kThreads * kSessionsPerThread, checksum);
}
