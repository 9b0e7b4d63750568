// See call_frame_info.h. Formats: DWARF 5 section 6.4, and for .eh_frame and its index the LSB core specification.
#include "inspect/call_frame_info.h"

#include "allocator/base/address.h"

#include <cstring>

namespace warren::inspect {
namespace {

// Pointer encodings: the low half says how it is stored, the high half what it is relative to.
enum Encoding : uint8_t {
  kAbsolute = 0x00, kUleb = 0x01, kU2 = 0x02, kU4 = 0x03, kU8 = 0x04, kSleb = 0x09, kS2 = 0x0a, kS4 = 0x0b, kS8 = 0x0c,
  kFormat = 0x0f, kRelative = 0x70, kToSelf = 0x10, kToIndex = 0x30, kIndirect = 0x80, kOmitted = 0xff
};

enum Register : uint64_t { kRbp = 6, kRsp = 7, kReturnAddress = 16 };

class Reader {
 public:
  Reader(const uint8_t *at, const uint8_t *end) : at_(at), end_(end) {}
  bool empty() const { return at_ >= end_; }
  const uint8_t *at() const { return at_; }
  void skip(uint64_t bytes) { at_ = bytes < static_cast<uint64_t>(end_ - at_) ? at_ + bytes : end_; }

  template <class T>
  T read() {
    T value{};
    if (static_cast<size_t>(end_ - at_) < sizeof value) {
      at_ = end_;
      return value;
    }
    memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  uint64_t uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0; !empty(); shift += 7) {
      const uint8_t byte = *at_++;
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) break;
    }
    return value;
  }

  int64_t sleb() {
    uint64_t value = 0;
    unsigned shift = 0;
    while (!empty()) {
      const uint8_t byte = *at_++;
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      shift += 7;
      if ((byte & 0x80) != 0) continue;
      if (shift < 64 && (byte & 0x40) != 0) value |= ~uint64_t{0} << shift;
      break;
    }
    return static_cast<int64_t>(value);
  }

  // Of the value itself, without what it is relative to.
  uint64_t encoded(uint8_t encoding) {
    switch (encoding & kFormat) {
      case kUleb: return uleb();
      case kSleb: return static_cast<uint64_t>(sleb());
      case kU2: return read<uint16_t>();
      case kU4: return read<uint32_t>();
      case kS2: return static_cast<uint64_t>(int64_t{read<int16_t>()});
      case kS4: return static_cast<uint64_t>(int64_t{read<int32_t>()});
      default: return read<uint64_t>();
    }
  }

 private:
  const uint8_t *at_;
  const uint8_t *end_;
};

// What a table's two kinds of entries say: of a group of functions (CIE), and of one (FDE).
struct Shared {
  uint64_t code_align = 1;
  int64_t data_align = 1;
  uint8_t pointer_encoding = kAbsolute;
  bool has_augmentation = false;
  bool signal_frame = false;
  Reader program{nullptr, nullptr};
};

// The contents of the entry at `at`, behind its length.
Reader entry_at(const uint8_t *at) {
  uint32_t length;
  memcpy(&length, at, sizeof length);
  if (length == 0xffffffff) return {at, at};  // a table of more than 4 GiB
  return {at + sizeof length, at + sizeof length + length};
}

bool read_shared(const uint8_t *at, Shared &shared) {
  Reader reader = entry_at(at);
  if (reader.read<uint32_t>() != 0) return false;
  const auto version = reader.read<uint8_t>();
  if (version != 1 && version != 3) return false;
  const char *augmentation = reinterpret_cast<const char *>(reader.at());
  reader.skip(strlen(augmentation) + 1);
  shared.code_align = reader.uleb();
  shared.data_align = reader.sleb();
  const uint64_t return_register = version == 1 ? reader.read<uint8_t>() : reader.uleb();
  if (return_register != kReturnAddress) return false;
  if (augmentation[0] != '\0' && augmentation[0] != 'z') return false;
  if (augmentation[0] == 'z') {
    shared.has_augmentation = true;
    const uint64_t bytes = reader.uleb();
    Reader data(reader.at(), reader.at() + bytes);
    reader.skip(bytes);
    for (const char *letter = augmentation + 1; *letter != '\0'; ++letter) {
      switch (*letter) {
        case 'L': data.skip(1); break;
        case 'P': {
          const auto encoding = data.read<uint8_t>();
          data.encoded(encoding);
          break;
        }
        case 'R': shared.pointer_encoding = data.read<uint8_t>(); break;
        case 'S': shared.signal_frame = true; break;
        default: return false;
      }
    }
  }
  shared.program = reader;
  return true;
}

