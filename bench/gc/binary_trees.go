// binary_trees.cc in Go: the same work, on Go's own collector. Run by bench/gc.py.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
)

type node struct{ left, right *node }

func build(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	left := build(depth - 1)
	right := build(depth - 1)
	return &node{left, right}
}

func (n *node) count() uint64 {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func main() {
	deepest, _ := strconv.Atoi(os.Args[1])
	threads, _ := strconv.Atoi(os.Args[2])
	nodes := build(deepest + 1).count()
	longLived := build(deepest)
	counts := make([]uint64, threads)
	var all sync.WaitGroup
	for number := 0; number < threads; number++ {
		all.Add(1)
		go func(number int) {
			defer all.Done()
			var sum uint64
			for depth := 4; depth <= deepest; depth += 2 {
				trees := 1 << (deepest - depth + 4)
				for i := number; i < trees; i += threads {
					sum += build(depth).count()
				}
			}
			counts[number] = sum
		}(number)
	}
	all.Wait()
	for _, count := range counts {
		nodes += count
	}
	nodes += longLived.count()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Printf("operations %d checksum %d\ncycles %d\n", nodes, nodes, stats.NumGC)
}
