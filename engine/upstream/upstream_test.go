package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// serve answers each connection with the handler until the test ends.
func serve(t *testing.T, handle func(net.Conn, *bufio.Reader)) string {
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
				handle(c, bufio.NewReader(c))
			}()
		}
	}()
	return "http://" + ln.Addr().String() + "/v1"
}

// readRequest consumes one request with a body of n bytes and returns its head.
func readRequest(r *bufio.Reader, n int) (string, error) {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if line == "\r\n" {
			_, err := io.CopyN(io.Discard, r, int64(n))
			return head.String(), err
		}
	}
}

func target(t *testing.T, url string) *Target {
	t.Helper()
	g, err := New(Config{Timeouts: Timeouts{Connect: time.Second, FirstByte: 300 * time.Millisecond, Idle: time.Second}, MaxBody: 1 << 10}).Target(url, TargetOptions{AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func post(g *Target, stream bool) (*Exchange, error) {
	x := g.Begin("/chat/completions")
	x.Request.SetBody([3][]byte{[]byte("{}")})
	return x, x.Do(stream)
}

// serveHeads answers "hello" to requests with two bytes, and tells their heads.
func serveHeads(t *testing.T) (url string, heads chan string) {
	t.Helper()
	heads = make(chan string, 8)
	return serve(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, err := readRequest(r, 2)
			if err != nil {
				return
			}
			heads <- head
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	}), heads
}

func TestBufferedAnswerAndConnectionReuse(t *testing.T) {
	url, heads := serveHeads(t)
	g := target(t, url)
	for range 3 {
		x, err := post(g, false)
		if err != nil || string(x.Response.Body()) != "hello" {
			t.Fatalf("%v", err)
		}
		x.Close(true)
		if head := <-heads; !strings.HasPrefix(head, "POST /v1/chat/completions HTTP/1.1\r\n") {
			t.Fatalf("request line: %q", head)
		}
	}
	if len(g.idle) != 1 {
		t.Fatalf("%d idle connections, want the one that was reused", len(g.idle))
	}
}

func TestPooledConnectionThatWasClosedIsReplacedOnce(t *testing.T) {
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r, 2); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") // and close, without saying so
		}
	})
	g := target(t, url)
	for range 3 {
		x, err := post(g, false)
		if err != nil {
			t.Fatal(err)
		}
		x.Close(true)
	}
}

// A kept connection that breaks off in the middle of an answer is a failure as any other: the request was read, and may have
// been paid for.
func TestPooledConnectionThatBreaksOffIsNotReplaced(t *testing.T) {
	asked := make(chan struct{}, 8)
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		for n := 0; ; n++ {
			if _, err := readRequest(r, 2); err != nil {
				return
			}
			asked <- struct{}{}
			if n == 1 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				time.Sleep(50 * time.Millisecond) // until that is read
				c.(*net.TCPConn).SetLinger(0)
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	g := target(t, url)
	for n := range 2 {
		x, err := post(g, false)
		x.Close(true)
		if (n == 1) != errors.Is(err, ErrBroken) {
			t.Errorf("exchange %d: %v", n, err)
		}
	}
	if len(asked) != 2 {
		t.Errorf("asked %d times", len(asked))
	}
}

func TestFailures(t *testing.T) {
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	closed.Close()
	for _, tc := range []struct {
		name  string
		url   string
		reply func(net.Conn, *bufio.Reader)
		want  error
	}{
		{name: "refused", url: "http://" + closed.Addr().String(), want: ErrConnect},
		{name: "silent", want: ErrTimeout, reply: func(_ net.Conn, r *bufio.Reader) { readRequest(r, 3) }},
		{name: "garbage", want: ErrBroken, reply: func(c net.Conn, r *bufio.Reader) { readRequest(r, 2); io.WriteString(c, "what?\r\n\r\n") }},
		{name: "cut body", want: ErrBroken, reply: func(c net.Conn, r *bufio.Reader) {
			readRequest(r, 2)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}},
		{name: "too large", want: ErrTooLarge, reply: func(c net.Conn, r *bufio.Reader) {
			readRequest(r, 2)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"+strings.Repeat("x", 4096))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.reply != nil {
				tc.url = serve(t, tc.reply)
			}
			x, err := post(target(t, tc.url), false)
			x.Close(false)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestCancelCutsEveryPhase(t *testing.T) {
	gone := make(chan time.Time, 4)
	watch := func(c net.Conn, r *bufio.Reader) {
		io.Copy(io.Discard, r)
		gone <- time.Now()
	}
	for name, reply := range map[string]string{
		"before the head": "",
		"before a chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"mid-stream":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(c net.Conn, r *bufio.Reader) {
				readRequest(r, 2)
				io.WriteString(c, reply)
				watch(c, r)
			})
			x := target(t, url).Begin("/chat/completions")
			x.Request.SetBody([3][]byte{[]byte("{}")})
			time.AfterFunc(50*time.Millisecond, x.Cancel)
			err := x.Do(true)
			for err == nil {
				_, err = x.Stream().Read(make([]byte, 16))
			}
			x.Close(true)
			if !errors.Is(err, ErrCancelled) {
				t.Fatalf("got %v, want ErrCancelled", err)
			}
			select {
			case <-gone:
			case <-time.After(time.Second):
				t.Fatal("the provider never saw the connection close")
			}
		})
	}
}

