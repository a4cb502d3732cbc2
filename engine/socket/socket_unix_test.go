//go:build unix

package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// pair is a wrapped connection of a listener and the wrapped one of who dialled it.
func pair(t testing.TB) (accepted, dialled net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln = Listen(ln)
	defer ln.Close()
	plain, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	dialled = Wrap(plain)
	t.Cleanup(func() { accepted.Close(); dialled.Close() })
	return accepted, dialled
}

// TestConnection is the standard library's idea of a connection, for ours.
func TestConnection(t *testing.T) {
	nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
		a, b = pair(t)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestOthersStayAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Wrap(a) != a {
		t.Error("a pipe was wrapped")
	}
	closed := errors.New("closed")
	if _, err := Listen(failing{closed}).Accept(); err != closed {
		t.Errorf("a listener that failed gave %v", err)
	}
}

type failing struct{ err error }

func (f failing) Accept() (net.Conn, error) { return nil, f.err }
func (f failing) Close() error              { return nil }
func (f failing) Addr() net.Addr            { return nil }

// TestLargeWrites are of more than the kernel takes at once, while somebody else writes too, in each of the ways there are.
func TestLargeWrites(t *testing.T) {
	from, to := pair(t)
	const size = 8 << 20
	var writers sync.WaitGroup
	for _, b := range []byte("abc") {
		writers.Go(func() {
			text := bytes.Repeat([]byte{b}, size)
			if n, err := from.Write(text); n != size || err != nil {
				t.Errorf("%d bytes were written, %v", n, err)
			}
		})
	}
	writers.Go(func() {
		parts := net.Buffers{bytes.Repeat([]byte("d"), size/2), bytes.Repeat([]byte("d"), size/2)}
		if n, err := parts.WriteTo(from); n != size || err != nil {
			t.Errorf("%d bytes of buffers were written, %v", n, err)
		}
	})
	writers.Go(func() {
		if n, err := WriteParts(from, Parts{bytes.Repeat([]byte("e"), size/4), bytes.Repeat([]byte("e"), size/2), nil, bytes.Repeat([]byte("e"), size/4)}); n != size || err != nil {
			t.Errorf("%d bytes of parts were written, %v", n, err)
		}
	})
	go func() { writers.Wait(); from.Close() }()
	got, err := io.ReadAll(to)
	if err != nil || len(got) != 5*size {
		t.Fatalf("%d bytes came, %v", len(got), err)
	}
	for part := range 5 {
		if b := got[part*size]; bytes.Count(got[part*size:][:size], []byte{b}) != size {
			t.Error("what one wrote is not in one piece")
		}
	}
}

// TestWriteParts: parts come in their order, whatever some of them have, and over any connection.
func TestWriteParts(t *testing.T) {
	for _, texts := range [][4]string{{"head", "body"}, {"head"}, {"", "body"}, {"", "", "body", "end"}, {"one, ", "two, ", "three, ", "four"}, {"", "", "", "end"}, {}} {
		for _, kind := range []string{"wrapped", "other"} {
			from, to := pair(t)
			if kind == "other" {
				from = from.(*Conn).TCPConn
			}
			var parts Parts
			for i, text := range texts {
				parts[i] = []byte(text)
			}
			want := strings.Join(texts[:], "")
			if n, err := WriteParts(from, parts); int(n) != len(want) || err != nil {
				t.Errorf("%q, %s: %d bytes were written, %v", texts, kind, n, err)
			}
			from.Close()
			if got, err := io.ReadAll(to); string(got) != want || err != nil {
				t.Errorf("%q, %s: %q came, %v", texts, kind, got, err)
			}
		}
	}
}

// TestErrors: they are those of any TCP connection, and say the same.
func TestErrors(t *testing.T) {
	full := func(c net.Conn) error {
		c.SetWriteDeadline(time.Now().Add(30 * time.Millisecond))
		n, err := c.Write(make([]byte, 64<<20))
		if n == 0 || n == 64<<20 {
			t.Errorf("%d bytes were written before nobody took more", n)
		}
		return err
	}
	late := func(c net.Conn) error {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		return err
	}
	reset := func(c, other net.Conn) {
		if w, ok := other.(*Conn); ok {
			w.SetLinger(0)
		}
		other.Close()
	}
	for name, c := range map[string]struct {
		do   func(c, other net.Conn) error
		want error
		text string
	}{
		"nobody reads":   {func(c, _ net.Conn) error { return full(c) }, os.ErrDeadlineExceeded, "write tcp 127.0.0.1:"},
		"nothing comes":  {func(c, _ net.Conn) error { return late(c) }, os.ErrDeadlineExceeded, "read tcp 127.0.0.1:"},
		"closed already": {func(c, _ net.Conn) error { c.Close(); _, err := c.Read(make([]byte, 1)); return err }, net.ErrClosed, "use of closed network connection"},
		"closed meanwhile": {func(c, _ net.Conn) error {
			time.AfterFunc(5*time.Millisecond, func() { c.Close() })
			_, err := c.Read(make([]byte, 1))
			return err
		}, net.ErrClosed, "read tcp"},
		"the end":                  {func(c, other net.Conn) error { other.Close(); _, err := c.Read(make([]byte, 1)); return err }, io.EOF, "EOF"},
		"nothing is asked for":     {func(c, other net.Conn) error { other.Close(); _, err := c.Read(nil); return err }, nil, ""},
		"reset":                    {func(c, other net.Conn) error { reset(c, other); _, err := c.Read(make([]byte, 1)); return err }, syscall.ECONNRESET, "read: connection reset by peer"},
		"written behind a reset":   {func(c, other net.Conn) error { reset(c, other); return writeUntilRefused(c) }, syscall.EPIPE, "write: broken pipe"},
		"written after CloseWrite": {func(c, _ net.Conn) error { c.(*Conn).CloseWrite(); return writeUntilRefused(c) }, syscall.EPIPE, "write: broken pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			err := c.do(a, b)
			if c.want == nil && err == nil {
				return
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the error is %v", err)
			}
			var op *net.OpError
			if errors.As(err, &op) == (c.want == io.EOF) {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

func writeUntilRefused(c net.Conn) (err error) {
	for range 1000 { // a reset is seen by one write, or by the next
		if _, err = c.Write([]byte("x")); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

// TestNoAllocation: a connection makes nothing anew for a read or a write.
func TestNoAllocation(t *testing.T) {
	a, b := pair(t)
	text, room := make([]byte, 700), make([]byte, 4096)
	n := testing.AllocsPerRun(500, func() {
		if _, err := a.Write(text); err != nil {
			t.Fatal(err)
		}
		for left := len(text); left > 0; {
			n, err := b.Read(room)
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkEcho is a request of 700 bytes and an answer as long, over a wrapped connection and another.
func BenchmarkEcho(b *testing.B) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{"wrapped": Wrap, "plain": func(c net.Conn) net.Conn {
		if w, ok := c.(*Conn); ok {
			return w.TCPConn
		}
		return c
	}} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				x, y := pair(b)
				x, y = wrap(x), wrap(y)
				go io.Copy(onlyWriter{y}, onlyReader{y}) //nolint:errcheck // it ends with the connection
				text := make([]byte, 700)
				for pb.Next() {
					if _, err := x.Write(text); err != nil {
						b.Error(err)
						return
					}
					if _, err := io.ReadFull(x, text); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)
