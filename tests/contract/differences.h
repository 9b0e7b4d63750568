// Where warren and glibc 2.36 differ for one and the same call, and why: all of it, in one table.
// Used by contract_test.cc, which fails on a difference that is not here and on a row that no longer differs.
// Invariant: a row names one observation (the text before '=') of one case and both values of it.
#pragma once

namespace contract {

struct Difference {
  const char *case_name;
  const char *observation;
  const char *glibc;
  const char *warren;
  const char *reason;
};

// The values of an observation that is made six times.
inline constexpr const char *kSixBlocks = "block; block; block; block; block; block";
inline constexpr const char *kSixNull = "NULL; NULL; NULL; NULL; NULL; NULL";
inline constexpr const char *kSixThrown =
    "std::bad_alloc; std::bad_alloc; std::bad_alloc; std::bad_alloc; std::bad_alloc; std::bad_alloc";

inline constexpr Difference kDifferences[] = {
    {"aligned_alloc_bad_alignment", "aligned_alloc(0)", "block errno 1789", "NULL errno 22",
     "C17 and glibc from 2.38 on refuse an alignment that is no power of two; 2.36 rounds it up"},
    {"aligned_alloc_bad_alignment", "aligned_alloc(3)", "block errno 1789", "NULL errno 22", "as for 0"},
    {"aligned_alloc_bad_alignment", "aligned_alloc(24)", "block errno 1789", "NULL errno 22", "as for 0"},
    {"aligned_alloc_bad_alignment", "aligned_alloc(4097)", "block errno 1789", "NULL errno 22", "as for 0"},
    {"free_by_other_names", "free_sized", "absent", "present", "C23, after glibc 2.36"},
    {"free_by_other_names", "free_aligned_sized", "absent", "present", "C23, after glibc 2.36"},
    {"free_by_other_names", "cfree", "absent", "present", "glibc keeps it for old binaries only; such a binary must find ours"},
    {"all_names_from_one_library", "library of free_sized", "absent", "malloc's", "as in free_by_other_names"},
    {"all_names_from_one_library", "library of free_aligned_sized", "absent", "malloc's", "as in free_by_other_names"},
    {"all_names_from_one_library", "library of cfree", "absent", "malloc's", "as in free_by_other_names"},
    {"free_when_the_kernel_refuses", "errno after shrinking without mappings", "changed", "kept",
     "free must keep errno, realloc need not: glibc's has the one of a failed mremap, ours none"},
    {"mallopt_parameters", "mallopt(unknown -9999)", "1", "0", "a parameter that does not exist is refused; glibc accepts any number"},
    {"mallopt_parameters", "mallopt(unknown 0)", "1", "0", "as for -9999"},
    {"mallopt_parameters", "mallopt(unknown 12345)", "1", "0", "as for -9999"},
    {"mallopt_parameters", "mallopt(M_NLBLKS)", "1", "0", "of System V, and without effect in glibc as well: as unknown"},
    {"mallopt_parameters", "mallopt(M_GRAIN)", "1", "0", "as for M_NLBLKS"},
    {"mallopt_parameters", "mallopt(M_KEEP)", "1", "0", "as for M_NLBLKS"},
    {"mallopt_parameters", "mallopt(M_MXFAST too large)", "0", "1", "glibc's knobs change nothing here, so no value is out of range"},
    {"new_of_wrapping_size", "aligned new of SIZE_MAX", kSixBlocks, kSixThrown,
     "libstdc++ 12 rounds the size up without a look at the wrap, and returns a tiny block"},
    {"new_of_wrapping_size", "aligned new[] of SIZE_MAX", kSixBlocks, kSixThrown, "as for aligned new"},
    {"new_of_wrapping_size", "aligned nothrow new of SIZE_MAX", kSixBlocks, kSixNull, "as for aligned new"},
    {"new_of_wrapping_size", "aligned nothrow new[] of SIZE_MAX", kSixBlocks, kSixNull, "as for aligned new"},
    {"operators_from_one_library", "operator new", "elsewhere", "in malloc's library", "glibc's user has the operators of libstdc++"},
};

}  // namespace contract
