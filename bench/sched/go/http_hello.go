// The twin of http_hello.cc: the package net alone, and the same parsing.
package main

import (
	"bytes"
	"net"
)

const mostPending = 4096 // of a request that is not complete

var (
	hello      = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n")
	refused    = []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	headEnd    = []byte("\r\n\r\n")
	lineEnd    = []byte("\r\n")
	space      = []byte(" ")
	colon      = []byte(":")
	kConn      = []byte("Connection")
	kClose     = []byte("close")
	whitespace = " \t"
)

// A request's head: its lines, without the empty one. Bodies are not expected.
func judge(head []byte) (good, keep bool) {
	line, head, _ := bytes.Cut(head, lineEnd)
	method, line, _ := bytes.Cut(line, space)
	target, version, _ := bytes.Cut(line, space)
	if string(method) != "GET" || len(target) == 0 || target[0] != '/' || string(version) != "HTTP/1.1" {
		return false, false
	}
	keep = true
	for len(head) != 0 {
		line, head, _ = bytes.Cut(head, lineEnd)
		name, value, _ := bytes.Cut(line, colon)
		if bytes.EqualFold(name, kConn) && bytes.EqualFold(bytes.Trim(value, whitespace), kClose) {
			keep = false
		}
	}
	return true, keep
}

func serve(c net.Conn) {
	buffer := make([]byte, mostPending)
	pending := 0
	var answer []byte
	for keep := true; keep && pending < len(buffer); {
		n, err := c.Read(buffer[pending:])
		if err != nil {
			return
		}
		pending += n
		rest := buffer[:pending]
		answer = answer[:0]
		for keep {
			end := bytes.Index(rest, headEnd)
			if end < 0 {
				break
			}
			var good bool
			good, keep = judge(rest[:end])
			if good {
				answer = append(answer, hello...)
			} else {
				answer = append(answer, refused...)
			}
			rest = rest[end+4:]
		}
		if len(answer) != 0 {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
		pending = copy(buffer, rest)
	}
}

func main() { runServer(serve) }