// A row of the table: how the CFA and two registers are found.
struct Row {
  enum class Cfa : uint8_t { kUnknown, kRegister, kExpression };
  enum class Saved : uint8_t { kSame, kInFrame, kUndefined, kUnknown };
  Cfa cfa = Cfa::kUnknown;
  Saved rbp = Saved::kSame, ra = Saved::kSame;
  uint64_t reg = 0;
  int64_t offset = 0;
  int64_t rbp_offset = 0, ra_offset = 0;
  const uint8_t *expression = nullptr;
  uint64_t expression_bytes = 0;
};

class Program {
 public:
  Program(const Shared &shared, uintptr_t start, uintptr_t pc) : shared_(shared), start_(start), pc_(pc) {}

  // The row for pc_. False: something that is not understood.
  bool run(const Reader &instructions, Row &row) {
    if (!execute(shared_.program, row, ~uintptr_t{0})) return false;
    initial_ = row;
    return execute(instructions, row, pc_);
  }

 private:
  static constexpr int kMostRemembered = 8;

  void set(Row &row, uint64_t reg, Row::Saved saved, int64_t offset = 0) {
    if (reg == kRbp) {
      row.rbp = saved;
      row.rbp_offset = offset;
    } else if (reg == kReturnAddress) {
      row.ra = saved;
      row.ra_offset = offset;
    }
  }

  void restore(Row &row, uint64_t reg) {
    if (reg == kRbp) set(row, reg, initial_.rbp, initial_.rbp_offset);
    if (reg == kReturnAddress) set(row, reg, initial_.ra, initial_.ra_offset);
  }

  void define_cfa(Row &row, uint64_t reg, int64_t offset) {
    row.cfa = Row::Cfa::kRegister;
    row.reg = reg;
    row.offset = offset;
  }

