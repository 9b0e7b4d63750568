// WARREN_CONF: parser, ranges, texts, and the functions behind wr_conf_get and wr_conf_set: allocator/base/options.h.
// Run by base_test. Invariant: every row of options.def is tried at, inside and outside its bounds; texts are compared
// whole; each test leaves the options as it found them.
#include "allocator/base/options.h"

#include "tests/allocator/base/captured_fd.h"

#include <cerrno>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace warren {
namespace {

enum class Kind { kFlag, kNumber, kBytes, kChoice, kText };

struct Row {
  const char *key;
  Kind kind;
  uint64_t initial, min, max;
  const char *words;
  bool live;
  const char *text;
  std::atomic<uint64_t> *number;
};

const Row kRows[] = {
#define FLAG(key, initial, live, text) {#key, Kind::kFlag, initial, 0, 1, "0|1", live, text, &options.key},
#define NUMBER(key, initial, min, max, live, text) \
  {#key, Kind::kNumber, initial, min, max, "", live, text, &options.key},
#define BYTES(key, initial, min, max, live, text) {#key, Kind::kBytes, initial, min, max, "", live, text, &options.key},
#define CHOICE(key, initial, words, live, text) {#key, Kind::kChoice, initial, 0, 0, words, live, text, &options.key},
#define TEXT(key, live, text) {#key, Kind::kText, 0, 0, 0, "", live, text, nullptr},
#include "allocator/base/options.def"
#undef FLAG
#undef NUMBER
#undef BYTES
#undef CHOICE
#undef TEXT
};

std::vector<std::string> words_of(const Row &row) {
  std::vector<std::string> words;
  std::istringstream all(row.words);
  for (std::string word; std::getline(all, word, '|');) words.push_back(word);
  return words;
}

class OptionsTest : public ::testing::Test {
 protected:
  ~OptionsTest() override {
    for (const Row &row : kRows) {
      if (row.number != nullptr) row.number->store(row.initial);
    }
    memset(options.prof, 0, sizeof options.prof);
  }

  static std::string read(const std::string &conf) {
    CapturedFd captured;
    option_parser::read(conf.c_str());
    return captured.text();
  }

  static std::string get(const char *key) {
    char out[512];
    const int length = option_parser::get(key, out, sizeof out);
    EXPECT_EQ(length, static_cast<int>(strlen(out))) << key;
    return out;
  }

  static bool takes(const Row &row, const std::string &value) {
    return read(std::string(row.key) + "=" + value).empty();
  }
};

TEST_F(OptionsTest, DefaultsAreInRange) {
  for (const Row &row : kRows) {
    if (row.number == nullptr) continue;
    EXPECT_EQ(row.number->load(), row.initial) << row.key;
    if (row.kind == Kind::kChoice) {
      EXPECT_LT(row.initial, words_of(row).size()) << row.key;
    } else if (row.initial != kNoLimit) {
      EXPECT_GE(row.initial, row.min) << row.key;
      EXPECT_LE(row.initial, row.max) << row.key;
    }
  }
}

TEST_F(OptionsTest, EveryNumberIsTriedAtItsBounds) {
  for (const Row &row : kRows) {
    if (row.kind != Kind::kNumber && row.kind != Kind::kBytes) continue;
    SCOPED_TRACE(row.key);
    EXPECT_TRUE(takes(row, std::to_string(row.min)));
    EXPECT_EQ(row.number->load(), row.min);
    EXPECT_TRUE(takes(row, std::to_string(row.max)));
    EXPECT_EQ(row.number->load(), row.max);
    if (row.min != 0) {
      EXPECT_FALSE(takes(row, std::to_string(row.min - 1)));
      EXPECT_EQ(row.number->load(), row.max) << "the old value stays";
    }
    if (row.max != kNoLimit) {
      EXPECT_FALSE(takes(row, std::to_string(row.max + 1)));
      EXPECT_EQ(row.number->load(), row.max) << "the old value stays";
    }
    EXPECT_TRUE(takes(row, "off"));
    EXPECT_EQ(row.number->load(), kNoLimit);
    EXPECT_EQ(get(row.key), "off");
  }
}

TEST_F(OptionsTest, EveryWordOfAChoiceAndNoOther) {
  for (const Row &row : kRows) {
    if (row.kind != Kind::kFlag && row.kind != Kind::kChoice) continue;
    SCOPED_TRACE(row.key);
    const std::vector<std::string> words = words_of(row);
    for (size_t i = 0; i < words.size(); ++i) {
      EXPECT_TRUE(takes(row, words[i]));
      EXPECT_EQ(row.number->load(), i);
      EXPECT_EQ(get(row.key), words[i]);
      EXPECT_FALSE(takes(row, words[i] + "x"));
      EXPECT_FALSE(takes(row, words[i].substr(1)));
    }
    for (const char *wrong : {"", "|", "OFF", "true", "yes", "-1", "2"}) EXPECT_FALSE(takes(row, wrong)) << wrong;
    EXPECT_FALSE(takes(row, row.words)) << "the list itself is no word";
  }
}

TEST_F(OptionsTest, NumbersThatAreNone) {
  for (const char *wrong : {"", "-1", "+1", " 1", "1 ", "1x", "x", "0x10", "1.5", "1e3", "1KiB", "Off", "off1",
                            "18446744073709551616", "99999999999999999999999999999999"}) {
    EXPECT_EQ(read(std::string("gogc=") + wrong),
              std::string("warren: WARREN_CONF: gogc=") + wrong + ": expected 1 to 1000000, or off; keeping 100\n");
  }
  EXPECT_EQ(read("gogc=007"), "");
  EXPECT_EQ(options.gogc.load(), 7u);
}

TEST_F(OptionsTest, SuffixesOfSizes) {
  const struct {
    const char *text;
    uint64_t bytes;
  } good[] = {{"1048576", 1 << 20},
              {"1048576B", 1 << 20},
              {"1024KiB", 1 << 20},
              {"3MiB", 3 << 20},
              {"2GiB", uint64_t{2} << 30},
              {"5TiB", uint64_t{5} << 40},
              {"16777215TiB", uint64_t{16777215} << 40}};
  for (const auto &each : good) {
    EXPECT_EQ(read(std::string("memlimit=") + each.text), "") << each.text;
    EXPECT_EQ(options.memlimit.load(), each.bytes) << each.text;
  }
  options.memlimit.store(kNoLimit);
  for (const char *wrong : {"", "KiB", "B", "1kib", "1K", "1KB", "1 MiB", "1MiBB", "1PiB", "MiB1", "16777216TiB",
                            "18446744073709551615KiB", "1MiB1"}) {
    EXPECT_EQ(read(std::string("memlimit=") + wrong),
              std::string("warren: WARREN_CONF: memlimit=") + wrong + ": expected 1MiB or more, or off; keeping off\n");
  }
}

TEST_F(OptionsTest, TextsOfMistakes) {
  EXPECT_EQ(read("stats"), "warren: WARREN_CONF: stats: expected key=value; ignored\n");
  EXPECT_EQ(read("nope=1"), "warren: WARREN_CONF: nope=1: there is no such key; ignored (help=1 lists the keys)\n");
  EXPECT_EQ(read("=1"), "warren: WARREN_CONF: =1: there is no such key; ignored (help=1 lists the keys)\n");
  EXPECT_EQ(read(" stats=exit"),
            "warren: WARREN_CONF:  stats=exit: there is no such key; ignored (help=1 lists the keys)\n");
  EXPECT_EQ(read("stats=maybe"), "warren: WARREN_CONF: stats=maybe: expected off|exit|json; keeping off\n");
  EXPECT_EQ(read("abort_on_error=2"), "warren: WARREN_CONF: abort_on_error=2: expected 0|1; keeping 1\n");
  EXPECT_EQ(read("maxprocs=1025"), "warren: WARREN_CONF: maxprocs=1025: expected 0 to 1024, or off; keeping 0\n");
  const std::string arena = read("arena=1MiB");
  EXPECT_EQ(arena.substr(0, arena.find(" to ")), "warren: WARREN_CONF: arena=1MiB: expected 64MiB");
  EXPECT_NE(arena.find("16TiB"), std::string::npos) << arena;
  EXPECT_NE(arena.find("; keeping 1TiB\n"), std::string::npos) << arena;
}

TEST_F(OptionsTest, AMistakeKeepsTheValueBeforeIt) {
  EXPECT_EQ(read("gogc=50,gogc=x"), "warren: WARREN_CONF: gogc=x: expected 1 to 1000000, or off; keeping 50\n");
  EXPECT_EQ(options.gogc.load(), 50u);
}

TEST_F(OptionsTest, ListsAreReadFromLeftToRight) {
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read(","), "");
  EXPECT_EQ(read(",,gogc=50,,stats=exit,"), "");
  EXPECT_EQ(options.gogc.load(), 50u);
  EXPECT_EQ(options.stats.load(), 1u);
  EXPECT_EQ(read("gogc=1,gogc=2,gogc=3"), "") << "the last one counts";
  EXPECT_EQ(options.gogc.load(), 3u);
  EXPECT_EQ(read("a,b=1,gogc=4,c"),
            "warren: WARREN_CONF: a: expected key=value; ignored\n"
            "warren: WARREN_CONF: b=1: there is no such key; ignored (help=1 lists the keys)\n"
            "warren: WARREN_CONF: c: expected key=value; ignored\n");
  EXPECT_EQ(options.gogc.load(), 4u) << "mistakes do not stop the reading";
}

TEST_F(OptionsTest, TextsHaveALimit) {
  EXPECT_EQ(read("prof=/tmp/a=b.prof"), "");
  EXPECT_EQ(get("prof"), "/tmp/a=b.prof") << "the first = splits";
  const std::string longest(255, 'p');
  EXPECT_EQ(read("prof=" + longest), "");
  EXPECT_EQ(get("prof"), longest);
  EXPECT_EQ(read("prof="), "");
  EXPECT_EQ(get("prof"), "");
  const std::string complaint = read("prof=" + longest + "p");
  EXPECT_EQ(complaint, "warren: WARREN_CONF: prof=" + longest + "p: expected at most 255 characters; keeping \n");
  EXPECT_EQ(get("prof"), "");
}

TEST_F(OptionsTest, AnEndlessEntryIsCut) {
  const std::string endless(5000, 'x');
  const std::string complaint = read(endless + ",gogc=9");
  EXPECT_EQ(complaint, ("warren: WARREN_CONF: " + endless).substr(0, 511) + "\n");
  EXPECT_EQ(options.gogc.load(), 9u);
}

TEST_F(OptionsTest, SetAtRunTime) {
  EXPECT_EQ(option_parser::set("no_such_key", "1"), ENOENT);
  EXPECT_EQ(option_parser::set("", "1"), ENOENT);
  for (const Row &row : kRows) {
    SCOPED_TRACE(row.key);
    const std::string value =
        row.kind == Kind::kChoice || row.kind == Kind::kFlag ? words_of(row).back() : std::to_string(row.max);
    EXPECT_EQ(option_parser::set(row.key, value.c_str()), row.live ? 0 : EPERM);
    EXPECT_EQ(option_parser::set(row.key, "?"), row.live ? EINVAL : EPERM);
    if (row.live) {
      EXPECT_NE(get(row.key), "?");
    } else if (row.number != nullptr) {
      EXPECT_EQ(row.number->load(), row.initial);
    }
  }
}

TEST_F(OptionsTest, SetPrintsNothing) {
  CapturedFd captured;
  option_parser::set("gogc", "wrong");
  option_parser::set("nope", "1");
  EXPECT_EQ(captured.text(), "");
}

TEST_F(OptionsTest, GetIsLikeSnprintf) {
  EXPECT_EQ(option_parser::get("no_such_key", nullptr, 0), -1);
  EXPECT_EQ(option_parser::get("arena", nullptr, 0), 4);
  char out[8] = "garbage";
  EXPECT_EQ(option_parser::get("arena", out, 1), 4);
  EXPECT_STREQ(out, "");
  EXPECT_EQ(option_parser::get("arena", out, 3), 4);
  EXPECT_STREQ(out, "1T");
  EXPECT_EQ(option_parser::get("arena", out, 4), 4);
  EXPECT_STREQ(out, "1Ti");
  EXPECT_EQ(option_parser::get("arena", out, 5), 4);
  EXPECT_STREQ(out, "1TiB");
}

TEST_F(OptionsTest, SizesArePrintedWithTheLargestSuffixThatIsExact) {
  const struct {
    uint64_t bytes;
    const char *text;
  } rows[] = {{uint64_t{1} << 20, "1MiB"},           {(uint64_t{1} << 20) + 1024, "1025KiB"},
              {(uint64_t{1} << 20) + 1, "1048577B"}, {uint64_t{3} << 40, "3TiB"},
              {uint64_t{1536} << 30, "1536GiB"},     {kNoLimit, "off"}};
  for (const auto &row : rows) {
    options.memlimit.store(row.bytes);
    EXPECT_EQ(get("memlimit"), row.text);
    EXPECT_EQ(option_parser::set("memlimit", row.text), 0) << "and can be read back";
    EXPECT_EQ(options.memlimit.load(), row.bytes);
  }
}

TEST_F(OptionsTest, HelpShowsEveryRowOnALineOfItsOwn) {
  CapturedFd captured;
  option_parser::print_help();
  std::istringstream lines(captured.text());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(line, "warren: keys of WARREN_CONF (key = value now; allowed; meaning)");
  for (const Row &row : kRows) {
    ASSERT_TRUE(std::getline(lines, line)) << row.key;
    const std::string start = std::string("  ") + row.key + " = " + get(row.key) + "; ";
    EXPECT_EQ(line.substr(0, start.size()), start);
    const std::string end = std::string("; ") + row.text;
    ASSERT_GE(line.size(), end.size());
    EXPECT_EQ(line.substr(line.size() - end.size()), end) << "cut";
  }
  EXPECT_FALSE(std::getline(lines, line)) << line;
}

}  // namespace
}  // namespace warren
