// See operations.h.
#include "tests/fuzz/operations.h"

#include <cerrno>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace fuzz {
namespace {

constexpr int kErrnoBefore = 1789;
constexpr size_t kLeastAlign = 8;   // of blocks up to 8 bytes
constexpr size_t kUsualAlign = 16;  // of all others

// Warren's answer where glibc's differs: see the list in README.md.
bool is_control() {
  static const bool control = getenv("WARREN_CONTROL") != nullptr;
  return control;
}

size_t usual_align(size_t size) { return size <= 8 ? kLeastAlign : kUsualAlign; }

size_t read_size(Bytes &bytes) {
  const size_t kind = bytes.next();
  size_t number = bytes.next();
  number |= size_t{bytes.next()} << 8;
  const size_t nudge = kind >> 3;  // 0 to 31, around 16
  const auto near = [nudge](size_t size) { return size + nudge > 16 ? size + nudge - 16 : 0; };
  switch (kind % 8) {
    case 0: return number % 17;
    case 1: return number % 129;
    case 2: return number % 1025;
    case 3: return near(number % 64 * 1024);
    case 4: return near(size_t{1} << number % 20);
    case 5: return number;
    case 6: return nudge == 0 ? number * 64 : number % 4097;  // to 4 MiB
    default: return nudge < 4 ? number * 8 : number % 300;
  }
}

size_t read_align(Bytes &bytes) {
  const size_t number = bytes.next();
  return sizeof(void *) << (number < 250 ? number % 10 : number % 18);
}

Record *record_of(char *start, size_t size) {
  auto *record = new Record{start, size, malloc_usable_size(start), 0};
  return record;
}

void drop(World &world, Record *record) {
  world.shadow.remove(*record);
  errno = kErrnoBefore;
  free(record->start);
  if (errno != kErrnoBefore) complain("free changed errno");
  delete record;
}

// A number that the compiler does not warn about.
size_t unknown(size_t number) {
  asm("" : "+r"(number));
  return number;
}

void expect_refusal(const void *block, int error, const char *what) {
  if (block != nullptr) complain(std::string(what) + " gave a block that cannot be");
  if (errno != error) complain(std::string(what) + " failed with errno " + std::to_string(errno));
}

}  // namespace

World::~World() {
  for (auto &place : table) {
    if (Record *record = place.exchange(nullptr)) drop(*this, record);
  }
}

Player::~Player() {
  for (Record *record : slots_) {
    if (record != nullptr) drop(world_, record);
  }
}

// A new block takes the place of the slot's old one.
void Player::put(size_t slot, char *start, size_t size, size_t align) {
  if (start == nullptr) return complain("no memory for " + std::to_string(size) + " bytes");
  if (errno != kErrnoBefore) complain("a success changed errno");
  Record *record = record_of(start, size);
  world_.shadow.add(*record, align);
  if (slots_[slot] != nullptr) drop(world_, slots_[slot]);
  slots_[slot] = record;
}

void Player::resize(size_t slot, size_t size, bool as_array) {
  Record *record = slots_[slot];
  if (record == nullptr) {
    auto *start = static_cast<char *>(as_array ? reallocarray(nullptr, 1, size) : realloc(nullptr, size));
    return put(slot, start, size, usual_align(size));
  }
  const Record before = *record;
  world_.shadow.remove(before);  // whoever gets the old place may have it before this call returns
  auto *start = static_cast<char *>(as_array ? reallocarray(before.start, size, 1) : realloc(before.start, size));
  if (errno != kErrnoBefore) complain("realloc changed errno");
  delete record;
  slots_[slot] = nullptr;
  if (size == 0) {
    if (start != nullptr) complain("realloc to no bytes gave a block");
    return;
  }
  if (start == nullptr) return complain("no memory to reallocate to " + std::to_string(size));
  Record after = before;
  after.start = start;
  Shadow::check_contents(after, before.size < size ? before.size : size);
  put(slot, start, size, usual_align(size));
}

