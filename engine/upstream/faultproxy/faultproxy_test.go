package faultproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answering is a server that answers each line with the same bytes.
func answering(t *testing.T, answer []byte) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buf := make([]byte, 64); ; {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func proxyOf(t *testing.T, upstream string) *Proxy {
	t.Helper()
	p, err := Start(upstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// Each fault comes at its very byte, and looks as it does in life.
func TestFaults(t *testing.T) {
	answer := bytes.Repeat([]byte("answer "), 100)
	p := proxyOf(t, answering(t, answer))
	for _, after := range []int{0, 1, 350, len(answer)} {
		for kind, end := range map[Kind]error{RST: syscall.ECONNRESET, FIN: nil, Garbage: nil, Hold: os.ErrDeadlineExceeded} {
			p.Always(Fault{Kind: kind, After: after, Bytes: []byte("garbage")})
			c := dial(t, p.Address())
			io.WriteString(c, "ask\n")
			if kind == Hold {
				c.SetDeadline(time.Now().Add(200 * time.Millisecond))
			}
			got, err := io.ReadAll(c)
			want := string(answer[:after])
			if kind == Garbage {
				want += "garbage"
			}
			if string(got) != want || !errors.Is(err, end) {
				t.Errorf("kind %d after %d bytes: %d bytes, %v; want %d, %v", kind, after, len(got), err, len(want), end)
			}
			c.Close()
		}
	}
}

// Every exchange of a connection has its own fault.
func TestExchanges(t *testing.T) {
	p := proxyOf(t, answering(t, []byte("answer")))
	p.Script(func(n int64) Fault {
		if n == 3 {
			return Fault{Kind: RST, After: 3}
		}
		return Fault{}
	})
	c := dial(t, p.Address())
	for _, want := range []string{"answer", "answer", "ans"} {
		io.WriteString(c, "ask\n")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	if p.Count() != 3 {
		t.Errorf("%d exchanges", p.Count())
	}
}

func TestDelayAndRate(t *testing.T) {
	p := proxyOf(t, answering(t, bytes.Repeat([]byte("x"), 100)))
	p.Always(Fault{Delay: 200 * time.Millisecond, Rate: 500})
	c := dial(t, p.Address())
	began := time.Now()
	io.WriteString(c, "ask\n")
	first := make([]byte, 1)
	if _, err := c.Read(first); err != nil || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if _, err := io.ReadFull(c, make([]byte, 99)); err != nil || time.Since(began) < 300*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestRefuse(t *testing.T) {
	p := proxyOf(t, answering(t, []byte("answer")))
	c := dial(t, p.Address())
	io.WriteString(c, "ask\n")
	io.ReadFull(c, make([]byte, 6))
	p.Refuse()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection of before: %v", err)
	}
	if _, err := net.Dial("tcp", p.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	c = dial(t, p.Address())
	io.WriteString(c, "ask\n")
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Error(err)
	}
}

// A proxy that ends leaves nobody waiting.
func TestClose(t *testing.T) {
	p := proxyOf(t, answering(t, []byte("answer")))
	p.Always(Fault{Kind: Hold})
	c := dial(t, p.Address())
	io.WriteString(c, strings.Repeat("ask\n", 10))
	time.Sleep(50 * time.Millisecond)
	p.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
