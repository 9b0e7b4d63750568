// See heap_dump.h, and heap_dump_format.h for the file.
//
//   in the process                          in its copy
//   stop the world
//   note the ranges that hold roots
//   fork                            ---->   number the objects (heap_graph.h)
//   start the world                         write: spans, objects, edges, roots, names
//   wait                            <----   the header, then end
//
// The copy is made past libc, so that no fork handler of anybody's runs, and it does nothing but read and make system calls. What it
// keeps while it works lies on its stack below the frame that the dump began in, or in mappings of its own: neither is
// searched for roots.
#include "inspect/heap_dump.h"

#include "allocator/base/annotations.h"
#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "gc/cycle.h"
#include "gc/registers_x86_64.h"
#include "gc/roots.h"
#include "gc/specials.h"
#include "gc/world.h"
#include "inspect/dump_file.h"
#include "inspect/heap_graph.h"
#include "inspect/heap_profile.h"
#include "inspect/stack_table.h"
#include "inspect/unforked.h"
#include "inspect/whole_file.h"
#include "scheduler/stack.h"

#include <atomic>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sys/mman.h>

namespace warren::inspect {
namespace {

// What the two processes tell each other.
struct Shared {
  std::atomic<uint32_t> may_begin;  // see unforked.h
  uint64_t stop_ns;
  uint32_t result;  // of the copy: errno and kDone
};
constexpr uint32_t kDone = 0x10000;

struct Job {
  int fd;
  uint64_t process;
  uint64_t unix_ns;
  uint64_t time;  // of heap_profile::now()
  Shared *shared;
  gc::PagedArray<GroupItem> groups;  // ranges that hold roots; names are found later
  // The thread that dumps: its registers, and where its own stack begins to be the dump's.
  uint32_t self;
  uintptr_t registers, frame;
  bool self_has_roots = false;
  bool complete = true;
};

void *map(size_t bytes, int sharing) {
  const long at = os_calls::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS);
  return os_calls::failed(at) ? nullptr : reinterpret_cast<void *>(at);
}

// --- before the copy is made: where roots are ---

void note(Job &job, GroupKind kind, uint64_t id, uintptr_t low, uintptr_t high) {
  job.complete &= job.groups.push_back({kind, 0, id, low, high});
}

void note_data(uintptr_t low, uintptr_t high, void *context) { note(*static_cast<Job *>(context), GroupKind::kData, 0, low, high); }

void note_runtime(uintptr_t low, uintptr_t high, void *context) {
  note(*static_cast<Job *>(context), GroupKind::kRuntime, 0, low, high);
}

void note_thread(uint32_t thread, uintptr_t low, uintptr_t high, void *context) {
  Job &job = *static_cast<Job *>(context);
  constexpr uintptr_t kDeepest = 1 << 16;
  if (thread == job.self) {
    job.self_has_roots = true;
    if (high <= job.frame && job.frame - high < kDeepest) return;  // of a frame that is gone when the copy reads it
    if (low < job.frame && job.frame < high) low = job.frame;
  }
  note(job, GroupKind::kThread, thread, low, high);
}

// What an object with a finalizer refers to goes when the object does, if one collection later: only single words count.
void note_finalizer(uintptr_t low, uintptr_t high, void *context) {
  if (high - low == sizeof(uintptr_t)) note(*static_cast<Job *>(context), GroupKind::kFinalizers, 0, low, high);
}

void note_roots(Job &job) {
  gc::specials::for_each_marking_root(note_finalizer, &job);
  gc::roots::for_each_data_range(note_data, &job);
  gc::roots::for_each_own_range(note_runtime, &job);
  gc::world::for_each_thread_range(note_thread, &job);
  if (job.self_has_roots) note(job, GroupKind::kThread, job.self, job.registers, job.registers + 6 * sizeof(uintptr_t));
}

// --- in the copy ---

// Fibers that have not ended and do not run: from where they were saved to the end of their stacks, their Gs included. What one
// that runs holds is its thread's: where it was saved last says nothing, and what two hold nobody retains.
struct Fibers {
  Job &job;
  size_t thread_groups;  // noted before the first fiber

  static void note(scheduler::G *g, void *context) {
    const auto &self = *static_cast<const Fibers *>(context);
    // relaxed: nobody else runs.
    if (g->status.load(std::memory_order_relaxed) == scheduler::GStatus::kDead || g->sp == nullptr) return;
    const uintptr_t low = address_of(g->low), bytes = scheduler::stacks::bytes_of(g->stack_order);
    for (size_t i = 0; i < self.thread_groups; ++i) {
      const GroupItem &group = self.job.groups[i];
      if (group.kind == GroupKind::kThread && group.low - low < bytes) return;
    }
    inspect::note(self.job, GroupKind::kFiber, g->id, scheduler::stacks::in_use_from(g), low + bytes);
  }
};

class Writer {
 public:
  explicit Writer(Job &job) : job_(job) {}