  // Up to the row that holds `pc`.
  bool execute(Reader reader, Row &row, uintptr_t pc) {
    uintptr_t location = start_;
    while (!reader.empty()) {
      const auto opcode = reader.read<uint8_t>();
      const uint64_t low = opcode & 0x3f;
      switch (opcode & 0xc0) {
        case 0x40:
          location += low * shared_.code_align;
          if (location > pc) return true;
          continue;
        case 0x80: set(row, low, Row::Saved::kInFrame, static_cast<int64_t>(reader.uleb()) * shared_.data_align); continue;
        case 0xc0: restore(row, low); continue;
        default: break;
      }
      switch (opcode) {
        case 0x00: break;                                                                    // nop
        case 0x01: location = reader.encoded(shared_.pointer_encoding); return false;        // set_loc: nobody writes it
        case 0x02: location += reader.read<uint8_t>() * shared_.code_align; break;           // advance_loc1
        case 0x03: location += reader.read<uint16_t>() * shared_.code_align; break;          // advance_loc2
        case 0x04: location += reader.read<uint32_t>() * shared_.code_align; break;          // advance_loc4
        case 0x05: {                                                                         // offset_extended
          const uint64_t reg = reader.uleb();
          set(row, reg, Row::Saved::kInFrame, static_cast<int64_t>(reader.uleb()) * shared_.data_align);
          break;
        }
        case 0x06: restore(row, reader.uleb()); break;                                       // restore_extended
        case 0x07: set(row, reader.uleb(), Row::Saved::kUndefined); break;                   // undefined
        case 0x08: set(row, reader.uleb(), Row::Saved::kSame); break;                        // same_value
        case 0x09: set(row, reader.uleb(), Row::Saved::kUnknown); reader.uleb(); break;      // register
        case 0x0a:                                                                           // remember_state
          if (remembered_count_ == kMostRemembered) return false;
          remembered_[remembered_count_++] = row;
          break;
        case 0x0b:                                                                           // restore_state
          if (remembered_count_ == 0) return false;
          row = remembered_[--remembered_count_];
          break;
        case 0x0c: {                                                                         // def_cfa
          const uint64_t reg = reader.uleb();
          define_cfa(row, reg, static_cast<int64_t>(reader.uleb()));
          break;
        }
        case 0x0d: row.reg = reader.uleb(); break;                                           // def_cfa_register
        case 0x0e: row.offset = static_cast<int64_t>(reader.uleb()); break;                  // def_cfa_offset
        case 0x0f:                                                                           // def_cfa_expression
          row.cfa = Row::Cfa::kExpression;
          row.expression_bytes = reader.uleb();
          row.expression = reader.at();
          reader.skip(row.expression_bytes);
          break;
        case 0x10:                                                                           // expression
        case 0x16: {                                                                         // val_expression
          const uint64_t reg = reader.uleb();
          const uint64_t bytes = reader.uleb();
          int64_t offset = 0;
          if (opcode == 0x10 && is_rbp_slot(reader.at(), bytes, offset)) {
            set(row, reg, Row::Saved::kInFrame, offset);
            saved_below_rbp_ = true;
          } else {
            set(row, reg, Row::Saved::kUnknown);
          }
          reader.skip(bytes);
          break;
        }
        case 0x11: {                                                                         // offset_extended_sf
          const uint64_t reg = reader.uleb();
          set(row, reg, Row::Saved::kInFrame, reader.sleb() * shared_.data_align);
          break;
        }
        case 0x12: {                                                                         // def_cfa_sf
          const uint64_t reg = reader.uleb();
          define_cfa(row, reg, reader.sleb() * shared_.data_align);
          break;
        }
        case 0x13: row.offset = reader.sleb() * shared_.data_align; break;                   // def_cfa_offset_sf
        case 0x14:                                                                           // val_offset
        case 0x15: set(row, reader.uleb(), Row::Saved::kUnknown); reader.uleb(); break;      // val_offset_sf
        case 0x2e: reader.uleb(); break;                                                     // GNU_args_size
        case 0x2f: {                                                                         // GNU_negative_offset_extended
          const uint64_t reg = reader.uleb();
          set(row, reg, Row::Saved::kInFrame, -static_cast<int64_t>(reader.uleb()) * shared_.data_align);
          break;
        }
        default: return false;
      }
      if (location > pc) return true;
    }
    return true;
  }

 public:
  // Whether rbp's own slot was given by its distance from rbp, as functions that align their stack do: [rbp] itself.
  bool saved_below_rbp() const { return saved_below_rbp_; }

  // DW_OP_breg6 n: the address rbp + n.
  static bool is_rbp_slot(const uint8_t *expression, uint64_t bytes, int64_t &offset) {
    if (bytes < 2 || expression[0] != 0x76) return false;
    Reader reader(expression + 1, expression + bytes);
    offset = reader.sleb();
    return reader.empty();
  }

 private:
  const Shared &shared_;
  uintptr_t start_, pc_;
  Row initial_;
  Row remembered_[kMostRemembered];
  int remembered_count_ = 0;
  bool saved_below_rbp_ = false;
};

bool fits(int64_t offset) { return offset >= INT32_MIN && offset <= INT32_MAX; }

// DW_OP_breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus: what the linker writes for a PLT.
constexpr uint8_t kPltExpression[] = {0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};

FrameRule from_expression(const Row &row, bool saved_below_rbp) {
  if (row.expression_bytes == sizeof kPltExpression && memcmp(row.expression, kPltExpression, sizeof kPltExpression) == 0) {
    return {FrameRule::Kind::kPlt, FrameRule::kSameRbp, 0};
  }
  // DW_OP_breg6 n, deref. The caller's rbp is then where rbp points.
  int64_t offset;
  const uint64_t bytes = row.expression_bytes;
  if (bytes < 3 || row.expression[bytes - 1] != 0x06 || !Program::is_rbp_slot(row.expression, bytes - 1, offset)) return {};
  if (!saved_below_rbp || row.rbp != Row::Saved::kInFrame || row.rbp_offset != 0 || !fits(offset)) return {};
  return {FrameRule::Kind::kFromRbpSlot, FrameRule::kSameRbp, static_cast<int32_t>(offset)};
}

