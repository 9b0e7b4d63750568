// The central of a class: allocator/central.h. Run as a test of its own.
// Invariant: objects are tracked by address; after each scenario the bits of every span, its count of free objects
// and the central's statistics are the same number.
#include "allocator/central.h"

#include "allocator/base/fatal.h"
#include "allocator/cache.h"
#include "allocator/heap.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"
#include "allocator/page_map.h"
#include "tests/allocator/base/captured_fd.h"
#include "tests/allocator/batches.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace warren {
namespace {

using ::testing::KilledBySignal;

TEST(Central, KnowsItsClass) {
  for (unsigned number = 0; number < kClassCount; ++number) EXPECT_EQ(centrals[number].size_class().value, number);
}

TEST(Central, FetchesAscendingAndDistinct) {
  in_own_heap([] {
    std::vector<void *> all;
    for (const size_t wanted : {1u, 7u, 64u, 100u, 128u}) {
      const std::vector<void *> batch = fetch(kClass, wanted);
      EXPECT_EQ(batch.size(), wanted);
      EXPECT_TRUE(std::is_sorted(batch.begin(), batch.end()));
      all.insert(all.end(), batch.begin(), batch.end());
    }
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end())) << "one span is used up from its start";
    EXPECT_EQ(std::set<void *>(all.begin(), all.end()).size(), all.size());
    EXPECT_EQ(objects_out(kClass), all.size());
  });
}

std::set<uintptr_t> lines_of(const std::vector<void *> &objects, size_t size) {
  std::set<uintptr_t> lines;
  for (void *object : objects) {
    for (uintptr_t line = address_of(object) / 64; line <= (address_of(object) + size - 1) / 64; ++line) lines.insert(line);
  }
  return lines;
}

TEST(Central, WhoIsNewToAClassGetsLinesOfItsOwn) {
  in_own_heap([] {
    for (unsigned number = 1; number < kClassCount; ++number) {
      const SizeClass size_class{static_cast<uint8_t>(number)};
      const size_t size = info(size_class).object_size;
      const size_t wanted = info(size_class).objects >= 32 ? 8 : 1;
      const std::vector<void *> others = fetch(size_class, 3);
      std::set<uintptr_t> taken = lines_of(others, size);
      std::vector<void *> all = others;
      for (int thread = 0; thread < 2; ++thread) {
        const std::vector<void *> own = fetch_apart(size_class, wanted);
        ASSERT_FALSE(own.empty()) << size;
        ASSERT_LE(own.size(), wanted) << size;
        for (const uintptr_t line : lines_of(own, size)) EXPECT_TRUE(taken.insert(line).second) << "blocks of " << size;
        all.insert(all.end(), own.begin(), own.end());
      }
      EXPECT_EQ(objects_out(size_class), all.size());
      EXPECT_EQ(std::set<void *>(all.begin(), all.end()).size(), all.size());
      give_back(size_class, all);
      EXPECT_EQ(objects_out(size_class), 0u);
    }
  });
}

std::set<uintptr_t> mark_lines_of(SizeClass size_class, const std::vector<void *> &objects) {
  std::set<uintptr_t> lines;
  for (void *object : objects) lines.insert(address_of(object_map::of_class(size_class, address_of(object))) / 64);
  return lines;
}

TEST(Central, WhoIsNewToASmallClassGetsMarksOnLinesOfTheirOwn) {
  in_own_heap([] {
    for (unsigned number = 1; number <= kLastSmallClass; ++number) {
      const SizeClass size_class{static_cast<uint8_t>(number)};
      std::set<uintptr_t> taken = mark_lines_of(size_class, fetch(size_class, 1));
      for (int thread = 0; thread < 2; ++thread) {
        const std::vector<void *> own = fetch_apart(size_class, 2);
        ASSERT_FALSE(own.empty());
        for (const uintptr_t line : mark_lines_of(size_class, own)) {
          EXPECT_TRUE(taken.insert(line).second) << "blocks of " << info(size_class).object_size;
        }
      }
    }
  });
}

