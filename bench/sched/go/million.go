// The twin of million.cc.
package main

import (
	"fmt"
	"sync"
	"time"
)

var started sync.WaitGroup

func parks() {
	started.Done()
	time.Sleep(time.Hour)
}

func main() {
	count := start(1000000)
	before := residentBytes()
	w := watch()
	started.Add(count)
	for i := 0; i < count; i++ {
		go parks()
	}
	started.Wait()
	w.report("start and park", count)
	fmt.Printf("%-28s %8.0f bytes each\n", "resident", (residentBytes()-before)/float64(count))
}