FrameRule from_row(const Row &row, bool saved_below_rbp) {
  if (row.ra == Row::Saved::kUndefined) return {FrameRule::Kind::kEnd, FrameRule::kSameRbp, 0};
  if (row.ra != Row::Saved::kInFrame || row.ra_offset != -8) return {};
  if (row.cfa == Row::Cfa::kExpression) return from_expression(row, saved_below_rbp);
  if (row.cfa != Row::Cfa::kRegister || (row.reg != kRsp && row.reg != kRbp) || !fits(row.offset)) return {};
  FrameRule rule{row.reg == kRsp ? FrameRule::Kind::kFromRsp : FrameRule::Kind::kFromRbp, FrameRule::kSameRbp,
                 static_cast<int32_t>(row.offset)};
  if (row.rbp == Row::Saved::kInFrame) {
    const int64_t words = row.rbp_offset / 8;
    if (saved_below_rbp || row.rbp_offset % 8 != 0 || words == 0 || words < INT16_MIN || words > INT16_MAX) return {};
    rule.rbp_words = static_cast<int16_t>(words);
  } else if (row.rbp == Row::Saved::kUnknown) {
    return {};
  }
  return rule;
}

// The FDE that may cover `pc`, by the sorted index (.eh_frame_hdr); nullptr: no index of the usual form.
const uint8_t *find_entry(uintptr_t pc, const uint8_t *index) {
  constexpr uint8_t kUsual = kToIndex | kS4;
  if (index[0] != 1 || index[2] == kOmitted || index[3] != kUsual) return nullptr;
  Reader reader(index + 4, index + 4 + 2 * sizeof(uint64_t));
  reader.encoded(index[1]);
  const uint64_t count = reader.encoded(index[2]);
  struct Pair {
    int32_t start, entry;  // relative to the index
  };
  const auto *pairs = reinterpret_cast<const Pair *>(reader.at());
  const auto wanted = static_cast<int64_t>(pc - address_of(index));
  uint64_t first = 0, last = count;  // the first that starts behind pc lies in [first, last]
  while (first < last) {
    const uint64_t middle = first + (last - first) / 2;
    if (pairs[middle].start > wanted) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  return first == 0 ? nullptr : index + pairs[first - 1].entry;
}

}  // namespace

FrameRule rule_at(uintptr_t pc, const dl_find_object &object) {
  if (object.dlfo_eh_frame == nullptr) return {};
  const uint8_t *entry = find_entry(pc, static_cast<const uint8_t *>(object.dlfo_eh_frame));
  if (entry == nullptr) return {};
  Reader reader = entry_at(entry);
  const uint8_t *link_at = reader.at();
  const auto link = reader.read<uint32_t>();
  if (link == 0) return {};
  Shared shared;
  if (!read_shared(link_at - link, shared)) return {};
  if ((shared.pointer_encoding & kRelative) != kToSelf || (shared.pointer_encoding & kIndirect) != 0) return {};
  const uintptr_t origin = address_of(reader.at());
  const uintptr_t start = origin + reader.encoded(shared.pointer_encoding);
  const uintptr_t bytes = reader.encoded(shared.pointer_encoding & kFormat);
  if (pc - start >= bytes) return {};
  if (shared.signal_frame) return {FrameRule::Kind::kSignal, FrameRule::kSameRbp, 0};
  if (shared.has_augmentation) {
    const uint64_t skipped = reader.uleb();
    reader.skip(skipped);
  }
  Program program(shared, start, pc);
  Row row;
  if (!program.run(reader, row)) return {};
  return from_row(row, program.saved_below_rbp());
}

}  // namespace warren::inspect
