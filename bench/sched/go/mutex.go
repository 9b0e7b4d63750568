// The twin of mutex.cc.
package main

import "sync"

func main() {
	rounds := start(4000000) / 8
	var m sync.Mutex
	var all sync.WaitGroup
	counted := 0
	w := watch()
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			for k := 0; k < rounds; k++ {
				m.Lock()
				counted++
				m.Unlock()
			}
			all.Done()
		}()
	}
	all.Wait()
	w.report("mutex of 8 fibers", counted)
}
