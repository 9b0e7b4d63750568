// A library that is opened and closed: its data and its thread-local storage hold blocks of malloc's.
// Caller: leaks_victim.cc. Invariant: what it was given is held nowhere else.
namespace {

// Volatile: the compiler would see that nobody reads them.
void *volatile held = nullptr;
__attribute__((tls_model("global-dynamic"))) thread_local void *volatile held_by_thread = nullptr;

}  // namespace

extern "C" void module_hold(void *block) { held = block; }
extern "C" void module_hold_by_thread(void *block) { held_by_thread = block; }
extern "C" void *module_allocate(void *(*allocate)(unsigned long), unsigned long size) {
  held = allocate(size);
  return nullptr;
}