  int write() {
    Fibers fibers{job_, job_.groups.size()};
    scheduler::stacks::for_each(Fibers::note, &fibers);
    buffers_ = static_cast<char *>(map(3 * DumpStream::kBuffer, MAP_PRIVATE));
    if (buffers_ == nullptr || !job_.complete || !graph_.build(job_.time)) return ENOMEM;
    DumpStream out(job_.fd, sizeof(FileHeader), buffers_);
    write_heap(out);
    write_names(out);
    write_roots(out);
    write_file(out, SectionKind::kMaps, "/proc/self/maps");
    write_file(out, SectionKind::kCommand, "/proc/self/cmdline");
    write_facts(out);
    write_samples(out);
    const int error = write_edges(out);
    if (error != 0) return error;
    DumpStream head(job_.fd, 0, buffers_);
    memcpy(header_.magic, kMagic, sizeof header_.magic);
    header_.version = kVersion;
    head.put(header_);
    head.flush();
    return head.error();
  }

 private:
  void begin(DumpStream &out, SectionKind kind, uint32_t item_bytes) {
    constexpr uint64_t kAlign = 16;
    const char zeros[kAlign] = {};
    out.put(zeros, align_up(out.offset(), kAlign) - out.offset());
    header_.sections[header_.section_count] = {kind, item_bytes, out.offset(), 0};
  }

  void end(DumpStream &out) {
    Section &section = header_.sections[header_.section_count++];
    section.bytes = out.offset() - section.offset;
  }

  void write_heap(DumpStream &out) {
    begin(out, SectionKind::kSpans, sizeof(SpanItem));
    out.put(graph_.spans().begin(), graph_.spans().size() * sizeof(SpanItem));
    end(out);
    begin(out, SectionKind::kClasses, sizeof(uint32_t));
    for (const SizeClassInfo &shape : kSizeClasses) out.put(shape.object_size);
    end(out);
    begin(out, SectionKind::kAddresses, sizeof(uint64_t));
    graph_.for_each([&out](const HeapGraph::Object &object) { out.put(uint64_t{object.address}); });
    end(out);
    begin(out, SectionKind::kSizes, sizeof(uint32_t));
    graph_.for_each([&out](const HeapGraph::Object &object) {
      const size_t units = object.bytes / 8;
      out.put(units > ~uint32_t{0} ? ~uint32_t{0} : static_cast<uint32_t>(units));
    });
    end(out);
    begin(out, SectionKind::kKinds, sizeof(uint8_t));
    graph_.for_each([&out](const HeapGraph::Object &object) { out.put(object.kind); });
    end(out);
  }

  void write_names(DumpStream &out) {
    begin(out, SectionKind::kNames, 1);
    uint32_t at = 0;
    const auto add = [&](const char *name, size_t length) {
      out.put(name, length);
      out.put(char{0});
      const uint32_t start = at;
      at += static_cast<uint32_t>(length) + 1;
      return start;
    };
    add("", 0);
    uint64_t last_thread = 0;
    uint32_t last_name = 0;
    for (GroupItem &group : job_.groups) {
      if (group.kind == GroupKind::kThread) {
        if (group.id != last_thread) last_name = add_thread_name(group.id, add);
        last_thread = group.id;
        group.name_at = last_name;
      }
    }
    struct Names {
      decltype(add) &add_name;
      gc::PagedArray<GroupItem> &groups;
      size_t at;
    } names{add, job_.groups, 0};
    scheduler::stacks::for_each(
        [](scheduler::G *g, void *context) {
          auto &all = *static_cast<Names *>(context);
          while (all.at < all.groups.size() && all.groups[all.at].kind != GroupKind::kFiber) ++all.at;
          if (all.at == all.groups.size() || all.groups[all.at].id != g->id) return;
          if (g->name[0] != '\0') all.groups[all.at].name_at = all.add_name(g->name, strnlen(g->name, sizeof g->name));
          ++all.at;
        },
        &names);
    end(out);
  }

  // The name that the kernel keeps of a thread of the original's, which may have ended since.
  template <class Add>
  uint32_t add_thread_name(uint64_t thread, const Add &add) {
    LogLine path;
    path << "/proc/" << job_.process << "/task/" << thread << "/comm";
    path.text("", 1);
    const long fd = os_calls::open(path.data(), O_RDONLY);
    if (os_calls::failed(fd)) return 0;
    char name[32];
    const long bytes = os_calls::read(static_cast<int>(fd), name, sizeof name);
    os_calls::close(static_cast<int>(fd));
    return bytes > 1 ? add(name, static_cast<size_t>(bytes) - 1) : 0;
  }

