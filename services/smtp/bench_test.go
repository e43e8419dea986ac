package smtp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/internal/envelope"
)

// nowhere takes every message and forgets it.
type nowhere struct{ *world }

func (nowhere) Deliver(_ context.Context, _ envelope.Envelope, to []directory.Target, _ envelope.Body) []error {
	return make([]error, len(to))
}

// What the door itself costs: a message of 10 KiB on one connection, pipelined.
func BenchmarkMX(b *testing.B) {
	w, _ := open(b, nil)
	s := New(w, w, nowhere{w}, w, Options{Hostname: "mx.example.test", MaxSize: 1 << 20, Log: quiet})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeMX(ctx, l) }()
	defer func() { cancel(); <-done }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	expect := func(n int) {
		for range n {
			for {
				line, err := r.ReadString('\n')
				if err != nil || line[0] != '2' && line[0] != '3' {
					b.Fatal(line, err)
				}
				if line[3] == ' ' {
					break
				}
			}
		}
	}
	expect(1)
	fmt.Fprintf(c, "EHLO client.example\r\n")
	expect(1)
	message := "Subject: hello\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 131) + ".\r\n"
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		fmt.Fprintf(c, "MAIL FROM:<x@out.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
		expect(3)
		fmt.Fprint(c, message)
		expect(1)
	}
}
