package overload

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// starved is a listener whose Accept fails for want of descriptors as long as it is told.
type starved struct {
	net.Listener
	fails chan error // what Accept fails with next; closed: it works
	tries chan time.Time
}

func (l *starved) Accept() (net.Conn, error) {
	select {
	case l.tries <- time.Now():
	default:
	}
	if err, more := <-l.fails; more {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// Without descriptors a listener pauses, longer and longer, and goes on when there are some again.
func TestAcceptPauses(t *testing.T) {
	under := &starved{Listener: listen(t), fails: make(chan error, 16), tries: make(chan time.Time, 16)}
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		under.fails <- err
	}
	close(under.fails)
	g := New(Config{})
	ln := g.Listen(under)
	go net.Dial("tcp", under.Addr().String()) //nolint:errcheck // Accept tells
	began := time.Now()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if took := time.Since(began); took < 5*time.Millisecond*(1+2+4+8) {
		t.Errorf("four failures took %s: it hardly paused", took)
	}
	if n := g.Stats().Shed["connections"]; n != 4 {
		t.Errorf("%d failures are counted", n)
	}
	ln.Close()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after it was closed: %v", err)
	}
}

// A pause ends when a connection is closed, and when the listener is.
func TestPauseEnds(t *testing.T) {
	under := &starved{Listener: listen(t), fails: make(chan error), tries: make(chan time.Time, 16)}
	ln := New(Config{}).Listen(under)
	accepted := make(chan net.Conn, 1)
	ended := make(chan error, 1)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	held := &Conn{Conn: newPipe(t), listener: ln}
	for range 9 { // the pause is a second then
		under.fails <- syscall.EMFILE
	}
	<-under.tries
	for len(under.tries) > 0 {
		<-under.tries
	}
	closing := time.Now()
	held.Close()
	if again := <-under.tries; again.Sub(closing) > 900*time.Millisecond {
		t.Errorf("it tried again %s after a connection was closed", again.Sub(closing))
	}
	under.fails <- syscall.EMFILE
	ln.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it still pauses")
	}
}

func newPipe(t *testing.T) net.Conn {
	one, other := net.Pipe()
	t.Cleanup(func() { other.Close() })
	return one
}

// Beyond its limit a listener answers 503, unless a connection that waits for a request can make room.
func TestConnectionsBeyondTheLimit(t *testing.T) {
	g := New(Config{Connections: 2})
	ln := g.Listen(listen(t))
	accepted := make(chan *Conn, 8)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- conn.(*Conn)
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	second := <-accepted

	third := dial()
	third.Write([]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n")) //nolint:errcheck // what it reads tells
	answer, err := io.ReadAll(third)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") || !strings.Contains(string(answer), "Retry-After: 1\r\n") || !strings.Contains(string(answer), `"code":"overloaded"`) {
		t.Errorf("%v: %s", err, answer)
	}
	_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	if !strings.Contains(string(answer), "Content-Length: 157\r\n") || len(body) != 157 {
		t.Errorf("the body has %d bytes", len(body))
	}

	first.idle.Store(time.Now().Add(-2 * idleFor).UnixNano())
	read := make(chan error, 1)
	go func() {
		_, err := first.Read(make([]byte, 1))
		first.Close()
		read <- err
	}()
	time.Sleep(2 * evictEvery) // since it was last looked for
	dial()
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the idle connection got %v", err)
	}
	fourth := <-accepted
	if n := g.Stats().Connections; n != 2 {
		t.Errorf("%d connections are counted", n)
	}
	second.Close()
	second.Close() // counts once
	fourth.Close()
	if n := g.Stats().Connections; n != 0 {
		t.Errorf("%d connections are counted in the end", n)
	}
}
