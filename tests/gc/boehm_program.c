/* A program that knows nothing of this project: built against Boehm's own header and library, run on libwarren-gc.so.1 under the
 * name of libgc.so.1. Trees that are made and dropped, after the benchmark of Ellis, Kovac and Boehm. Invariant: exits 0. */
#include <gc.h>
#include <stdio.h>

struct node {
  struct node *left, *right;
  long number;
};

static struct node *make_tree(int depth, long number) {
  struct node *node = GC_MALLOC(sizeof *node);
  if (node == NULL) return NULL;
  node->number = number;
  if (depth > 0) {
    node->left = make_tree(depth - 1, 2 * number);
    node->right = make_tree(depth - 1, 2 * number + 1);
  }
  return node;
}

static long count(const struct node *node, long number) {
  if (node == NULL) return 0;
  return node->number != number ? -1000000000 : 1 + count(node->left, 2 * number) + count(node->right, 2 * number + 1);
}

int main(void) {
  struct node *lasting;
  double *numbers;
  int round;
  GC_INIT();
  lasting = make_tree(15, 1);
  numbers = GC_MALLOC_ATOMIC(sizeof *numbers * 100000);
  for (round = 0; round < 100000; ++round) numbers[round] = 1.0 / (round + 1);
  for (round = 0; round < 50; ++round) {
    if (count(make_tree(12, 1), 1) != (1 << 13) - 1) return 1;
  }
  GC_gcollect();
  if (count(lasting, 1) != (1 << 16) - 1 || numbers[999] != 1.0 / 1000) return 2;
  printf("%lu collections\n", (unsigned long)GC_get_gc_no());
  return GC_get_gc_no() == 0 ? 3 : 0;
}
