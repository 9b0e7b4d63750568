// Parser, range check and help of the options, all driven by options.def. See options.h.
#include "allocator/base/options.h"

#include "allocator/base/fatal.h"
#include "allocator/base/log.h"

#include <cerrno>
#include <cstring>

namespace warren {

Options options;

namespace option_parser {
namespace {

enum class Kind : uint8_t { kFlag, kNumber, kBytes, kChoice, kText };

struct Row {
  const char *key;
  Kind kind;
  bool live;
  uint64_t min, max;
  const char *words;  // of a choice
  const char *text;
  std::atomic<uint64_t> *number;
  char *characters;  // of a text, sizeof Options::prof bytes
};

const Row rows[] = {
#define FLAG(key, initial, live, text) {#key, Kind::kFlag, live, 0, 1, "0|1", text, &options.key, nullptr},
#define NUMBER(key, initial, min, max, live, text) {#key, Kind::kNumber, live, min, max, "", text, &options.key, nullptr},
#define BYTES(key, initial, min, max, live, text) {#key, Kind::kBytes, live, min, max, "", text, &options.key, nullptr},
#define CHOICE(key, initial, words, live, text) {#key, Kind::kChoice, live, 0, 0, words, text, &options.key, nullptr},
#define TEXT(key, live, text) {#key, Kind::kText, live, 0, 0, "", text, nullptr, options.key},
#include "allocator/base/options.def"
#undef FLAG
#undef NUMBER
#undef BYTES
#undef CHOICE
#undef TEXT
};

struct Slice {
  const char *start;
  size_t length;
  bool is(const char *word) const { return strlen(word) == length && memcmp(start, word, length) == 0; }
};

constexpr struct {
  const char *name;
  unsigned shift;
} kSuffixes[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}, {"", 0}};

bool parse_digits(Slice &rest, uint64_t &number) {
  if (rest.length == 0 || rest.start[0] < '0' || rest.start[0] > '9') return false;
  number = 0;
  while (rest.length != 0 && rest.start[0] >= '0' && rest.start[0] <= '9') {
    if (__builtin_mul_overflow(number, uint64_t{10}, &number)) return false;
    if (__builtin_add_overflow(number, static_cast<uint64_t>(rest.start[0] - '0'), &number)) return false;
    ++rest.start;
    --rest.length;
  }
  return true;
}

bool parse_bytes(Slice value, uint64_t &number) {
  if (!parse_digits(value, number)) return false;
  for (const auto &suffix : kSuffixes) {
    if (!value.is(suffix.name)) continue;
    if (number > (~uint64_t{0} >> suffix.shift)) return false;
    number <<= suffix.shift;
    return true;
  }
  return false;
}

bool parse_choice(const char *words, Slice value, uint64_t &number) {
  for (number = 0;; ++number) {
    const size_t length = strcspn(words, "|");
    if (length == value.length && memcmp(words, value.start, length) == 0) return true;
    if (words[length] == '\0') return false;
    words += length + 1;
  }
}

bool parse_number(const Row &row, Slice value, uint64_t &number) {
  switch (row.kind) {
    case Kind::kFlag:
    case Kind::kChoice: return parse_choice(row.words, value, number);
    case Kind::kNumber:
    case Kind::kBytes:
      if (value.is("off")) {
        number = kNoLimit;
        return true;
      }
      if (row.kind == Kind::kBytes) {
        if (!parse_bytes(value, number)) return false;
      } else if (!parse_digits(value, number) || value.length != 0) {
        return false;
      }
      return number >= row.min && number <= row.max;
    case Kind::kText: break;
  }
  return false;
}

bool store(const Row &row, Slice value) {
  if (row.kind == Kind::kText) {
    if (value.length >= sizeof Options::prof) return false;
    memcpy(row.characters, value.start, value.length);
    row.characters[value.length] = '\0';
    return true;
  }
  uint64_t number;
  if (!parse_number(row, value, number)) return false;
  row.number->store(number, std::memory_order_relaxed);
  if (row.number == &options.abort_on_error) fatal::set_abort_on_error(number != 0);
  return true;
}

const Row *find(Slice key) {
  for (const Row &row : rows) {
    if (key.is(row.key)) return &row;
  }
  return nullptr;
}

void print_bytes(LogLine &line, uint64_t bytes) {
  for (const auto &suffix : kSuffixes) {
    if (bytes == kNoLimit || (bytes & ((uint64_t{1} << suffix.shift) - 1)) != 0 || bytes >> suffix.shift == 0) continue;
    line << (bytes >> suffix.shift) << suffix.name;
    return;
  }
  line << "off";
}

void print_range(LogLine &line, const Row &row) {
  switch (row.kind) {
    case Kind::kFlag:
    case Kind::kChoice: line << row.words; break;
    case Kind::kNumber: line << row.min << " to " << row.max << ", or off"; break;
    case Kind::kBytes:
      print_bytes(line, row.min);
      if (row.max != kNoLimit) {
        line << " to ";
        print_bytes(line, row.max);
      } else {
        line << " or more, or off";
      }
      break;
    case Kind::kText: line << "at most " << uint64_t{sizeof Options::prof - 1} << " characters"; break;
  }
}

void print_value(LogLine &line, const Row &row) {
  const uint64_t number = row.number != nullptr ? row.number->load(std::memory_order_relaxed) : 0;
  switch (row.kind) {
    case Kind::kText: line << row.characters; break;
    case Kind::kBytes: print_bytes(line, number); break;
    case Kind::kFlag:
    case Kind::kChoice: {
      const char *word = row.words;
      for (uint64_t skip = number; skip != 0; --skip) word += strcspn(word, "|") + 1;
      line.text(word, strcspn(word, "|"));
      break;
    }
    case Kind::kNumber:
      if (number == kNoLimit) {
        line << "off";
      } else {
        line << number;
      }
  }
}

void complain(Slice entry) {
  LogLine line;
  line << "warren: WARREN_CONF: ";
  line.text(entry.start, entry.length);
  const char *equals = static_cast<const char *>(memchr(entry.start, '=', entry.length));
  const Row *row = equals == nullptr ? nullptr : find({entry.start, static_cast<size_t>(equals - entry.start)});
  if (equals == nullptr) {
    line << ": expected key=value; ignored";
  } else if (row == nullptr) {
    line << ": there is no such key; ignored (help=1 lists the keys)";
  } else {
    line << ": expected ";
    print_range(line, *row);
    line << "; keeping ";
    print_value(line, *row);
  }
  line.write_to(2);
}

bool apply(Slice entry) {
  const char *equals = static_cast<const char *>(memchr(entry.start, '=', entry.length));
  if (equals == nullptr) return false;
  const size_t key_length = static_cast<size_t>(equals - entry.start);
  const Row *row = find({entry.start, key_length});
  return row != nullptr && store(*row, {equals + 1, entry.length - key_length - 1});
}

}  // namespace

void read(const char *conf) {
  while (*conf != '\0') {
    const Slice entry{conf, strcspn(conf, ",")};
    if (entry.length != 0 && !apply(entry)) complain(entry);
    conf += entry.length;
    if (*conf == ',') ++conf;
  }
}

int set(const char *key, const char *value) {
  const Row *row = find({key, strlen(key)});
  if (row == nullptr) return ENOENT;
  if (!row->live) return EPERM;
  return store(*row, {value, strlen(value)}) ? 0 : EINVAL;
}

int get(const char *key, char *out, size_t size) {
  const Row *row = find({key, strlen(key)});
  if (row == nullptr) return -1;
  LogLine line;
  print_value(line, *row);
  if (size != 0) {
    const size_t kept = line.size() < size ? line.size() : size - 1;
    memcpy(out, line.data(), kept);
    out[kept] = '\0';
  }
  return static_cast<int>(line.size());
}

void print_help() {
  LogLine title;
  title << "warren: keys of WARREN_CONF (key = value now; allowed; meaning)";
  title.write_to(2);
  for (const Row &row : rows) {
    LogLine line;
    line << "  " << row.key << " = ";
    print_value(line, row);
    line << "; ";
    print_range(line, row);
    line << "; " << row.text;
    line.write_to(2);
  }
}

}  // namespace option_parser
}  // namespace warren