TEST(Central, ThreadsThatRefillInTurnsShareNoLineOfMarks) {
  in_own_heap([] {
    for (unsigned number = 1; number <= kLastSmallClass; ++number) {
      const SizeClass size_class{static_cast<uint8_t>(number)};
      const SizeClassInfo &shape = info(size_class);
      if (shape.span_pages != 1 || shape.object_size > 256) continue;  // of the larger ones too few fit in a line of marks
      constexpr size_t kThreads = 3;
      std::vector<void *> all;
      std::set<uintptr_t> lines[kThreads];
      void *last[kThreads] = {};
      for (size_t batch = 8; batch <= 128; batch *= 2) {
        for (size_t thread = 0; thread < kThreads; ++thread) {
          const std::vector<void *> own = fetch_apart(size_class, std::min<size_t>(batch, shape.objects), last[thread]);
          ASSERT_FALSE(own.empty());
          last[thread] = own.front();
          lines[thread].merge(mark_lines_of(size_class, own));
          all.insert(all.end(), own.begin(), own.end());
        }
      }
      std::set<uintptr_t> seen;
      for (const std::set<uintptr_t> &of_thread : lines) {
        for (const uintptr_t line : of_thread) EXPECT_TRUE(seen.insert(line).second) << "blocks of " << shape.object_size;
      }
      EXPECT_EQ(std::set<void *>(all.begin(), all.end()).size(), all.size());
      EXPECT_EQ(objects_out(size_class), all.size());
      give_back(size_class, all);
      EXPECT_EQ(objects_out(size_class), 0u);
    }
  });
}

TEST(Central, WhoRefillsApartUsesUpWhereItIs) {
  in_own_heap([] {
    const size_t stretch = object_map::kBytesForLine / info(kClass).object_size;  // in objects
    std::vector<void *> own = fetch_apart(kClass, 8);
    const std::vector<void *> others = fetch_apart(kClass, 8);
    while (own.size() < stretch) {
      const std::vector<void *> more = fetch_apart(kClass, 8, own.back());
      ASSERT_FALSE(more.empty());
      own.insert(own.end(), more.begin(), more.end());
    }
    std::sort(own.begin(), own.end());
    EXPECT_EQ(address_of(own.back()) - address_of(own.front()), object_map::kBytesForLine - info(kClass).object_size);
    EXPECT_EQ(address_of(own.front()) % object_map::kBytesForLine, 0u);
  });
}

TEST(Central, ASpanOfTheirOwnOnlyWhileTheClassHasLittleFree) {
  in_own_heap([] {
    const size_t stretches = kPageSize / object_map::kBytesForLine;
    for (size_t thread = 0; thread < stretches; ++thread) fetch_apart(kClass, 1);
    EXPECT_EQ(central_of(kClass).stats().spans, 1u);
    fetch_apart(kClass, 1);
    EXPECT_EQ(central_of(kClass).stats().spans, 2u) << "each line has somebody's object";
    for (size_t thread = 0; thread < 10 * stretches; ++thread) EXPECT_EQ(fetch_apart(kClass, 1).size(), 1u);
    EXPECT_EQ(central_of(kClass).stats().spans, 2u) << "half of each line is enough";
  });
}

TEST(Central, WhereTheThreadWasBeforeMayBeAnywhere) {
  in_own_heap([] {
    const std::vector<void *> of_other_class = fetch(SizeClass{5}, 1);
    int local = 0;
    const void *const places[] = {nullptr, of_other_class[0], &local, at_address<void>(arena.start), at_address<void>(~uintptr_t{0}),
                                  at_address<void>(arena.start + (size_t{1} << 46))};
    for (const void *last : places) EXPECT_EQ(fetch_apart(kClass, 8, last).size(), 8u) << last;
  });
}

TEST(Central, WithoutWholeLinesAnyObjectWillDo) {
  in_own_heap([] {
    std::vector<void *> all = fetch(kClass, info(kClass).objects), kept;
    for (void *object : fetch(kClass, info(kClass).objects)) all.push_back(object);
    for (size_t i = 0; i < all.size(); i += 2) {
      kept.push_back(all[i]);
      give_back(kClass, {all[i + 1]});
    }
    const std::vector<void *> rest = fetch_apart(kClass, 8);
    EXPECT_EQ(rest.size(), 8u);
    EXPECT_EQ(objects_out(kClass), kept.size() + rest.size());
    EXPECT_EQ(central_of(kClass).stats().spans, 2u);
  });
}

