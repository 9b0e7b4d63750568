// The twin of yield.cc.
package main

import (
	"runtime"
	"sync"
)

func main() {
	rounds := start(2000000)
	var both sync.WaitGroup
	both.Add(2)
	w := watch()
	for i := 0; i < 2; i++ {
		go func() {
			for k := 0; k < rounds; k++ {
				runtime.Gosched()
			}
			both.Done()
		}()
	}
	both.Wait()
	w.report("yield", rounds*2)
}
