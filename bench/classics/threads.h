// What the classics with threads share. Included by files of this directory only. Invariant: returns when all have ended.
#pragma once

#include <cstdlib>
#include <thread>
#include <vector>

namespace classics {

// Runs body(number) on so many threads at once.
template <class Body>
void on_threads(std::size_t count, Body body) {
  std::vector<std::thread> threads;
  for (std::size_t number = 0; number < count; ++number) threads.emplace_back(body, number);
  for (std::thread &thread : threads) thread.join();
}

// The program's argument number `which`, a count.
inline std::size_t argument(char **arguments, int which) { return std::strtoull(arguments[which], nullptr, 10); }

}  // namespace classics