TEST(Central, EveryObjectOfEveryClassOnce) {
  in_own_heap([] {
    for (unsigned number = 1; number < kClassCount; ++number) {
      const SizeClass size_class{static_cast<uint8_t>(number)};
      const SizeClassInfo &shape = info(size_class);
      std::vector<void *> all;
      while (all.size() < 3u * shape.objects) {
        for (void *object : fetch(size_class, 50)) all.push_back(object);
      }
      std::sort(all.begin(), all.end());
      for (size_t i = 0; i < all.size(); ++i) {
        const Span *span = span_of(all[i]);
        const size_t offset = address_of(all[i]) - span->start();
        ASSERT_EQ(offset % shape.object_size, 0u);
        ASSERT_LT(offset / shape.object_size, shape.objects) << "in the span's tail";
        if (i > 0) {
          ASSERT_GE(address_of(all[i]), address_of(all[i - 1]) + shape.object_size);
        }
      }
      EXPECT_EQ(objects_out(size_class), all.size());
      give_back(size_class, all);
      EXPECT_EQ(objects_out(size_class), 0u);
    }
  });
}

// The arena's bits are touched for classes with many objects only, and the bitmap, of twice the size, for tiny ones.
TEST(Central, FewObjectsHaveTheirBitsInTheSpan) {
  in_own_heap([] {
    for (uint8_t number = 1; number < kClassCount; ++number) {
      const SizeClass size_class{number};
      void *object;
      ASSERT_EQ(central_of(size_class).fetch(&object + 1, 1), 1u);
      Span *span = span_of(object);
      const auto any = [](const uint64_t *words, size_t bytes) { return bits::find_set(words, 0, bytes * 8) != bytes * 8; };
      const size_t objects = info(size_class).objects;
      EXPECT_EQ(any(arena.free_bits(span->first, 65), kFreeBitsBytesPerPage), objects > 64 && objects <= 512) << objects;
      EXPECT_EQ(any(arena.bits(span->first), kBitmapBytesPerPage), objects > 512) << objects;
      objects_out(size_class);
      central_of(size_class).give_back(&object, 1);
    }
  });
}

TEST(Central, AShortBatchRatherThanANewSpan) {
  in_own_heap([] {
    const size_t objects = info(kClass).objects;
    EXPECT_EQ(fetch(kClass, objects + 100).size(), objects);
    EXPECT_EQ(central_of(kClass).stats().spans, 1u);
    EXPECT_EQ(fetch(kClass, 1).size(), 1u) << "the next call gets one";
    EXPECT_EQ(central_of(kClass).stats().spans, 2u);
  });
}

TEST(Central, ABatchMayComeFromSeveralSpans) {
  in_own_heap([] {
    const size_t objects = info(kClass).objects;
    const std::vector<void *> first = fetch(kClass, objects), second = fetch(kClass, objects);
    std::vector<void *> some{first[10], first[3], second[5], second[400]};
    give_back(kClass, some);
    std::vector<void *> again = fetch(kClass, 10);
    std::sort(some.begin(), some.end());
    std::sort(again.begin(), again.end());
    EXPECT_EQ(again, some) << "what is free, and no new span";
    EXPECT_EQ(objects_out(kClass), 2 * objects);
  });
}

TEST(Central, ReturnedObjectsAreFoundAgainInOrder) {
  in_own_heap([] {
    const std::vector<void *> all = fetch(kClass, info(kClass).objects);
    const std::vector<void *> some{all[300], all[2], all[64], all[63], all[511]};
    give_back(kClass, some);
    const std::vector<void *> expected{all[2], all[63], all[64], all[300], all[511]};
    EXPECT_EQ(fetch(kClass, 5), expected);
  });
}

