#!/usr/bin/python3 -B
"""Negative control: programs the loader never gives a preload to, static and set-user-id ones, behave as ever.

Oracle: output and exit code equal to the control's, nothing on stderr, no witness: the library was not mapped. Such
programs also run as children of ones that are preloaded, and may run preloaded programs in turn.
"""

import os

import harness

kProgram = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
int main(int argc, char **argv) {
  char *kept[2000]; size_t sum = 0;
  for (size_t i = 0; i < 2000; i++) { kept[i] = malloc(i * 7 % 5000 + 1); memset(kept[i], (int)i, i * 7 % 5000 + 1); }
  for (size_t i = 0; i < 2000; i += 2) { kept[i] = realloc(kept[i], i + 1); sum += (unsigned char)kept[i][0]; }
  for (size_t i = 0; i < 2000; i++) free(kept[i]);
  printf("sum %zu, secure %lu\n", sum, getauxval(AT_SECURE));
  fflush(stdout);
  if (argc > 1) { execv(argv[1], argv + 1); perror(argv[1]); return 1; }
  return 0;
}
"""


def expect_untouched(trial, argv, **options):
    trial.fresh_run()
    control = trial.run(argv, False, **options)
    trial.fresh_run()
    warren = trial.run(argv, True, **options)
    if (control.out, control.err) != (warren.out, warren.err):
        raise harness.Failure(harness.first_difference("output", control.out + control.err, warren.out + warren.err))
    if warren.witnesses:
        raise harness.Failure(f"{argv[0]} was expected to run without the library, but {warren.witnesses}")
    print(f"ok: {' '.join(argv)}: untouched: {control.out.decode().splitlines()[0]}", flush=True)


def check_static(trial, source):
    static = f"{trial.inputs}/static"
    trial.fresh_run()
    trial.run(["/usr/bin/gcc", "-O1", "-fno-builtin", "-static", source, "-o", static], False)
    expect_untouched(trial, [static])
    _, warren = trial.same_script(f"for i in 1 2 3 4 5; do {static} /bin/echo $i | tr 0-9 a-j; done; exec {static} /bin/echo end")
    if not harness.kControl and len(warren.witnesses) != 1 + 5 * 2 + 1:  # sh, echo and tr; static never
        raise harness.Failure(f"seen: {warren.witnesses}")
    for busybox in filter(os.path.exists, ("/bin/busybox", "/usr/bin/busybox")):
        if b"statically linked" in harness.read(busybox) or b"ld-linux" not in harness.read(busybox):
            expect_untouched(trial, [busybox, "echo", "busybox"])
        break


def check_secure(trial, source):
    """su is set-user-id root; a user other than root who runs it gets the loader's secure mode."""
    user = "nobody" if os.geteuid() == 0 else None
    su = trial.program("/usr/bin/su", "util-linux")
    blocked = (os.statvfs(su).f_flag & os.ST_NOSUID) or b"NoNewPrivs:\t1" in harness.read("/proc/self/status")
    if blocked or not os.stat(su).st_mode & 0o4000:
        print("note: this machine lets no program gain privileges, so su is an ordinary program here")
        trial.same([su, "--version"], user=user)
        return
    expect_untouched(trial, [su, "--version"], user=user)
    if user:  # root can make one of its own: it runs as nobody, and says itself that it was secure
        program = f"{trial.inputs}/secure"
        trial.fresh_run()
        trial.run(["/usr/bin/gcc", "-O1", "-fno-builtin", source, "-o", program], False)
        trial.same([program])
        os.chown(program, harness.user_id(user), harness.user_group(user))
        os.chmod(program, 0o4755)
        if not os.statvfs(program).f_flag & os.ST_NOSUID:
            expect_untouched(trial, [program])


def untouched(trial):
    trial.program("/usr/bin/gcc", "g++")
    trial.program("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev")
    source = trial.write("program.c", kProgram)
    check_static(trial, source)
    check_secure(trial, source)


harness.main(untouched)
