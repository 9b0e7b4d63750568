#!/usr/bin/python3 -B
"""Negative control: programs that export a malloc of their own must run untouched under the preload.

The dynamic loader gives such a program, and all its libraries, the program's malloc. What the preloaded library
exports beyond the program's set (reallocarray, operator new, ...) still binds to the library, so those entry points
have to notice; blocks of two heaps would meet in one free otherwise.

Oracle: output equal to the control's; malloc's provider is the program; the program's free aborts on any pointer its
malloc did not make. One program is compiled here; rustc (it carries jemalloc) and Go programs run where installed.
"""

import os
import shutil

import harness

kProgram = r"""
// A program with the eight classic functions, as rustc has them; everything else comes from elsewhere.
#include <atomic>
#include <cerrno>
#include <clocale>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>
#include <unistd.h>

namespace {
constexpr size_t kHeap = size_t(192) << 20;
alignas(4096) char heap[kHeap];
std::atomic<size_t> used{0}, calls{0};

[[noreturn]] void foreign(const char* function) {
  const char text[] = ": a pointer from another heap reached the program\n";
  if (write(2, function, strlen(function)) < 0 || write(2, text, sizeof text - 1) < 0) _exit(99);
  abort();
}

// A bump heap: 32 bytes of header before each block, of which the last eight hold the size. Nothing is used again.
void* take(size_t size, size_t alignment) {
  calls++;
  const size_t room = (size + alignment + 32 + 15) & ~size_t(15);
  const size_t at = used.fetch_add(room);
  if (at + room > kHeap) { errno = ENOMEM; return nullptr; }
  const uintptr_t block = (reinterpret_cast<uintptr_t>(heap + at) + 32 + alignment - 1) & ~uintptr_t(alignment - 1);
  reinterpret_cast<size_t*>(block)[-1] = size;
  return reinterpret_cast<void*>(block);
}
size_t size_of(void* block, const char* function) {
  const char* at = static_cast<char*>(block);
  if (at < heap || at >= heap + kHeap) foreign(function);
  return static_cast<size_t*>(block)[-1];
}
}  // namespace

extern "C" {
void* malloc(size_t size) { return take(size, 16); }
void free(void* block) { if (block != nullptr) size_of(block, "free"); }
void* calloc(size_t n, size_t size) { return take(n * size, 16); }
void* realloc(void* block, size_t size) {
  const size_t old = block != nullptr ? size_of(block, "realloc") : 0;
  void* grown = take(size, 16);
  if (old != 0 && grown != nullptr) memcpy(grown, block, old < size ? old : size);
  return grown;
}
void* memalign(size_t alignment, size_t size) { return take(size, alignment); }
void* aligned_alloc(size_t alignment, size_t size) { return take(size, alignment); }
int posix_memalign(void** out, size_t alignment, size_t size) { return (*out = take(size, alignment)) != nullptr ? 0 : ENOMEM; }
void* valloc(size_t size) { return take(size, 4096); }
size_t malloc_usable_size(void* block) { return block != nullptr ? size_of(block, "malloc_usable_size") : 0; }
}

int main() {
  setlocale(LC_ALL, "");
  std::map<std::string, std::vector<std::string>> table;                       // operator new and delete
  for (int i = 0; i < 3000; i++) table["key" + std::to_string(i * 31 % 701)].push_back(std::string(size_t(i % 90), 'v'));
  size_t bytes = 0;
  for (auto& [key, values] : table) for (auto& value : values) bytes += value.size();
  printf("new: %zu keys, %zu bytes\n", table.size(), bytes);
  int* raw = new int[100]();
  free(raw);                                                                   // legal enough for half of the world
  struct alignas(128) Line { char bytes[128]; };
  auto line = std::make_unique<Line>();
  printf("aligned new: %d\n", int(reinterpret_cast<uintptr_t>(line.get()) % 128));
  void* array = reallocarray(nullptr, 100, 40);                                // not in the program's set
  array = reallocarray(array, 200, 40);
  array = realloc(array, 20000);
  printf("reallocarray: %d\n", malloc_usable_size(array) >= 20000);
  free(array);
  char* text = nullptr; size_t length = 0;
  FILE* memory = open_memstream(&text, &length);
  for (int i = 0; i < 2000; i++) fprintf(memory, "%d,", i);
  fclose(memory);
  printf("memstream: %zu\n", length); free(text);
  if (asprintf(&text, "%s", "asprintf") > 0) puts(text);
  free(text); free(strdup("strdup")); free(realpath("/", nullptr)); free(getcwd(nullptr, 0));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) threads.emplace_back([] { for (int i = 0; i < 2000; i++) { free(malloc(size_t(i))); delete new int; } });
  for (auto& thread : threads) thread.join();
  printf("served by the program: %d\n", calls > 20000);
  return 0;
}
"""

