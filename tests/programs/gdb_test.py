#!/usr/bin/python3 -B
"""gdb in batch: reads the debug information of a C++ program with worker threads, then runs and inspects it.

Oracle: output equal to the control's with addresses and thread ids masked. gdb embeds Python, demangles and caches
symbols, and longjmps and throws through its own frames; the program it runs inherits the preload, so a debugger sees
the library's frames, threads and fork from outside as well. Where the machine forbids ptrace, the control shows it and
only the part without a running program is compared (and the log says so).
"""

import re

import harness

kProgram = r"""
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>
#include <unistd.h>
#include <sys/wait.h>
struct Node { std::string name; std::vector<int> numbers; std::unique_ptr<Node> next; };
std::map<std::string, std::vector<std::string>> table;
__attribute__((noinline)) int inspect(Node* node, int depth) { return depth == 0 ? node->numbers[0] : inspect(node, depth - 1); }
int main() {
  for (int i = 0; i < 50; i++) table["key" + std::to_string(i)].assign(std::size_t(i % 5), std::string(30, 'x'));
  Node node{"first", {7, 8, 9}, std::make_unique<Node>()};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) threads.emplace_back([i] { for (int k = 0; k < 1000; k++) delete[] new char[std::size_t(i * 100 + k + 1)]; });
  for (auto& thread : threads) thread.join();
  if (pid_t child = fork(); child == 0) _exit(inspect(&node, 3)); else waitpid(child, nullptr, 0);
  return inspect(&node, 12) == 7 ? 0 : 1;
}
"""

kStatic = r"""
set width 0
set pagination off
info functions ^main
info line main
ptype /o Node
ptype table
info types Node
list inspect
info scope inspect
disassemble main,+40
python
import gdb
for i in range(3000):
    text = str(gdb.parse_and_eval(f'{i} * 3 + sizeof(Node)'))
symbols = [s.name for s in gdb.lookup_global_symbol('main').symtab.global_block()]
print(text, len(symbols))
end
print $_strlen("text")
complete info sh
"""

kLive = r"""
set width 0
set pagination off
set print thread-events off
set disable-randomization off
catch fork
run
delete
info inferiors
break inspect if depth == 0
continue
backtrace
up
info locals
print node->name
print table.size()
print node->numbers
print *node
info threads
delete
finish
watch -location node->numbers
info breakpoints
delete
continue
"""


def masked(text):
    """Without what differs from run to run: addresses, process numbers, libthread_db's path."""
    text = re.sub(rb"0x[0-9a-f]+", b"0xN", text)
    text = re.sub(rb"(process|LWP|Thread) \w+ *", rb"\1 N ", text)  # a table of gdb's is as wide as the number
    return re.sub(rb".*(Using host libthread_db|\[New Thread|warning: Error disabling address space).*\n", b"", text)


def gdb(trial):
    program = trial.program("/usr/bin/gdb", "gdb")
    compiler = trial.program("/usr/bin/g++", "g++")
    target = f"{trial.inputs}/target"
    trial.fresh_run()
    trial.run([compiler, "-g", "-O0", "-std=c++20", "-pthread", trial.write("target.cc", kProgram), "-o", target], False)
    batch = [program, "-nx", "-batch", "-x"]
    trial.same([*batch, trial.write("static.gdb", kStatic), target], normalise=masked)
    live = [*batch, trial.write("live.gdb", kLive), target]
    trial.fresh_run()
    allowed = trial.run(live, False)
    if b"Catchpoint 1 (forked process" not in allowed.out:
        print(f"note: gdb cannot run a program on this machine, that part is left out: {harness.tail(allowed.err, 2)}")
        return
    _, warren = trial.same(live, normalise=masked)
    trial.check_witnesses(warren.witnesses, program)
    trial.check_witnesses(warren.witnesses, target)


harness.main(gdb)
