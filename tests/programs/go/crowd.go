package main

import (
	"crypto/tls"
	"net"
	"os"
)

// crowd holds as many reads of TLS connections open that never return, and says so. Nothing of it passes a socket.
func crowd(count int) {
	for made := 0; made < count; made++ {
		ours, _ := net.Pipe()
		connection := tls.Client(ours, &tls.Config{InsecureSkipVerify: true})
		go func() {
			var room [1]byte
			connection.Read(room[:])
		}()
	}
	say(map[string]any{"ready": true, "pid": os.Getpid()})
	os.Stdin.Read(make([]byte, 1))
	say(map[string]any{"ended": true})
}