void Player::ask_for_the_impossible(size_t slot, Bytes &bytes) {
  const size_t kind = bytes.next() % 7;
  size_t less = bytes.next();
  less = less * 256 + bytes.next();
  const size_t huge = unknown(SIZE_MAX) - less;
  errno = kErrnoBefore;
  switch (kind) {
    case 0: return expect_refusal(malloc(huge), ENOMEM, "malloc");
    case 1: return expect_refusal(malloc(unknown(PTRDIFF_MAX) + 1 + less), ENOMEM, "malloc");
    case 2: return expect_refusal(calloc(huge / 2, 3), ENOMEM, "calloc");
    case 3: return expect_refusal(aligned_alloc(64, huge), ENOMEM, "aligned_alloc");
    case 4:
      if (is_control()) return;
      return expect_refusal(aligned_alloc(unknown(48), less), EINVAL, "aligned_alloc");
    case 5: {
      void *untouched = &errno;
      if (posix_memalign(&untouched, 64, huge) != ENOMEM) complain("posix_memalign gave a block that cannot be");
      if (posix_memalign(&untouched, unknown(24), less) != EINVAL) complain("posix_memalign took an alignment of 24");
      if (untouched != &errno || (errno != kErrnoBefore && !is_control()))
        complain("posix_memalign changed what it must not");
      return;
    }
    default: {
      Record *record = slots_[slot];
      if (record == nullptr) return;
      expect_refusal(realloc(record->start, huge), ENOMEM, "realloc");
      errno = kErrnoBefore;
      expect_refusal(reallocarray(record->start, huge / 2, 3), ENOMEM, "reallocarray");
      Shadow::check_contents(*record, record->usable);
    }
  }
}

void Player::exchange(size_t slot, Bytes &bytes) {
  slots_[slot] = world_.table[bytes.next() % world_.table.size()].exchange(slots_[slot]);
  if (slots_[slot] != nullptr) Shadow::check_contents(*slots_[slot], slots_[slot]->usable);
}

void Player::one_operation(Bytes &bytes) {
  const unsigned operation = bytes.next() % 16;
  const size_t slot = bytes.next() % kSlots;
  Record *record = slots_[slot];
  switch (operation) {
    case 0:
    case 1: {
      const size_t size = read_size(bytes);
      errno = kErrnoBefore;
      return put(slot, static_cast<char *>(malloc(size)), size, usual_align(size));
    }
    case 2: {
      const size_t size = read_size(bytes), count = size % 3 + 1;
      errno = kErrnoBefore;
      auto *start = static_cast<char *>(calloc(count, size / count));
      if (start != nullptr) {
        for (size_t i = 0; i < size / count * count; ++i) {
          if (start[i] != 0) {
            complain("calloc of " + std::to_string(size) + " bytes gave a dirty block");
            break;
          }
        }
      }
      return put(slot, start, size / count * count, usual_align(size / count * count));
    }
    case 3:
    case 4: {
      const size_t size = read_size(bytes);
      errno = kErrnoBefore;
      return resize(slot, size, operation == 4);
    }
    case 5: {
      const size_t align = read_align(bytes), size = read_size(bytes);
      void *start = nullptr;
      errno = kErrnoBefore;
      if (posix_memalign(&start, align, size) != 0) start = nullptr;
      return put(slot, static_cast<char *>(start), size, align);
    }
    case 6: {
      const size_t align = read_align(bytes), size = read_size(bytes);
      errno = kErrnoBefore;
      return put(slot, static_cast<char *>(aligned_alloc(align, size)), size, align);
    }
    case 7: {
      const size_t align = read_align(bytes), size = read_size(bytes);
      errno = kErrnoBefore;
      return put(slot, static_cast<char *>(memalign(align, size)), size, align);
    }
    case 8: {
      const size_t align = read_align(bytes), size = read_size(bytes);
      errno = kErrnoBefore;
      void *start = align < kUsualAlign ? operator new(size) : operator new (size, std::align_val_t{align});
      return put(slot, static_cast<char *>(start), size, align < kUsualAlign ? usual_align(size) : align);
    }
    case 9:
      if (record != nullptr && malloc_usable_size(record->start) != record->usable)
        complain("malloc_usable_size has changed");
      return;
    case 10:
      if (record != nullptr) drop(world_, record);
      slots_[slot] = nullptr;
      return;
    case 11: return exchange(slot, bytes);
    case 12: return ask_for_the_impossible(slot, bytes);
    case 13:
      if (record == nullptr) return;
      Shadow::check_contents(*record, record->usable);
      return Shadow::stamp(*record);
    case 14:
      if (bytes.next() % 8 != 0) return;
      for (size_t i = slot; i < kSlots; ++i) {
        if (slots_[i] != nullptr) drop(world_, slots_[i]);
        slots_[i] = nullptr;
      }
      return;
    default:
      if (bytes.next() % 64 == 0) malloc_trim(0);
  }
}

namespace {

class GivenBytes : public Bytes {
 public:
  GivenBytes(const uint8_t *data, size_t size) : at_(data), end_(data + size) {}
  bool empty() const override { return at_ == end_; }
  uint8_t next() override { return empty() ? uint8_t{0} : *at_++; }

 private:
  const uint8_t *at_, *end_;
};

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz::World world;
  {
    fuzz::Player player(world);
    for (fuzz::GivenBytes bytes(data, size); !bytes.empty();) player.one_operation(bytes);
  }
  return 0;
}
