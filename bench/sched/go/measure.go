// What the Go twins have in common: see ../measure.h, of which this is the same in Go.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func argument(i int, otherwise int) int {
	if len(os.Args) <= i {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		panic(err)
	}
	return n
}

// PROGRAM [COUNT [PROCS]]
func start(otherwise int) int {
	runtime.GOMAXPROCS(argument(2, 1))
	return argument(1, otherwise)
}

type stopwatch struct{ wall, cpu time.Duration }

var origin = time.Now()

func cpuTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func watch() stopwatch { return stopwatch{time.Since(origin), cpuTime()} }

func (w stopwatch) report(what string, operations int) {
	now := watch()
	n := float64(operations)
	fmt.Printf("%-28s %8.1f ns wall %8.1f ns cpu\n", what, float64(now.wall-w.wall)/n, float64(now.cpu-w.cpu)/n)
}

func residentBytes() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages float64
	fmt.Sscan(string(text), &size, &pages)
	return pages * 4096
}