// Objects that follow each other are put together, up to the end of a word of bits or of the span: 34 of 240 bytes fill a span but for
// a tail, 32 of 256 fill it and the next one begins where they end, as do 512 of 16.
TEST(Central, RunsOfObjectsEndWithTheirWordAndTheirSpan) {
  in_own_heap([] {
    for (const uint8_t number : {kRoomyClass, uint8_t{17}, uint8_t{18}, uint8_t{20}}) {
      const SizeClass size_class{number};
      std::vector<void *> all;
      while (all.size() < 3u * info(size_class).objects) {
        for (void *object : fetch(size_class, 128)) all.push_back(object);
      }
      std::sort(all.begin(), all.end());
      for (const size_t skipped : {1, 2, 3, 15, 31}) {  // which interrupts the runs
        std::vector<void *> batch, rest;
        for (size_t i = 0; i < all.size(); ++i) (i % (skipped + 1) == skipped ? rest : batch).push_back(all[i]);
        batch.insert(batch.begin() + 1, at_address<void>(arena.start));  // the sentinel, as an interrupted push leaves it in a bin
        batch.push_back(at_address<void>(arena.start));
        give_back(size_class, batch);
        EXPECT_EQ(objects_out(size_class), rest.size());
        std::vector<void *> again = rest;
        while (again.size() < all.size()) {
          for (void *object : fetch(size_class, all.size() - again.size())) again.push_back(object);
        }
        std::sort(again.begin(), again.end());
        EXPECT_EQ(again, all) << unsigned{number} << " " << skipped;
      }
      give_back(size_class, all);
      EXPECT_EQ(objects_out(size_class), 0u);
    }
  });
}

TEST(Central, ARunOfWhichOneObjectIsBackAlready) {
  in_own_heap([] {
    fatal::set_abort_on_error(false);
    const std::vector<void *> all = fetch(kClass, 200);
    give_back(kClass, {all[70]});
    CapturedFd captured;
    give_back(kClass, std::vector<void *>(all.begin() + 10, all.begin() + 150));
    const std::string text = captured.text();
    char address[32];
    snprintf(address, sizeof address, "%p", all[70]);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    EXPECT_NE(text.find(address), std::string::npos) << text;
    EXPECT_EQ(objects_out(kClass), 60u);
    fatal::set_abort_on_error(true);
  });
}

// A raced double free in a program that is told to go on: the batch's first objects have emptied the span already.
TEST(Central, AnObjectTwiceInABatchThatEmptiesItsSpan) {
  in_own_heap([] {
    fatal::set_abort_on_error(false);
    const std::vector<void *> kept = fetch(kClass, info(kClass).objects);
    std::vector<void *> all = fetch(kClass, info(kClass).objects);
    const std::vector<void *> one{kept[0]};
    give_back(kClass, one);  // the class has another free object: the emptied span goes
    std::vector<void *> batch(all.begin(), all.end());
    batch.push_back(all[0]);
    batch.insert(batch.begin() + 1, kept[1]);  // so that the last one is a run of its own
    batch.insert(batch.end() - 1, kept[2]);
    give_back(kClass, batch);
    EXPECT_EQ(central_of(kClass).stats().spans, 1u);
    EXPECT_EQ(objects_out(kClass), kept.size() - 3);
    fatal::set_abort_on_error(true);
  });
}

TEST(Central, OneFreeSpanIsKept) {
  in_own_heap([] {
    const std::vector<void *> all = fetch(kClass, info(kClass).objects);
    const uint64_t free_before = page_heap::stats().free_pages;
    give_back(kClass, all);
    EXPECT_EQ(central_of(kClass).stats().spans, 1u) << "the class has no other free object";
    EXPECT_EQ(page_heap::stats().free_pages, free_before);
    EXPECT_EQ(objects_out(kClass), 0u);
    EXPECT_EQ(fetch(kClass, all.size()), all) << "and serves the next";
    give_back(kClass, all);
    central_of(kClass).release_kept();
    EXPECT_EQ(central_of(kClass).stats().spans, 0u);
    EXPECT_EQ(page_heap::stats().free_pages, free_before + info(kClass).span_pages);
    central_of(kClass).release_kept();  // nothing is kept: nothing happens
    EXPECT_EQ(objects_out(kClass), 0u);
  });
}

TEST(Central, OtherFreeSpansGoToThePageHeap) {
  in_own_heap([] {
    const size_t objects = info(kClass).objects;
    std::vector<std::vector<void *>> spans;
    for (int i = 0; i < 5; ++i) spans.push_back(fetch(kClass, objects));
    EXPECT_EQ(central_of(kClass).stats().spans, 5u);
    const uint64_t free_before = page_heap::stats().free_pages;
    std::vector<void *> all;
    for (const auto &span : spans) all.insert(all.end(), span.begin(), span.end());
    std::mt19937 random(7);
    std::shuffle(all.begin(), all.end(), random);
    give_back(kClass, all);
    EXPECT_EQ(central_of(kClass).stats().spans, 1u);
    EXPECT_EQ(page_heap::stats().free_pages, free_before + 4u * info(kClass).span_pages);
    EXPECT_EQ(objects_out(kClass), 0u);
  });
}

