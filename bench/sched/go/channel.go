// The twin of channel.cc.
package main

func main() {
	rounds := start(5000000)
	c := make(chan int, 128)
	w := watch()
	go func() {
		for i := 0; i < rounds; i++ {
			c <- i
		}
		close(c)
	}()
	sum := 0
	for value := range c {
		sum += value
	}
	w.report("channel of 128, an item", rounds)
	if sum != rounds*(rounds-1)/2 {
		panic("items were lost")
	}
}
