package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// P20: every stage has a limit of its own, which ends it on time and no other.
func TestEveryStageHasItsOwnTimeout(t *testing.T) {
	const limit, margin = 400 * time.Millisecond, 2 * time.Second
	long := Timeouts{Connect: 5 * time.Second, FirstByte: 5 * time.Second, Idle: 5 * time.Second, Total: 5 * time.Second}
	head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	hold := func(c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }
	drip := func(c net.Conn, r *bufio.Reader) {
		io.WriteString(c, head)
		for {
			if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for _, tc := range []struct {
		name  string
		set   func(*Timeouts)
		reply func(net.Conn, *bufio.Reader)
		stage string
	}{
		{"first byte", func(w *Timeouts) { w.FirstByte = limit }, hold, "first byte"},
		{"idle after the head", func(w *Timeouts) { w.Idle = limit }, func(c net.Conn, r *bufio.Reader) {
			io.WriteString(c, head)
			hold(c, r)
		}, "more of the answer"},
		{"idle after a chunk", func(w *Timeouts) { w.Idle = limit }, func(c net.Conn, r *bufio.Reader) {
			io.WriteString(c, head+"1\r\nx\r\n")
			hold(c, r)
		}, "more of the answer"},
		{"idle inside the head", func(w *Timeouts) { w.Idle = limit }, func(c net.Conn, r *bufio.Reader) {
			io.WriteString(c, "HTTP/1.1 200")
			hold(c, r)
		}, "more of the answer"},
		{"total before the head", func(w *Timeouts) { w.Total = limit }, hold, "total"},
		{"total of a stream that never pauses", func(w *Timeouts) { w.Total = limit }, drip, "total"},
	} {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, stream %v", tc.name, stream), func(t *testing.T) {
				url := serve(t, func(c net.Conn, r *bufio.Reader) {
					readRequest(r, 2)
					tc.reply(c, r)
				})
				waits := long
				tc.set(&waits)
				g, err := New(Config{}).Target(url, TargetOptions{AllowPrivate: true, Timeouts: waits})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				x, err := post(g, stream)
				for buf := make([]byte, 16); err == nil; {
					_, err = x.Stream().Read(buf)
				}
				took := time.Since(began)
				x.Close(false)
				if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), tc.stage) {
					t.Errorf("%v, want a timeout of the stage %q", err, tc.stage)
				}
				if took < limit || took > limit+margin {
					t.Errorf("after %v, want %v", took, limit)
				}
			})
		}
	}
}

// A long answer with pauses shorter than the idle limit is nobody's business.
func TestSlowSteadyStreamLives(t *testing.T) {
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		readRequest(r, 2)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 12 {
			time.Sleep(100 * time.Millisecond)
			io.WriteString(c, "1\r\nx\r\n")
		}
		io.WriteString(c, "0\r\n\r\n")
	})
	g, err := New(Config{}).Target(url, TargetOptions{AllowPrivate: true, Timeouts: Timeouts{FirstByte: time.Second, Idle: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := post(g, true)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(true)
	if text, err := io.ReadAll(x.Stream()); err != nil || len(text) != 12 {
		t.Errorf("%q, %v", text, err)
	}
}

// A handshake that hangs ends by its own limit. It is a failure to connect, for nothing was sent, so anything may be tried again.
func TestTLSTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, waits := range map[string]Timeouts{"at the TLS handshake": {TLS: 150 * time.Millisecond}, "the total": {Total: 150 * time.Millisecond}} {
		g, err := New(Config{}).Target("https://"+ln.Addr().String(), TargetOptions{AllowPrivate: true, Timeouts: waits})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		x, err := post(g, false)
		x.Close(false)
		if took := time.Since(began); !errors.Is(err, ErrConnect) || !errors.Is(err, ErrTimeout) || took < 150*time.Millisecond || took > 3*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}

// The limit for content holds although other bytes come, and ends when it is told to.
func TestUntil(t *testing.T) {
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		readRequest(r, 2)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 100 {
			if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	g := target(t, url)
	for _, bounded := range []bool{true, false} {
		x, err := post(g, true)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		x.Until(began.Add(200 * time.Millisecond))
		if !bounded {
			x.Until(time.Time{})
		}
		for buf := make([]byte, 1); err == nil && time.Since(began) < 600*time.Millisecond; {
			_, err = x.Stream().Read(buf)
		}
		if bounded != errors.Is(err, ErrTimeout) || bounded && (!strings.Contains(err.Error(), "first content") || time.Since(began) < 200*time.Millisecond) {
			t.Errorf("bounded %v: %v after %v", bounded, err, time.Since(began))
		}
		x.Close(false)
	}
}
