// Claim: a script's work on a log: its lines are split into fields, joined, replaced, sorted, counted and reported.
// Held constant: 6 logs of 20,000 to 60,000 lines of four fields; all fields, words and results are strings of their own, collected in
// vectors, maps and sets that are dropped with their log. Unit: one line of a log. Run by bench/run.py.
#include <algorithm>
#include <map>
#include <sstream>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "workload.h"

namespace {

constexpr int kLogs = 6;
constexpr int kLinesOfFirst = 20'000;
constexpr int kMoreLinesEach = 8000;

workload::Random generator(0x600DF00D600DF00DULL);

std::uint64_t draw() { return generator.next(); }

using Strings = std::vector<std::string>;

Strings split(const std::string &text, char separator) {
  Strings parts;
  std::size_t i = 0;
  for (;;) {
    const std::size_t end = text.find(separator, i);
    if (end == std::string::npos) {
      parts.push_back(text.substr(i));
      return parts;
    }
    parts.push_back(text.substr(i, end - i));
    i = end + 1;
  }
}

std::string join(const Strings &parts, const std::string &separator) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) text += separator;
    text += parts[i];
  }
  return text;
}

std::string replace_all(const std::string &text, const std::string &from, const std::string &to) {
  std::string result;
  std::size_t i = 0;
  std::size_t found;
  while ((found = text.find(from, i)) != std::string::npos) {
    result += text.substr(i, found - i) + to;
    i = found + from.size();
  }
  return result + text.substr(i);
}

std::string lower(std::string text) {
  for (char &c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string make_log(int lines) {
  static const char *const levels[] = {"INFO", "WARN", "ERROR", "DEBUG"};
  static const char *const verbs[] = {"Opened", "Closed", "Retried", "Failed to Parse", "Uploaded the Contents Of"};
  std::string log;
  for (int i = 0; i < lines; ++i) {
    const std::uint64_t minute = draw() % 60;
    const std::uint64_t hour = draw() % 24;
    const std::uint64_t day = 1 + draw() % 28;
    log += "2021-03-" + std::to_string(day) + "T" + std::to_string(hour) + ":" + std::to_string(minute);
    const std::uint64_t module = draw() % 50;
    const char *level = levels[draw() % 4];
    log += std::string(",") + level + ",module-" + std::to_string(module);
    const std::uint64_t file = draw() % 3000;
    const std::uint64_t volume = draw() % 30;
    const char *verb = verbs[draw() % 5];
    log += std::string(",") + verb + " /srv/data/Volume" + std::to_string(volume) + "/file" + std::to_string(file) + ".bin\n";
  }
  return log;
}

std::uint64_t hash(const std::string &text) {
  std::uint64_t value = 1469598103934665603ULL;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return value;
}

std::uint64_t evaluate(int lines) {
  std::uint64_t sum = 0;
  const std::string log = make_log(lines);
  Strings rows = split(log, '\n');
  rows.pop_back();

  std::map<std::string, std::unordered_map<std::string, int>> by_module;
  std::unordered_set<std::string> files;
  std::unordered_map<std::string, Strings> by_level;
  Strings rewritten;
  for (const auto &row : rows) {
    Strings fields = split(row, ',');
    by_module[fields[2]][fields[1]]++;
    Strings words = split(fields[3], ' ');
    files.insert(words.back());
    std::reverse(words.begin(), words.end());
    fields[3] = lower(join(words, " "));
    by_level[fields[1]].push_back(fields[0] + " " + fields[3]);
    rewritten.push_back(replace_all(join(fields, "\t"), "/", "::"));
  }
  std::sort(rewritten.begin(), rewritten.end());
  rewritten.erase(std::unique(rewritten.begin(), rewritten.end()), rewritten.end());
  sum += hash(join(rewritten, "\n")) + rewritten.size();

  Strings names(files.begin(), files.end());
  std::stable_sort(names.begin(), names.end(), [](const std::string &a, const std::string &b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  sum = sum * 31 + hash(join(names, ","));

  for (const char *level : {"INFO", "WARN", "ERROR", "DEBUG"}) {
    Strings sorted = by_level[level];
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); i += 10) sum = sum * 31 + hash(sorted[i]);
  }
  std::ostringstream report;
  for (const auto &[module, levels] : by_module) {
    report << module << ':';
    const std::map<std::string, int> sorted(levels.begin(), levels.end());
    for (const auto &[level, count] : sorted) report << ' ' << level << '=' << count;
    report << '\n';
  }
  return sum * 31 + hash(report.str());
}

}  // namespace

int main() {
  std::uint64_t lines = 0;
  std::uint64_t checksum = 0;
  for (int i = 0; i < kLogs; ++i) {
    const int lines_of_log = kLinesOfFirst + i * kMoreLinesEach;
    checksum = checksum * 31 + evaluate(lines_of_log);
    lines += static_cast<std::uint64_t>(lines_of_log);
  }
  workload::report(lines, checksum);
}