kGo = """package main
import ("fmt"; "sort"; "strings")
func main() {
	c := make(chan string); m := map[string]int{}
	for i := 0; i < 50; i++ { go func(i int) { c <- strings.Repeat("x", i) }(i) }
	for i := 0; i < 50; i++ { m[<-c]++ }
	k := []string{}; for s := range m { k = append(k, s) }
	sort.Strings(k); fmt.Println(len(k), k[7])
}
"""

kRust = """use std::collections::BTreeMap;
fn main() {
    let mut map: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for i in 0..5000usize { map.entry(format!("key{}", i % 97)).or_default().push(i); }
    let threads: Vec<_> = (0..4).map(|t| std::thread::spawn(move || (0..9000).map(|i| format!("{}", i * t).len()).sum::<usize>())).collect();
    println!("{} {:?}", map.len(), threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>());
}
"""


def untouched(trial, argv, executable, **options):
    """Control and preloaded run are the same, and `executable` had its malloc from itself."""
    trial.fresh_run()
    control = trial.run(argv, False, **options)
    trial.fresh_run()
    warren = trial.run(argv, True, **options)
    if (control.out, control.err, control.files) != (warren.out, warren.err, warren.files):
        raise harness.Failure(harness.first_difference("output", control.out + control.err, warren.out + warren.err)
                              + f"\nfiles: {control.files}\n       {warren.files}")
    providers = {os.path.realpath(provider) for _, path, provider in warren.witnesses if path == executable}
    if not harness.kControl and providers != {executable}:
        raise harness.Failure(f"{executable}: malloc comes from {providers or 'nowhere'}, expected the program itself")
    print(f"ok: {executable}: untouched, {warren.seconds:.2f} s", flush=True)


def own_malloc(trial):
    compiler = trial.program("/usr/bin/g++", "g++")
    program = f"{trial.inputs}/program"
    trial.fresh_run()
    trial.run([compiler, "-std=c++20", "-O1", "-fno-builtin", "-rdynamic", "-pthread", "-w",
               trial.write("program.cc", kProgram), "-o", program], False)
    untouched(trial, [program], program)
    home = {"HOME": os.path.expanduser("~")}  # rustup and Go keep their state there
    search = os.environ.get("PATH", "") + ":" + harness.kPath
    for name in "rustc", "go":
        if not shutil.which(name, path=search):
            print(f"note: {name} is not installed, so it is no further witness here")
    if rustc := shutil.which("rustc", path=search):
        trial.fresh_run()
        root = trial.run([rustc, "--print", "sysroot"], False, env=home).out.decode().strip()
        real, source = os.path.realpath(f"{root}/bin/rustc"), trial.write("program.rs", kRust)
        arguments = [real, "-O", "--edition", "2021", "-C", "codegen-units=2", "-o", "rust", source]
        if "rustc" in os.path.basename(real):
            trial.fresh_run()
            trial.run([real, "--version"], True, env=home)
            own = [p for _, path, p in trial.witnesses() if path == real and os.path.realpath(p) == real]
            if own:  # the distribution's rustc has no allocator of its own; then it is one more ordinary program
                untouched(trial, arguments, real, env=home, outputs=["rust"])
            else:
                trial.same(arguments, env=home, outputs=["rust"])
            trial.same([f"{trial.cwd}/../{os.path.basename(shutil.copy(f'{trial.cwd}/rust', trial.directory))}"])
    if go := shutil.which("go", path=search):
        trial.write("program.go", kGo)
        trial.same([go, "run", f"{trial.inputs}/program.go"], env={**home, "CGO_ENABLED": "0"}, compare_err=False)


harness.main(own_malloc)
