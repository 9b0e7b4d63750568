// Which leaks are not to be reported: lines `leak:PATTERN` in a file, as LeakSanitizer reads them. A pattern is looked
// for anywhere in the name of each function of the stack (as in the file, and as a programmer writes it) and in the
// path of its file; `*` stands for anything, `^` and `$` for the ends. Lines that begin with `#` say nothing. Caller:
// leak_report.cc, in a copy of the process. Invariant: what patterns hide is counted in the report's
// last line.
#pragma once

namespace warren::inspect::suppressions {

// False: there is no such file, or it cannot be read.
bool read(const char *path);

// Whether one of the patterns fits the name.
bool matches(const char *name);

}  // namespace warren::inspect::suppressions
