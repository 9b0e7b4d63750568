// See pprof.h. A message is a row of fields; a field is its number and type as one variable-length number, then either such a
// number or a length and so many bytes. Field numbers are those of profile.proto.
#include "inspect/pprof.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/write_signals.h"
#include "inspect/stack_table.h"
#include "inspect/stack_trace.h"
#include "inspect/symbols.h"
#include "inspect/whole_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace warren::inspect::pprof {
namespace {

enum ProfileField : unsigned {
  kSampleType = 1, kSample, kMapping, kLocation, kFunction, kStringTable, kDropFrames, kTimeNanos = 9, kDurationNanos,
  kPeriodType, kPeriod, kDefaultSampleType = 14
};

// More: more memory while a profile is written. Fewer: more system calls.
constexpr size_t kBufferBytes = size_t{64} << 10;

constexpr size_t kMostVarintBytes = 10;

// Bytes that go to a file, or are gathered for another message.
template <size_t Capacity>
class Message {
 public:
  void number(unsigned field, uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  void bytes(unsigned field, const void *data, size_t count) {
    varint(field << 3 | 2);
    varint(count);
    memcpy(bytes_ + size_, data, count);
    size_ += count;
  }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_[size_++] = static_cast<uint8_t>(value | 0x80);
    bytes_[size_++] = static_cast<uint8_t>(value);
  }
  const uint8_t *data() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  uint8_t bytes_[Capacity];
  size_t size_ = 0;
};

class Output {
 public:
  // False: no memory.
  bool prepare() { return buffer_.reserve(kBufferBytes); }
  void release() { buffer_.release(); }

  void begin(int fd) { fd_ = fd; }

  // 0 or errno of the first thing that went wrong.
  int finish() {
    flush();
    return error_;
  }

  template <size_t Capacity>
  void message(unsigned field, const Message<Capacity> &contents) {
    bytes(field, contents.data(), contents.size());
  }

  void bytes(unsigned field, const void *data, size_t count) {
    Message<2 * kMostVarintBytes> heading;
    heading.varint(field << 3 | 2);
    heading.varint(count);
    put(heading.data(), heading.size());
    put(data, count);
  }

  void number(unsigned field, int64_t value) {
    Message<2 * kMostVarintBytes> row;
    row.number(field, static_cast<uint64_t>(value));
    put(row.data(), row.size());
  }

 private:
  void put(const void *data, size_t count) {
    const auto *from = static_cast<const char *>(data);
    while (count != 0) {
      const size_t room = kBufferBytes - size_;
      const size_t part = count < room ? count : room;
      memcpy(buffer_.begin() + size_, from, part);
      size_ += part;
      from += part;
      count -= part;
      if (size_ == kBufferBytes) flush();
    }
  }

  void flush() {
    for (size_t done = 0; done < size_ && error_ == 0;) {
      const long written = os_calls::write(fd_, buffer_.begin() + done, size_ - done);
      if (written == -EINTR) continue;
      if (written <= 0) {
        error_ = written == 0 ? EIO : static_cast<int>(-written);
      } else {
        done += static_cast<size_t>(written);
      }
    }
    size_ = 0;
  }

  gc::PagedArray<char> buffer_;
  size_t size_ = 0;
  int fd_ = -1;
  int error_ = 0;
};

class Writer {
 public:
  explicit Writer(const gc::PagedArray<Sample> &samples) : samples_(samples) {}

  // False: no memory.
  bool prepare() {
    return find_locations() && symbols_.read() && named_.reserve(symbols_.modules().count() + 1) && output_.prepare();
  }

  void release() {
    output_.release();
    symbols_.release();
    locations_.release();
    named_.release();
  }