TEST(Central, ReleaseKeptLeavesSpansInUse) {
  in_own_heap([] {
    const std::vector<void *> some = fetch(kClass, 1);
    central_of(kClass).release_kept();
    EXPECT_EQ(central_of(kClass).stats().spans, 1u);
    EXPECT_EQ(objects_out(kClass), 1u);
    give_back(kClass, some);
  });
}

TEST(CentralDeathTest, AnObjectReturnedTwiceIsADoubleFree) {
  EXPECT_EXIT(
      {
        heap::set_up();
        const std::vector<void *> some = fetch(kClass, 3);
        give_back(kClass, {some[1], some[0], some[1]});
      },
      KilledBySignal(SIGABRT),
      "^warren: fatal error: double free: free\\(0x[0-9a-f]+\\): two threads freed this block of 16 bytes at the same time and it is in use again; aborting\n$");
}

constexpr SizeClass kOnePerSpan{67};

// Objects that are in the central, one of them in a span that it has kept; the other's has gone to the page heap.
std::vector<void *> two_given_back() {
  fatal::set_abort_on_error(false);
  const std::vector<void *> two = {fetch(kOnePerSpan, 1)[0], fetch(kOnePerSpan, 1)[0]};
  give_back(kOnePerSpan, two);
  return two;
}

bool is_seen_again(void *object) {
  CapturedFd captured;
  give_back(kOnePerSpan, {object});
  return captured.text().find("two threads freed this block of 32768 bytes") != std::string::npos;
}

// Two threads' caches had it, and the first that was emptied was the last with an object of the span.
TEST(Central, AnObjectReturnedTwiceWhoseSpanIsGoneIsSeenAndLeftAlone) {
  in_own_heap([] {
    const std::vector<void *> two = two_given_back();
    for (void *object : two) {
      EXPECT_TRUE(is_seen_again(object)) << (span_of(object)->state != SpanState::kObjects);
    }
    EXPECT_EQ(objects_out(kOnePerSpan), 0u);
    EXPECT_EQ(central_of(kOnePerSpan).stats().spans, 1u);
  });
}

TEST(Central, AnObjectReturnedTwiceWhosePagesAreTheCollectorsIsSeenAndLeftAlone) {
  in_own_heap([] {
    const std::vector<void *> two = two_given_back();
    Span *collected = page_heap::allocate(PageCount{info(kOnePerSpan).span_pages}, SpanState::kCollected, kOnePerSpan);
    ASSERT_NE(collected, nullptr);
    collected->few_bits = 0;  // what the span that was there had left in it
    size_t noticed = 0;
    for (void *object : two) {
      if (span_of(object) != collected) continue;
      EXPECT_TRUE(is_seen_again(object));
      ++noticed;
    }
    EXPECT_EQ(noticed, 1u) << "the pages were not used again: choose others";
    EXPECT_EQ(collected->state, SpanState::kCollected);
    page_heap::free(collected);
    EXPECT_EQ(objects_out(kOnePerSpan), 0u);
  });
}

TEST(Central, AnObjectReturnedTwiceThatLiesAcrossOthersByNowIsSeenAndLeftAlone) {
  in_own_heap([] {
    const std::vector<void *> two = two_given_back();
    central_of(kOnePerSpan).release_kept();
    fetch(kClass, 1);  // one page, so that the others lie elsewhere
    for (int i = 0; i < 2; ++i) fetch(kOnePerSpan, 1);
    size_t across = 0;
    for (void *object : two) {
      if (span_of(object)->size_class != kOnePerSpan || span_of(object)->start() == address_of(object)) continue;
      EXPECT_TRUE(is_seen_again(object));
      ++across;
    }
    EXPECT_NE(across, 0u) << "the pages were not used again: choose others";
    EXPECT_EQ(objects_out(kOnePerSpan), 2u);
  });
}

TEST(Central, AnObjectReturnedTwiceCountsOnceWhereErrorsAreIgnored) {
  in_own_heap([] {
    fatal::set_abort_on_error(false);
    const std::vector<void *> some = fetch(kClass, 3);
    CapturedFd captured;
    give_back(kClass, {some[1], some[1], some[1]});
    const std::string text = captured.text();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
    EXPECT_EQ(objects_out(kClass), 2u);
  });
}

