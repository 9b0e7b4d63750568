// The twin of ping_pong.cc.
package main

func main() {
	rounds := start(1000000)
	there, back := make(chan int), make(chan int)
	w := watch()
	go func() {
		for value := range there {
			back <- value + 1
		}
	}()
	value := 0
	for i := 0; i < rounds; i++ {
		there <- value
		value = <-back
	}
	w.report("ping-pong", rounds)
	if value != rounds {
		panic("values were lost")
	}
}
