// The twin of server.h.
package main

import (
	"fmt"
	"net"
)

func runServer(serve func(net.Conn)) {
	start(0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}
