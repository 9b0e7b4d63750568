// The twin of spawn.cc.
package main

import "sync"

var all sync.WaitGroup

func nothing() { all.Done() }

func main() {
	count := start(2000000)
	w := watch()
	for i := 0; i < count; i += 50 {
		all.Add(50)
		for k := 0; k < 50; k++ {
			go nothing()
		}
		all.Wait()
	}
	w.report("spawn and finish", count)
}
