package engine

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/overload"
)

// patient is a connection that remembers until when it was to wait, to read and to write.
type patient struct {
	pieces
	deadlines, writes []time.Time
}

func (c *patient) Write(p []byte) (int, error) { return len(p), nil }

func (c *patient) SetWriteDeadline(t time.Time) error {
	c.writes = append(c.writes, t)
	return nil
}

func (c *patient) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// TestReadDeadlines: the connection is told of those that a read may come to, and of the others not.
func TestReadDeadlines(t *testing.T) {
	const request = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	start := time.Now()
	idle := start.Add(2 * time.Minute)
	for name, c := range map[string]struct {
		after time.Duration // between a request and the next
		size  int           // of the pieces in which requests come
		want  func(deadlines []time.Time) bool
	}{
		"in one piece, at once": {time.Millisecond, len(request), func(d []time.Time) bool { return slices.Equal(d, []time.Time{idle}) }},
		"in one piece, seldom": {time.Second, len(request), func(d []time.Time) bool {
			return slices.Equal(d, []time.Time{idle, idle.Add(time.Second), idle.Add(2 * time.Second)})
		}},
		"in two pieces": {time.Millisecond, len(request) - 1, func(d []time.Time) bool { // each has a wait of its own, and one until it counts as slow
			return len(d) == 6 && d[0].Equal(idle) && d[2].Equal(idle.Add(time.Millisecond)) && d[4].Equal(idle.Add(2*time.Millisecond)) &&
				!slices.ContainsFunc([]time.Time{d[1], d[3], d[5]}, func(t time.Time) bool { return t.Sub(start) > 10*overload.SlowAfter })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &patient{pieces: pieces{size: c.size}}
			g := &gate{Conn: conn, maxBody: 10, first: first{pool: newBuffers()}, load: load{guard: overload.New(overload.Config{})}}
			for n := range 3 {
				now := start.Add(time.Duration(n) * c.after)
				conn.rest = []byte(request)
				g.SetReadDeadline(now.Add(2 * time.Minute)) // until it begins
				p := make([]byte, 1)
				for left := len(request); left > 0; p = make([]byte, 4096) {
					got, err := g.Read(p)
					if err != nil {
						t.Fatal(err)
					}
					left -= got
					g.SetReadDeadline(now.Add(30 * time.Second)) // for the rest of it
				}
			}
			if !c.want(conn.deadlines) {
				t.Errorf("it was told %v from %v on", conn.deadlines, start)
			}
		})
	}
}

// TestWaitForEver: a server without limits takes back the one there was.
func TestWaitForEver(t *testing.T) {
	conn := &patient{}
	g := &gate{Conn: conn}
	now := time.Now()
	for _, until := range []time.Time{{}, now, now, {}, {}, now} {
		g.waitUntil(until, time.Second)
	}
	if want := []time.Time{now, {}, now}; !slices.Equal(conn.deadlines, want) {
		t.Errorf("it was told %v, want %v", conn.deadlines, want)
	}
}

// TestWriteDeadlines: a client is waited for as long as the gate says, which sets that seldom, unless somebody else says otherwise.
func TestWriteDeadlines(t *testing.T) {
	conn := &patient{}
	g := &gate{Conn: conn, load: load{patience: time.Hour}}
	write := func() {
		if n, err := g.Write([]byte("abc")); n != 3 || err != nil {
			t.Fatal(n, err)
		}
	}
	own := func(at time.Time) bool { left := time.Until(at); return left > 59*time.Minute && left <= time.Hour }
	given := time.Now().Add(time.Second)
	for range 3 {
		write()
	}
	g.SetWriteDeadline(given)
	write()
	write()
	g.SetWriteDeadline(time.Time{})
	write()
	write()
	if w := conn.writes; len(w) != 4 || !own(w[0]) || w[1] != given || !w[2].IsZero() || !own(w[3]) {
		t.Errorf("it was told %v, with %v given", w, given)
	}
}

// A client that took long to send its request is no slow sender any more while it waits for its answer.
func TestSlowSenderWhoIsThrough(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	arrived, answer := make(chan struct{}), make(chan struct{})
	server := NewServer(func(ctx *fasthttp.RequestCtx) {
		arrived <- struct{}{}
		<-answer
	}, 1<<20)
	server.Guard = overload.New(overload.Config{Requests: 10, Senders: 1})
	go server.Serve(ln) //nolint:errcheck // it ends with the listener
	var readers []*bufio.Reader
	for range 2 {
		c, r := connected(t, ln.Addr())
		readers = append(readers, r)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1") //nolint:errcheck // the answer tells
		time.Sleep(overload.SlowAfter + 200*time.Millisecond)
		io.WriteString(c, "2") //nolint:errcheck // likewise
		select {
		case <-arrived:
		case <-time.After(10 * time.Second):
			text, _ := r.Peek(100) // it is all there
			t.Fatalf("refused: %s", text)
		}
	}
	close(answer)
	for _, r := range readers {
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("%v, %v", resp, err)
		}
	}
}
