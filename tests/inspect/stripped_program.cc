// For symbols_test: compares by way of a pointer, so that its dynamic symbol of strcmp has an address.
#include <cstring>

int main(int argc, char **argv) {
  int (*volatile compare)(const char *, const char *) = strcmp;
  return compare(argv[0], argv[argc - 1]);
}
