package engine

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// closed is a connection that knows whether it is.
type closed struct {
	net.Conn
	is bool
}

func (c *closed) Close() error {
	c.is = true
	return c.Conn.Close()
}

// A client that does not take its ping holds up nobody who looks after others, and gets nothing behind half a ping.
func TestPingThatIsNotTaken(t *testing.T) {
	ours, client := net.Pipe()
	defer client.Close()
	conn := &closed{Conn: ours}
	p := &pulse{every: time.Hour, conn: conn, waiting: true}
	p.look(time.Now())
	var first [9]byte
	if _, err := io.ReadFull(client, first[:]); err != nil || string(first[:]) != "HTTP/1.1 " {
		t.Fatalf("%q, %v", first, err)
	}
	looked := make(chan struct{})
	go func() {
		p.look(time.Now().Add(2 * time.Hour))
		close(looked)
	}()
	select {
	case <-looked:
	case <-time.After(10 * time.Second):
		t.Fatal("the look waits for the client")
	}
	client.Close() // the write fails
	if !p.begin() {
		t.Error("the head was not begun")
	}
	if !conn.is {
		t.Error("what follows half a ping is sent")
	}
}

// closing is a body that says that it was closed.
type closing chan struct{}

func (closing) Read([]byte) (int, error) { return 0, io.EOF }

func (c closing) Close() error {
	close(c)
	return nil
}

// A stream whose connection is gone when it is to be taken over is closed, which settles it.
func TestCarryOnAClosedConnection(t *testing.T) {
	body := make(closing)
	addr := listening(t, func(ctx *fasthttp.RequestCtx) {
		p := &pulse{begun: true}
		ctx.Conn().Close() // as a ping that failed
		stream(ctx, p, body)
	}, 1<<20)
	c, _ := connected(t, addr)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-body:
	case <-time.After(10 * time.Second):
		t.Error("nobody has closed the stream")
	}
}
