// The twin of select.cc.
package main

func main() {
	rounds := start(3000000)
	a, b := make(chan int, 1), make(chan int, 1)
	a <- 1
	w := watch()
	for i := 0; i < rounds; i++ {
		select {
		case <-a:
			b <- 1
		case <-b:
			a <- 1
		}
	}
	w.report("select of two and a send", rounds)
}