  // Root words are read as another process would read them: what cannot be read is passed over.
  void write_roots(DumpStream &out) {
    begin(out, SectionKind::kRoots, sizeof(RootItem));
    auto *words = reinterpret_cast<uintptr_t *>(buffers_ + DumpStream::kBuffer);
    const uint64_t self = os_calls::process_id();
    for (uint32_t number = 0; number < job_.groups.size(); ++number) {
      const GroupItem &group = job_.groups[number];
      for (uintptr_t low = group.low; low < group.high;) {
        const size_t left = group.high - low;
        const size_t wanted = left < DumpStream::kBuffer ? left : DumpStream::kBuffer;
        const long got = os_calls::copy_memory(self, words, low, wanted);
        if (got <= 0) {
          low = align_down(low, kOsPageSize) + kOsPageSize;
          continue;
        }
        for (size_t i = 0; i < static_cast<size_t>(got) / sizeof(uintptr_t); ++i) {
          uint32_t object;
          if (graph_.find(words[i], &object)) out.put(RootItem{low + i * sizeof(uintptr_t), number, object});
        }
        low += align_down(static_cast<size_t>(got), sizeof(uintptr_t));
      }
    }
    end(out);
    begin(out, SectionKind::kGroups, sizeof(GroupItem));
    out.put(job_.groups.begin(), job_.groups.size() * sizeof(GroupItem));
    end(out);
  }

  void write_file(DumpStream &out, SectionKind kind, const char *path) {
    begin(out, kind, 1);
    const long fd = os_calls::open(path, O_RDONLY);
    if (!os_calls::failed(fd)) {
      char *text = buffers_ + DumpStream::kBuffer;
      for (long bytes; (bytes = os_calls::read(static_cast<int>(fd), text, DumpStream::kBuffer)) > 0;) {
        out.put(text, static_cast<size_t>(bytes));
      }
      os_calls::close(static_cast<int>(fd));
    }
    end(out);
  }

  // How long the program stood still, which it finds out when it goes on.
  uint64_t stop_length() const {
    constexpr uint64_t kWait = 1'000'000;
    uint64_t length = 0;
    for (int tries = 0; tries < 20 && length == 0; ++tries) {
      if (tries != 0) os_calls::sleep(kWait);
      length = __atomic_load_n(&job_.shared->stop_ns, __ATOMIC_RELAXED);  // a number that stands alone
    }
    return length;
  }

  void write_facts(DumpStream &out) {
    begin(out, SectionKind::kFacts, 1);
    const struct {
      const char *name;
      uint64_t value;
    } facts[] = {
        {"process", job_.process},
        {"unix_ns", job_.unix_ns},
        {"stop_ns", stop_length()},
        {"arena_start", arena.start},
        {"arena_bytes", arena.grown_bytes()},
        {"page_bytes", kPageSize},
        {"objects", graph_.object_count()},
        {"collections", gc::cycle::is_set_up() ? gc::cycle::stats().cycles : 0},
    };
    for (const auto &fact : facts) {
      LogLine line;
      line << fact.name << " " << fact.value << "\n";
      out.put(line.data(), line.size());
    }
    end(out);
  }

  void write_samples(DumpStream &out) {
    struct Samples {
      DumpStream &out;
      const HeapGraph &graph;
      uint64_t time;
    } samples{out, graph_, job_.time};
    begin(out, SectionKind::kSamples, sizeof(SampleItem));
    heap_profile::for_each_live(
        [](const heap_profile::LiveSample &sample, void *context) {
          const auto *to = static_cast<const Samples *>(context);
          uint32_t object;
          if (!to->graph.find(sample.block, &object)) return;
          const uint64_t age = sample.born < to->time ? to->time - sample.born : 0;
          to->out.put(SampleItem{object, sample.stack, sample.size, age, double{sample.weight}});
        },
        &samples);
    end(out);
    begin(out, SectionKind::kStacks, sizeof(uint64_t));
    for (uint32_t stack = 1; stack <= stack_table::count(); ++stack) {
      const stack_table::Frames frames = stack_table::frames_of(stack);
      out.put(uint64_t{stack});
      out.put(uint64_t{frames.count});
      for (unsigned i = 0; i < frames.count; ++i) out.put(uint64_t{address_of(frames.address[i])});
    }
    end(out);
  }

