// Where warren and glibc 2.36 differ for one and the same call, and why: all of it, in one table.
// Used by contract_test.cc, which fails on a difference that is not here and on a row that no longer differs.
// Invariant: a row names one observation (the text before '=') of one case.
#pragma once

namespace contract {

struct Difference {
  const char *case_name;
  const char *observation;
  const char *reason;
};

inline constexpr Difference kDifferences[] = {
    {"aligned_alloc_bad_alignment", "aligned_alloc(0)",
     "C17 and glibc from 2.38 on refuse an alignment that is no power of two; 2.36 rounds it up"},
    {"aligned_alloc_bad_alignment", "aligned_alloc(3)", "as for 0"},
    {"aligned_alloc_bad_alignment", "aligned_alloc(24)", "as for 0"},
    {"free_by_other_names", "free_sized", "C23; glibc has it from 2.43 on"},
    {"free_by_other_names", "free_aligned_sized", "C23; glibc has it from 2.43 on"},
    {"free_by_other_names", "cfree", "glibc keeps it for old binaries only; such a binary must find ours"},
    {"sbrk_is_left_alone", "the break", "warren's heap never lies on the break: this proves that it is in use"},
    {"introspection", "mallopt(unknown)", "a parameter that does not exist is refused; glibc accepts any number"},
};

}  // namespace contract
