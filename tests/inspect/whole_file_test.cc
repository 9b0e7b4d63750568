// A file appears whole or not at all.
#include "inspect/whole_file.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace warren::inspect {
namespace {

namespace fs = std::filesystem;

class WholeFileTest : public testing::Test {
 protected:
  WholeFileTest() {
    char made[] = "/tmp/whole_file.XXXXXX";
    folder_ = mkdtemp(made);
    path_ = folder_ / "file";
  }
  ~WholeFileTest() override { fs::remove_all(folder_); }

  int write(const char *text, int error) {
    WholeFile file;
    if (const int failed = file.open(path_.c_str())) return failed;
    const std::string all(text);
    EXPECT_EQ(::write(file.fd(), all.data(), all.size()), static_cast<ssize_t>(all.size()));
    EXPECT_NE(contents(), text);
    return file.close(error);
  }

  std::string contents() const {
    std::ifstream in(path_);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  ptrdiff_t files() const { return std::distance(fs::directory_iterator(folder_), {}); }

  fs::path folder_, path_;
};

TEST_F(WholeFileTest, AppearsWhenItIsComplete) {
  EXPECT_EQ(write("first", 0), 0);
  EXPECT_EQ(contents(), "first");
  EXPECT_EQ(write("second", 0), 0);
  EXPECT_EQ(contents(), "second");
  EXPECT_EQ(files(), 1);
}

TEST_F(WholeFileTest, WhatWasThereStaysAfterAnError) {
  EXPECT_EQ(write("first", 0), 0);
  EXPECT_EQ(write("second", EIO), EIO);
  EXPECT_EQ(contents(), "first");
  EXPECT_EQ(files(), 1);
}

TEST_F(WholeFileTest, SaysWhyItCannotHaveItsName) {
  path_ = folder_ / "none" / "file";
  EXPECT_EQ(write("text", 0), ENOENT);
  path_ = folder_ / std::string(5000, 'x');
  EXPECT_EQ(write("text", 0), ENAMETOOLONG);
  EXPECT_EQ(files(), 0);
}

TEST_F(WholeFileTest, WhatIsNoRegularFileIsWrittenToAsItIs) {
  WholeFile file;
  ASSERT_EQ(file.open("/dev/full"), 0);
  EXPECT_EQ(::write(file.fd(), "x", 1), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(file.close(ENOSPC), ENOSPC);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

// Also where it leads to a regular file, as /dev/stdout may.
TEST_F(WholeFileTest, ALinkStaysOne) {
  const fs::path target = folder_ / "target";
  std::ofstream(target) << "something longer";
  fs::create_symlink(target, path_);
  WholeFile file;
  ASSERT_EQ(file.open(path_.c_str()), 0);
  EXPECT_EQ(::write(file.fd(), "text", 4), 4);
  EXPECT_EQ(file.close(0), 0);
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_TRUE(fs::is_regular_file(target));
  EXPECT_EQ(contents(), "text");
}

}  // namespace
}  // namespace warren::inspect