  // The targets in one stream, how many there are of each object's in another, whose length is known.
  int write_edges(DumpStream &out) {
    begin(out, SectionKind::kEdgeCounts, sizeof(uint32_t));
    const uint64_t counts_at = out.offset();
    const uint64_t counts_end = counts_at + uint64_t{graph_.object_count()} * sizeof(uint32_t);
    out.flush();
    header_.sections[header_.section_count++].bytes = counts_end - counts_at;
    DumpStream counts(job_.fd, counts_at, buffers_ + DumpStream::kBuffer);
    DumpStream edges(job_.fd, align_up(counts_end, 16), buffers_ + 2 * DumpStream::kBuffer);
    begin(edges, SectionKind::kEdges, sizeof(uint32_t));
    uint32_t from = 0;
    graph_.for_each([&](const HeapGraph::Object &object) {
      uint32_t count = 0;
      if (object.kind != ObjectKind::kCollectedNoscan) {
        uint32_t last = from;  // what it says of itself, and the same twice in a row, tells nothing
        const auto *words = at_address<const uintptr_t>(object.address);
        for (size_t i = 0; i < object.bytes / sizeof(uintptr_t); ++i) {
          uint32_t to;
          if (!graph_.find(words[i], &to) || to == last || to == from) continue;
          edges.put(to);
          ++count;
          last = to;
        }
      }
      counts.put(count);
      ++from;
    });
    end(edges);
    counts.flush();
    edges.flush();
    return out.error() != 0 ? out.error() : counts.error() != 0 ? counts.error() : edges.error();
  }

  Job &job_;
  HeapGraph graph_;
  FileHeader header_{};
  char *buffers_ = nullptr;
};

[[noreturn]] void run_copy(Job &job) {
  os_calls::close_all_but(job.fd, -1);  // what the program closes must be closed: a peer waits for it
  Writer writer(job);
  const int error = writer.write();
  __atomic_store_n(&job.shared->result, kDone | static_cast<uint32_t>(error), __ATOMIC_RELAXED);  // the wait orders it
  os_calls::end_process(0);
}

// The copy's id, or a negative errno. Everything that could change the heap stands still, and its locks are free.
long stop_and_copy(Job &job) NO_THREAD_SAFETY_ANALYSIS {
  gc::cycle::background_lock.lock();
  unforked::prepare();
  constexpr uint64_t kLongestWait = 5'000'000'000;  // who forks waits for the lock
  if (!gc::world::stop(kLongestWait)) {
    gc::cycle::background_lock.unlock();
    return -EAGAIN;
  }
  const uint64_t began = os_calls::now();
  job.time = heap_profile::now();
  note_roots(job);
  long copy;
  {
    // The scavenger is left alone by stops.
    const MutexLock pages(page_heap::lock);
    // A fault in the copy must not run the program's handlers. Not earlier: whoever stops the world awaits this thread as well.
    const uint64_t mask = os_calls::block_all_signals();
    copy = unforked::copy_whole(job.shared->may_begin);
    if (copy == 0) run_copy(job);
    os_calls::restore_signals(mask);
  }
  const uint64_t stood = os_calls::now() - began;
  gc::world::start();
  gc::cycle::background_lock.unlock();
  __atomic_store_n(&job.shared->stop_ns, stood, __ATOMIC_RELAXED);  // likewise in stop_length()
  return copy;
}

}  // namespace

WARREN_NOINLINE int write_heap_dump(const char *path) {
  gc::PreservedRegisters registers;
  gc::read_preserved(registers);
  if (!heap::is_set_up() && !heap::set_up()) return ENOMEM;
  WholeFile file;
  if (const int error = file.open(path)) return error;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  Job job{};
  job.fd = file.fd();
  job.process = os_process::id();
  job.unix_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  job.shared = static_cast<Shared *>(map(kOsPageSize, MAP_SHARED));
  job.self = os_calls::thread_id();
  job.registers = address_of(registers);
  job.frame = address_of(__builtin_frame_address(0));
  int error = ENOMEM;
  if (job.shared != nullptr) {
    const long copy = stop_and_copy(job);
    if (copy > 0) {
      int status;
      while (os_calls::wait_for(static_cast<uint64_t>(copy), &status, false) == -EINTR) {
      }
      const uint32_t result = __atomic_load_n(&job.shared->result, __ATOMIC_RELAXED);  // the wait orders it
      error = (result & kDone) == 0 ? EFAULT : static_cast<int>(result & ~kDone);
    } else {
      error = static_cast<int>(-copy);
    }
    os_calls::munmap(job.shared, kOsPageSize);
  }
  job.groups.release();
  return file.close(error);
}

}  // namespace warren::inspect
