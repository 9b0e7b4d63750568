// Claim: threads that talk by messages (actors, event loops): each message is made by one thread and freed by another.
// Held constant: 4 threads; requests of 32 bytes to 8 KiB (each doubling half as likely) to a thread drawn by the
// seed, each answered by a message of 32 to 512 bytes; at most 512 requests of a thread unanswered.
// Unit: one message made, sent, and freed by its receiver. Run by bench/run.py.
#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kThreads = 4;
constexpr std::size_t kUnanswered = 512;
constexpr std::uint64_t kRequests = 700'000;  // of each thread

struct Message {
  std::uint64_t content;  // first, where workload::touch puts it
  std::uint64_t sender;
  std::uint64_t is_answer;
  std::uint64_t size;
};

// Never full: at most kUnanswered requests of each thread and as many answers are under way. It allocates nothing.
class Mailbox {
 public:
  void put(Message *message) {
    const std::lock_guard lock(mutex_);
    waiting_[count_++] = message;
    if (count_ == 1) changed_.notify_one();
  }

  // Waits for messages and takes them all; none means that every thread is done.
  std::size_t take(std::array<Message *, (kThreads + 1) * kUnanswered> &messages) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return count_ > 0 || closed_; });
    std::copy(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count_), messages.begin());
    return std::exchange(count_, 0);
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t count_ = 0;  // guarded by mutex_, as are the next two
  bool closed_ = false;
  std::array<Message *, (kThreads + 1) * kUnanswered> waiting_{};
};

std::array<Mailbox, kThreads> mailboxes;
std::mutex done_mutex;
std::size_t done = 0;  // guarded by done_mutex

void send(std::size_t to, std::size_t sender, bool is_answer, std::size_t size, std::uint64_t content) {
  auto *message = static_cast<Message *>(workload::allocate(size, content));
  *message = {content, sender, is_answer, size};
  mailboxes[to].put(message);
}

void close_all_when_last() {
  const std::lock_guard lock(done_mutex);
  if (++done < kThreads) return;
  for (Mailbox &mailbox : mailboxes) mailbox.close();
}

void act(std::size_t self, std::uint64_t &sum) {
  workload::Random random(190 + self);
  std::array<Message *, (kThreads + 1) * kUnanswered> messages;
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  while (true) {
    for (; sent < kRequests && sent - answered < kUnanswered; ++sent) {
      const std::size_t to = (self + 1 + random.below(kThreads - 1)) % kThreads;
      send(to, self, false, random.exponential(sizeof(Message), 8192), random.below(1000));
    }
    const std::size_t count = mailboxes[self].take(messages);
    if (count == 0) return;
    for (std::size_t i = 0; i < count; ++i) {
      const Message message = *messages[i];
      std::free(messages[i]);
      sum += message.content + message.size;
      if (!message.is_answer) {
        send(message.sender, self, true, sizeof(Message) + message.size % 480, message.content / 2);
      } else if (++answered == kRequests) {
        close_all_when_last();
      }
    }
  }
}

}  // namespace

int main() {
  std::array<std::uint64_t, kThreads> sums{};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back(act, i, std::ref(sums[i]));
  for (auto &thread : threads) thread.join();
  std::uint64_t checksum = 0;
  for (const std::uint64_t sum : sums) checksum += sum;
  workload::report(2 * kThreads * kRequests, checksum);
}
