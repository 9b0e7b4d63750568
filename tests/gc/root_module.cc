// A library that the tests of roots open: it offers places to hide a word in. Invariant: none of them is used by
// itself.
#include <cstdint>

extern "C" {

// Many, so that they do not fit into what libc keeps free for late libraries.
thread_local uint64_t thread_words[4096];
uint64_t data_words[64] = {1};
uint64_t zero_words[1 << 16];

__attribute__((visibility("default"))) uint64_t *thread_word_of_module() { return &thread_words[4000]; }
__attribute__((visibility("default"))) uint64_t *data_word_of_module() { return &data_words[33]; }
__attribute__((visibility("default"))) uint64_t *zero_word_of_module() { return &zero_words[60000]; }

}  // extern "C"