TEST(Central, AdoptionPassesOverWhatIsNoObjectOfTheClass) {
  in_own_heap([] {
    const std::vector<void *> mine = fetch(kClass, 10), others = fetch(SizeClass{9}, 3);
    const Span *large = page_heap::allocate(PageCount{4}, SpanState::kLarge, SizeClass{0});
    Span *free_span = page_heap::allocate(PageCount{4}, SpanState::kLarge, SizeClass{0});
    const uintptr_t free_start = free_span->start();
    page_heap::free(free_span);
    give_back(kClass, {mine[7]});
    *object_map::fine(address_of(mine[8])) = kClass.value;
    int local;
    const std::vector<void *> seen{mine[0],
                                   mine[1],
                                   mine[0],
                                   at_address<void>(address_of(mine[2]) + 8),
                                   mine[7],
                                   mine[8],
                                   others[0],
                                   at_address<void>(large->start()),
                                   at_address<void>(free_start),
                                   at_address<void>(free_start + kPageSize),
                                   &local,
                                   nullptr,
                                   at_address<void>(arena.start),
                                   at_address<void>(~uintptr_t{0})};
    central_of(kClass).adopt(seen.data(), seen.size());
    EXPECT_EQ(objects_out(kClass), 7u) << "the first two have come back, once";
    EXPECT_EQ(objects_out(SizeClass{9}), 3u);
    *object_map::fine(address_of(mine[8])) = 0;
  });
}

TEST(Central, RandomBatchesAgainstASet) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  in_own_heap([seed] {
    std::mt19937 random(seed);
    for (unsigned number = 1; number < kClassCount; ++number) {
      const SizeClass size_class{static_cast<uint8_t>(number)};
      const size_t size = info(size_class).object_size;
      std::vector<void *> mine;
      std::set<void *> model;
      for (int step = 0; step < 400; ++step) {
        const size_t count = 1 + random() % 100;
        if (random() % 2 == 0 || mine.size() < count) {
          const void *last = mine.empty() ? nullptr : mine[random() % mine.size()];
          const unsigned shard = random() % 3 == 0 ? random() % kShards : 0;
          const std::vector<void *> batch = random() % 2 == 0 ? fetch(size_class, count, shard) : fetch_apart(size_class, count, last, shard);
          ASSERT_FALSE(batch.empty());
          for (void *object : batch) {
            ASSERT_TRUE(model.insert(object).second) << "handed out twice";
            const Span *span = span_of(object);
            ASSERT_EQ(span->size_class, size_class);
            ASSERT_EQ((address_of(object) - span->start()) % size, 0u);
            ASSERT_LE(address_of(object) + size, span->start() + span->bytes());
            mine.push_back(object);
          }
        } else {
          std::shuffle(mine.begin(), mine.end(), random);
          const std::vector<void *> batch(mine.end() - static_cast<ptrdiff_t>(count), mine.end());
          mine.resize(mine.size() - count);
          for (void *object : batch) model.erase(object);
          give_back(size_class, batch);
        }
        ASSERT_EQ(central_of(size_class).stats().objects_out, mine.size());
      }
      EXPECT_EQ(objects_out(size_class), mine.size());
      give_back(size_class, mine);
      EXPECT_EQ(objects_out(size_class), 0u);
    }
  });
}

TEST(Central, ThreadsNeverShareAnObject) {
  in_own_heap([] {
    static std::atomic<unsigned> collisions{0};
    std::vector<std::thread> threads;
    for (unsigned id = 1; id <= 4; ++id) {
      threads.emplace_back([id] {
        std::mt19937 random(id);
        for (int round = 0; round < 3000; ++round) {
          const std::vector<void *> batch = fetch(kClass, 1 + random() % kMaxBatch, id % kShards);
          for (void *object : batch) __atomic_store_n(static_cast<unsigned *>(object), id, __ATOMIC_RELAXED);
          for (void *object : batch)
            collisions += __atomic_load_n(static_cast<unsigned *>(object), __ATOMIC_RELAXED) != id;
          give_back(kClass, batch);
        }
      });
    }
    for (std::thread &thread : threads) thread.join();
    EXPECT_EQ(collisions, 0u);
    EXPECT_EQ(objects_out(kClass), 0u);
  });
}

}  // namespace
}  // namespace warren
