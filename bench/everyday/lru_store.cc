// Claim: a key-value store in memory that forgets what was least recently used, when the values exceed its budget or expire.
// Held constant: 400,000 possible keys, the low ones more often; a budget of 40 MiB; values of 20 to 219 bytes, one of ten of up to
// 2199, one of 200 of up to 19,999, and half as large again after 700,000 requests; of 100 requests 45 get (and set what is missing),
// 40 set (15 of them with an end 1000 to 100,999 requests ahead), 10 append and 5 delete. Unit: one request. Run by bench/run.py.
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "workload.h"

namespace {

constexpr std::size_t kBudget = std::size_t{40} << 20;
constexpr std::size_t kLongestToAppendTo = 30'000;
constexpr std::uint64_t kKeys = 400'000;
constexpr std::uint64_t kRequests = 1'100'000;
constexpr std::uint64_t kLargerAfter = 700'000;
constexpr std::uint64_t kRequestsPerTick = 64;

workload::Random generator(0x0BADC0DE0BADC0DEULL);

std::uint64_t draw() { return generator.next(); }

struct Entry {
  std::string key;
  std::string value;
  std::uint64_t expires = 0;  // 0: never
};

class Store {
 public:
  explicit Store(std::size_t budget) : budget_(budget) {}

  const std::string *get(const std::string &key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->value;
  }

  void put(const std::string &key, std::string value, std::uint64_t expires) {
    const auto found = index_.find(key);
    if (found != index_.end()) {
      Entry &entry = *found->second;
      bytes_ += value.size() - entry.value.size();
      entry.value = std::move(value);
      entry.expires = expires;
      entries_.splice(entries_.begin(), entries_, found->second);
    } else {
      bytes_ += key.size() + value.size();
      entries_.push_front(Entry{key, std::move(value), expires});
      index_.emplace(key, entries_.begin());
    }
    if (expires != 0) expiry_.emplace(expires, key);
    while (bytes_ > budget_) remove(index_.find(entries_.back().key));
  }

  bool append(const std::string &key, const std::string &tail) {
    const auto found = index_.find(key);
    if (found == index_.end() || found->second->value.size() > kLongestToAppendTo) return false;
    found->second->value += tail;
    bytes_ += tail.size();
    return true;
  }

  bool erase(const std::string &key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return false;
    remove(found);
    return true;
  }

  void tick(std::uint64_t now) {
    while (!expiry_.empty() && expiry_.begin()->first <= now) {
      const auto found = index_.find(expiry_.begin()->second);
      if (found != index_.end() && found->second->expires != 0 && found->second->expires <= now) remove(found);
      expiry_.erase(expiry_.begin());
    }
  }

 private:
  using Entries = std::list<Entry>;
  using Index = std::unordered_map<std::string, Entries::iterator>;

  void remove(Index::iterator position) {
    bytes_ -= position->second->key.size() + position->second->value.size();
    entries_.erase(position->second);
    index_.erase(position);
  }

  Entries entries_;  // the most recently used one first
  Index index_;
  std::multimap<std::uint64_t, std::string> expiry_;
  std::size_t bytes_ = 0;
  std::size_t budget_;
};

std::string make_key() {
  const std::uint64_t first = draw() % kKeys;
  const std::uint64_t second = draw() % kKeys;
  const bool skewed = draw() % 4 != 0;
  const std::uint64_t user = skewed ? (first < second ? first : second) / 4 : first;
  return "user:" + std::to_string(user) + ((first & 1) != 0 ? ":profile:settings" : ":session");
}

std::string make_value(std::uint64_t now) {
  const std::uint64_t random = draw();
  std::size_t size = 20 + (random >> 8) % 200;
  if (random % 10 == 0) size = 200 + (random >> 8) % 2000;
  if (random % 200 == 0) size = 2000 + (random >> 8) % 18'000;
  if (now > kLargerAfter) size += size / 2;
  return std::string(size, static_cast<char>('a' + random % 26));
}

}  // namespace

int main() {
  Store store(kBudget);
  std::uint64_t checksum = 0;
  for (std::uint64_t now = 1; now <= kRequests; ++now) {
    const std::string key = make_key();
    const std::uint64_t kind = draw() % 100;
    if (kind < 45) {
      if (const std::string *value = store.get(key)) {
        checksum = checksum * 31 + value->size() + static_cast<unsigned char>(value->back());
      } else {
        store.put(key, make_value(now), 0);
      }
    } else if (kind < 85) {
      const std::uint64_t expires = kind < 60 ? now + 1000 + draw() % 100'000 : 0;
      store.put(key, make_value(now), expires);
    } else if (kind < 95) {
      checksum += store.append(key, make_value(now)) ? 1 : 0;
    } else {
      checksum += store.erase(key) ? 3 : 0;
    }
    if (now % kRequestsPerTick == 0) store.tick(now);
  }
  workload::report(kRequests, checksum);
}
