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
	"net/http/httputil"
	"strings"
	"testing"
	"time"
)

// TestPieces: whatever the pieces are that a stream comes in, and those it is read in, all of it arrives, over one connection.
func TestPieces(t *testing.T) {
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

// TestIdleConnectionsHoldNoBuffers: neither in the pool nor while they wait for more of a stream.
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
		on <- struct{}{}
		read("def")
		if x.conn.r != nil {
			t.Error("it has a buffer while it waits")
		}
		if n, err := x.Stream().Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d bytes behind the end, %v", n, err)
		}
		c := x.conn
		x.Close(true)
		if c.r != nil || len(g.idle) != 1 {
			t.Errorf("in the pool of %d: %v", len(g.idle), c.r)
		}
	}
}

// TestChunksAreReadTogether: those that have come, however many they are, and none that has not.
func TestChunksAreReadTogether(t *testing.T) {
	const many = 200
	on := make(chan struct{})
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r, 2); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
		<-on
		io.WriteString(c, strings.Repeat("4\r\nmore\r\n", many)+"8\r\nunfi")
		<-on
		io.WriteString(c, "nish\r\n0\r\n\r\n")
	})
	x, err := post(target(t, url), true)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(true)
	for _, want := range []string{"first", strings.Repeat("more", many) + "unfi", "nish"} {
		p := make([]byte, 4<<10)
		n, err := x.Stream().Read(p)
		if string(p[:n]) != want || err != nil && err != io.EOF {
			t.Fatalf("%.30q of %d bytes, %v; want %.30q", p[:n], n, err, want)
		}
		if want != "nish" {
			on <- struct{}{}
		}
	}
}

// TestBytesBehindAnAnswer: a connection on which more came than its answer is not used again, whichever buffer has it.
func TestBytesBehindAnAnswer(t *testing.T) {
	for _, more := range []int{1, 2 << 10, 2 * readBuffer} {
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

// decoded is what the chunks of a text come to if it comes in pieces that end at the cuts.
func decoded(text []byte, cuts ...int) (data []byte, rest int, over bool, err error) {
	var d chunks
	for from := 0; from < len(text); {
		to := len(text)
		if len(cuts) > 0 {
			to, cuts = min(max(cuts[0], from), to), cuts[1:]
		}
		raw := bytes.Clone(text[from:to])
		n, more, err := d.decode(raw)
		if data = append(data, raw[:n]...); err != nil {
			return data, 0, false, err
		}
		if rest += more; d.state == chunksOver && rest == 0 && to < len(text) {
			rest = len(text) - to
			break
		}
		from = to
	}
	return data, rest, d.state == chunksOver, nil
}

func TestChunks(t *testing.T) {
	for _, c := range []struct {
		text, data string
		rest       int
		over, bad  bool
	}{
		{text: "", data: ""},
		{text: "0\r\n\r\n", over: true},
		{text: "3\r\nabc\r\n0\r\n\r\n", data: "abc", over: true},
		{text: "3\r\nabc\r\n0\r\n\r\nHTTP/1.1", data: "abc", rest: 8, over: true},
		{text: "3\r\nabc\r\n2;name=\"v\"\r\nde\r\n00\r\nTrailer: x\r\nOther: y\r\n\r\n", data: "abcde", over: true},
		{text: "0000a \t\r\n0123456789\r\n", data: "0123456789"},
		{text: "3\r\nab", data: "ab"},
		{text: "C\r\nabcdef", data: "abcdef"},
		{text: "\r\n", bad: true},
		{text: "-1\r\n", bad: true},
		{text: "0x3\r\nabc", bad: true},
		{text: "3\nabc\r\n", bad: true},
		{text: "3 ;x\r\nabc", bad: true},
		{text: "3;x\nabc", bad: true},
		{text: "3\r\nabcd\r\n", data: "abc", bad: true},
		{text: "3\r\nabc\n", data: "abc", bad: true},
		{text: "0\r\nTrailer: x\n\r\n", bad: true},
		{text: "0\r\n\n", bad: true},
		{text: "0\r\n\rx", bad: true},
		{text: "ffffffffffffffff\r\n", bad: true},
		{text: "20000000000\r\n", bad: true},
		{text: strings.Repeat("0", maxDigits+1) + "\r\n", bad: true},
		{text: "1;" + strings.Repeat("x", maxFraming) + "\r\n", bad: true},
		{text: "0\r\n" + strings.Repeat("a: b\r\n", maxFraming), bad: true},
		{text: strings.Repeat("1\r\nx\r\n", maxFraming), data: strings.Repeat("x", maxFraming)},
	} {
		data, rest, over, err := decoded([]byte(c.text))
		if string(data) != c.data || rest != c.rest || over != c.over || (err != nil) != c.bad {
			t.Errorf("%.40q: %.40q, %d bytes behind, over %t, %v", c.text, data, rest, over, err)
		}
	}
}

// FuzzChunks: wherever a text is cut, it comes to the same; and what ends as a body does so for the standard library, with the same data.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n2;x\r\nde\r\n0\r\nTrailer: x\r\n\r\nmore"), uint8(4), uint8(20))
	f.Add([]byte("0a\r\n0123456789\r\n0\r\n\r\n"), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, text []byte, one, two uint8) {
		data, rest, over, err := decoded(text)
		cut, rest2, over2, err2 := decoded(text, int(min(one, two)), int(max(one, two)))
		if !bytes.Equal(data, cut) || rest != rest2 || over != over2 || (err != nil) != (err2 != nil) {
			t.Fatalf("%q\nwhole: %q, %d, %t, %v\ncut:   %q, %d, %t, %v", text, data, rest, over, err, cut, rest2, over2, err2)
		}
		if over {
			if want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(text[:len(text)-rest]))); err != nil || !bytes.Equal(data, want) {
				t.Fatalf("%q: %q, and of the standard library %q, %v", text, data, want, err)
			}
		}
	})
}
