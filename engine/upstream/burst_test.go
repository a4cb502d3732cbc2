package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestBursts: whatever the pieces are that a stream comes in, and those it is read in, all of it arrives, over one connection.
func TestBursts(t *testing.T) {
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i >> 3)
	}
	stream := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for rest := content; len(rest) > 0; {
			n := min(1+rand.IntN(1<<rand.IntN(17)), len(rest))
			w.Write(rest[:n])
			if rest = rest[n:]; rand.IntN(3) > 0 {
				w.(http.Flusher).Flush()
			}
			if rand.IntN(20) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for _, secured := range []bool{false, true} {
		connections := 0
		server := httptest.NewUnstartedServer(http.HandlerFunc(stream))
		server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections++
			}
		}
		trust := &tls.Config{RootCAs: x509.NewCertPool()}
		if secured {
			server.StartTLS()
			trust.RootCAs.AddCert(server.Certificate())
		} else {
			server.Start()
		}
		g, err := New(Config{TLS: trust}).Target(server.URL, TargetOptions{AllowPrivate: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			x, err := post(g, true)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for p := make([]byte, 40<<10); err == nil; {
				var n int
				n, err = x.Stream().Read(p[:1+rand.IntN(1<<rand.IntN(16))])
				got = append(got, p[:n]...)
			}
			if err != io.EOF || !bytes.Equal(got, content) {
				t.Fatalf("TLS %t: %d of %d bytes, %v", secured, len(got), len(content), err)
			}
			x.Close(true)
		}
		g.Retire()
		server.Close()
		if connections != 1 {
			t.Errorf("TLS %t: %d connections", secured, connections)
		}
	}
}

// TestIdleConnectionsHoldNoBuffers: not in the pool, and a small one while they wait for more of a stream.
func TestIdleConnectionsHoldNoBuffers(t *testing.T) {
	on := make(chan struct{})
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := readRequest(r, 2); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			<-on
			io.WriteString(c, "3\r\ndef\r\n0\r\n\r\n")
		}
	})
	g := target(t, url)
	for range 2 {
		x, err := post(g, true)
		if err != nil {
			t.Fatal(err)
		}
		read := func(want string) {
			t.Helper()
			p := make([]byte, 3)
			if n, err := io.ReadFull(x.Stream(), p); err != nil || string(p) != want {
				t.Fatalf("%q, %v", p[:n], err)
			}
		}
		read("abc")
		if c := x.conn; c.burst.buf != nil || c.r.Size() != slimBuffer {
			t.Errorf("while it waits: %v, %d bytes", c.burst.buf != nil, c.r.Size())
		}
		on <- struct{}{}
		read("def")
		if n, err := x.Stream().Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d bytes behind the end, %v", n, err)
		}
		c := x.conn
		x.Close(true)
		if c.r != nil || c.burst.buf != nil || len(g.idle) != 1 {
			t.Errorf("in the pool of %d: %v, %v", len(g.idle), c.r, c.burst.buf != nil)
		}
	}
}

// TestBytesBehindAnAnswer: a connection on which more came than its answer is not used again, whichever buffer has it.
func TestBytesBehindAnAnswer(t *testing.T) {
	for _, more := range []int{1, 2 * slimBuffer} {
		url := serve(t, func(c net.Conn, r *bufio.Reader) {
			for {
				if _, err := readRequest(r, 2); err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n%s", bytes.Repeat([]byte("x"), more))
			}
		})
		g := target(t, url)
		for range 2 {
			x, err := post(g, true)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(x.Stream()); err != nil || string(body) != "abc" {
				t.Fatalf("%q, %v", body, err)
			}
			x.Close(true)
			if len(g.idle) != 0 {
				t.Errorf("a connection with %d bytes more is kept", more)
			}
		}
	}
}