func TestStreamReadsChunksAsTheyCome(t *testing.T) {
	step := make(chan bool)
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		readRequest(r, 2)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
		<-step
		io.WriteString(c, "3\r\ntwo\r\n0\r\n\r\n")
		<-step
	})
	g := target(t, url)
	x, err := post(g, true)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := x.Stream().Read(buf)
	if err != nil || string(buf[:n]) != "one" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	step <- true
	rest, err := io.ReadAll(x.Stream())
	if err != nil || string(rest) != "two" {
		t.Fatalf("%q, %v", rest, err)
	}
	x.Close(true)
	if len(g.idle) != 1 {
		t.Fatal("a fully read stream must give its connection back")
	}
	close(step)
}

func TestSpecialAddressesAreRefusedAtTheDial(t *testing.T) {
	url := serve(t, func(net.Conn, *bufio.Reader) { t.Error("a connection was made") })
	g, err := New(Config{}).Target(url, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := post(g, false)
	x.Close(false)
	if !errors.Is(err, ErrAddress) {
		t.Fatalf("got %v, want ErrAddress", err)
	}
	for _, text := range []string{
		"127.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fd00:ec2::254", "100.64.0.1", "10.1.2.3",
		"172.16.0.1", "192.168.1.1", "192.0.0.8", "198.18.0.1", "fc00::1", "fe80::1%eth0", "fec0::1", "2002:7f00:1::",
		"64:ff9b::7f00:1", "64:ff9b:1::1", "255.255.255.255",
	} {
		if PublicAddress(netip.MustParseAddr(text)) {
			t.Errorf("%s counts as public", text)
		}
	}
	for _, text := range []string{"1.1.1.1", "2606:4700::1111", "172.32.0.1", "::ffff:8.8.8.8"} {
		if !PublicAddress(netip.MustParseAddr(text)) {
			t.Errorf("%s counts as special", text)
		}
	}
}

func TestBaseURLs(t *testing.T) {
	for _, url := range []string{"", "example.com/v1", "ftp://example.com", "http://user:pw@example.com", "http://example.com?x=1", "http://"} {
		if _, err := New(Config{}).Target(url, TargetOptions{}); err == nil {
			t.Errorf("%q must be refused", url)
		}
	}
}

// A stream of which all that matters was read gives its connection back if the answer ends soon, and does not wait for it otherwise.
func TestCloseReadsToTheEnd(t *testing.T) {
	for name, x := range map[string]struct {
		head   string
		rest   []string // pieces behind the first, 5 ms apart
		ends   bool     // else the connection is held
		reused bool
	}{
		"the end of the last chunk":  {"Transfer-Encoding: chunked", []string{"0\r\n", "\r\n"}, true, true},
		"further chunks":             {"Transfer-Encoding: chunked", []string{"3\r\nabc\r\n", "0\r\n\r\n"}, true, true},
		"the rest of a known length": {"Content-Length: 8", []string{"abc"}, true, true},
		"no end":                     {"Transfer-Encoding: chunked", nil, false, false},
		"a comment and no end":       {"Transfer-Encoding: chunked", []string{"3\r\nabc\r\n"}, false, false},
		"more behind the end":        {"Transfer-Encoding: chunked", []string{"0\r\n\r\nHTTP/1.1"}, false, false},
		"to the connection's end":    {"X-Length: none", nil, false, false},
		"a connection that is over":  {"Connection: close\r\nTransfer-Encoding: chunked", nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			again := make(chan bool, 2)
			url := serve(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := readRequest(r, 2); err != nil {
					return
				}
				first := "hello"
				if strings.Contains(x.head, "chunked") {
					first = "5\r\nhello\r\n"
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n%s", x.head, first)
				for _, piece := range x.rest {
					time.Sleep(5 * time.Millisecond)
					io.WriteString(c, piece) //nolint:errcheck // it may be gone
				}
				_, err := readRequest(r, 2)
				again <- err == nil
			})
			g := target(t, url)
			e, err := post(g, true)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(e.Stream(), make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			e.Close(true)
			if took := time.Since(began); took > 10*EndTime || x.ends && took > 3*EndTime {
				t.Errorf("it took %s", took)
			}
			if !x.reused {
				if <-again {
					t.Error("the connection is used again")
				}
				return
			}
			next, _ := post(g, true) // is not answered there
			next.Close(false)
			if !<-again {
				t.Error("the connection is not used again")
			}
		})
	}
}