  // 0 or errno.
  int write(int fd, const Heading &heading) {
    output_.begin(fd);
    string("", 0);  // number 0 must be
    const uint64_t objects = string("count"), space = string("bytes");
    const char *const names[kValues] = {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"};
    uint64_t numbers[kValues];
    for (unsigned i = 0; i < kValues; ++i) {
      numbers[i] = string(names[i]);
      value_type(kSampleType, numbers[i], i % 2 == 0 ? objects : space);
    }
    value_type(kPeriodType, string("space"), space);
    output_.number(kPeriod, heading.period);
    output_.number(kTimeNanos, heading.unix_ns);
    output_.number(kDurationNanos, heading.duration_ns);
    output_.number(kDefaultSampleType, static_cast<int64_t>(numbers[heading.shown_first]));
    // Linked into the program, the library's own frames are the innermost ones.
    output_.number(kDropFrames, static_cast<int64_t>(string("malloc|calloc|realloc|reallocarray|memalign|posix_memalign|"
                                                            "aligned_alloc|operator new.*|_Zn[wa]m.*|warren::.*|_ZN6warren.*")));
    for (const Sample &sample : samples_) write_sample(sample);
    write_locations();
    write_mappings();
    return output_.finish();
  }

 private:
  // Every address of every sample, once, in order: its place is its number, less 1.
  bool find_locations() {
    for (const Sample &sample : samples_) {
      const stack_table::Frames frames = stack_table::frames_of(sample.stack);
      for (unsigned i = 0; i < frames.count; ++i) {
        if (!locations_.push_back(address_of(frames.address[i]))) return false;
      }
      if (locations_.size() > most_unsorted_) {
        merge_locations();
        most_unsorted_ = 2 * locations_.size() + kSortedTogether;
      }
    }
    merge_locations();
    return true;
  }

  void merge_locations() {
    std::sort(locations_.begin(), locations_.end());
    locations_.shrink(static_cast<size_t>(std::unique(locations_.begin(), locations_.end()) - locations_.begin()));
  }

  uint64_t location_of(uintptr_t address) const {
    return static_cast<uint64_t>(std::lower_bound(locations_.begin(), locations_.end(), address) - locations_.begin()) + 1;
  }

  uint64_t string(const char *text, size_t length) {
    output_.bytes(kStringTable, text, length);
    return string_count_++;
  }
  uint64_t string(const char *text) { return string(text, strlen(text)); }

  void value_type(unsigned field, uint64_t type, uint64_t unit) {
    Message<4 * kMostVarintBytes> message;
    message.number(1, type);
    message.number(2, unit);
    output_.message(field, message);
  }

  void write_sample(const Sample &sample) {
    const stack_table::Frames frames = stack_table::frames_of(sample.stack);
    Message<kMostFrames * kMostVarintBytes> locations;
    for (unsigned i = 0; i < frames.count; ++i) locations.varint(location_of(address_of(frames.address[i])));
    Message<kValues * kMostVarintBytes> values;
    for (const int64_t value : sample.values) values.varint(static_cast<uint64_t>(value));
    Message<(kMostFrames + kValues + 4) * kMostVarintBytes> message;
    message.bytes(1, locations.data(), locations.size());
    message.bytes(2, values.data(), values.size());
    output_.message(kSample, message);
  }

  void write_mappings() {
    const Modules &modules = symbols_.modules();
    for (size_t i = 0; i < modules.count(); ++i) {
      const Mapping &module = modules[i];
      const uint64_t path = string(modules.path(module));
      const SymbolTable::BuildId id = symbols_.table_of(i).build_id();
      Message<16 * kMostVarintBytes> message;
      message.number(1, i + 1);
      message.number(2, module.low);
      message.number(3, module.high);
      message.number(4, module.offset);
      message.number(5, path);
      if (id.count != 0) message.number(6, build_id(id));
      if (named_.begin()[i]) message.number(7, 1);
      output_.message(kMapping, message);
    }
  }

  uint64_t build_id(const SymbolTable::BuildId &id) {
    constexpr char kDigits[] = "0123456789abcdef";
    char text[2 * 64];
    const size_t count = id.count < 64 ? id.count : 64;
    for (size_t i = 0; i < count; ++i) {
      text[2 * i] = kDigits[id.bytes[i] >> 4];
      text[2 * i + 1] = kDigits[id.bytes[i] & 15];
    }
    return string(text, 2 * count);
  }

  // Neighbours share their function.
  void write_locations() {
    const Modules &modules = symbols_.modules();
    uint64_t function_count = 0;
    uintptr_t function_start = 0;
    for (size_t i = 0; i < locations_.size(); ++i) {
      const uintptr_t address = locations_[i];
      const size_t module = modules.find(address);
      const SymbolTable::Function function = symbols_.at(address);
      Message<8 * kMostVarintBytes> message;
      message.number(1, i + 1);
      if (module != modules.count()) message.number(2, module + 1);
      message.number(3, address);
      if (function.name != nullptr) {
        named_.begin()[module] = true;
        if (function_count == 0 || function_start != address - function.offset) {
          function_start = address - function.offset;
          write_function(++function_count, function.name);
        }
        Message<2 * kMostVarintBytes> line;
        line.number(1, function_count);
        message.bytes(4, line.data(), line.size());
      }
      output_.message(kLocation, message);
    }
  }

  // By its linker's name: pprof demangles.
  void write_function(uint64_t number, const char *name) {
    const uint64_t text = string(name);
    Message<6 * kMostVarintBytes> message;
    message.number(1, number);
    message.number(2, text);
    message.number(3, text);
    output_.message(kFunction, message);
  }

  static constexpr size_t kSortedTogether = size_t{1} << 16;

  const gc::PagedArray<Sample> &samples_;
  gc::PagedArray<uintptr_t> locations_;
  gc::PagedArray<bool> named_;  // by module: some of its functions have names
  size_t most_unsorted_ = kSortedTogether;
  Symbols symbols_;
  Output output_;
  uint64_t string_count_ = 0;
};

}  // namespace

int write(const char *path, const gc::PagedArray<Sample> &samples, const Heading &heading) {
  WARREN_LARGE_TABLE static WholeFile file;  // one writer at a time: heap_profile.cc
  Writer writer(samples);
  int error = ENOMEM;
  if (writer.prepare()) {
    const WriteSignalsHeld guard;
    error = file.open(path);
    if (error == 0) error = file.close(writer.write(file.fd(), heading));
  }
  writer.release();
  return error;
}

}  // namespace warren::inspect::pprof
