package scripted

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// Reply is an answer. The zero value is an empty 200.
type Reply struct {
	Status int               // 0 means 200
	Header map[string]string // Content-Type is application/json, or text/event-stream for Chunks, unless given here
	Body   []byte            // a buffered answer
	// Chunks, if not nil, are a streamed answer in place of Body: each is one chunk of the transfer encoding. They need
	// not be whole events.
	Chunks [][]byte

	// HoldBeforeHeaders is how long nothing is sent at all.
	HoldBeforeHeaders time.Duration
	// HoldBeforeFirst is the time between the header and the first chunk, or the body.
	HoldBeforeFirst time.Duration
	// Interval is the pause after each chunk but the last. If it is zero the chunks are sent in as few packets as possible.
	Interval time.Duration
	// Release, if not nil, ends any hold and pause once it is closed.
	Release <-chan struct{}

	// Cut says how the answer breaks off, after CutAfter chunks of Chunks or bytes of Body. A negative CutAfter cuts
	// before the header.
	Cut      Cut
	CutAfter int
}

// Cut is a way in which an answer breaks off.
type Cut int

// The cuts.
const (
	CutNone Cut = iota
	CutFIN      // the connection is closed in the middle of the answer
	CutRST      // the connection is reset
	CutEOF      // the answer ends cleanly as HTTP, too early as a stream
)

// exchange is one connection.
type exchange struct {
	server *Server
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer

	watching chan struct{} // closed when the watcher of the current answer has ended; nil without one
}

// answer sends a reply; false if the connection is of no further use.
func (x *exchange) answer(req *Request, reply *Reply) bool {
	if reply.HoldBeforeHeaders > 0 || reply.HoldBeforeFirst > 0 || reply.Interval > 0 {
		x.watch(req)
	}
	whole := x.send(req, reply)
	return x.unwatch(req) && whole
}

// watch looks for the peer to leave.
func (x *exchange) watch(req *Request) {
	x.watching = make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		// Data is a request sent ahead, which waits in the buffer; a timeout is unwatch; closed is closed by us.
		_, err := x.in.Peek(1)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
			req.leave()
		}
	}(x.watching)
}

// unwatch ends the watcher; false if the peer has left.
func (x *exchange) unwatch(req *Request) bool {
	if x.watching == nil {
		return true
	}
	x.conn.SetReadDeadline(time.Unix(1, 0))
	<-x.watching
	x.watching = nil
	x.conn.SetReadDeadline(time.Time{})
	select {
	case <-req.gone:
		return false
	default:
		return true
	}
}

// wait lets d pass; false if the peer or the server has gone meanwhile.
func (x *exchange) wait(req *Request, reply *Reply, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	if x.out.Flush() != nil {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-reply.Release:
		return true
	case <-req.gone:
		return false
	case <-x.server.done:
		return false
	}
}

// send writes the answer; false if it was broken off.
func (x *exchange) send(req *Request, reply *Reply) bool {
	if !x.wait(req, reply, reply.HoldBeforeHeaders) {
		return false
	}
	if reply.Cut != CutNone && reply.CutAfter < 0 {
		return x.cut(reply.Cut)
	}
	x.head(reply)
	if !x.wait(req, reply, reply.HoldBeforeFirst) {
		return false
	}
	if reply.Chunks == nil {
		body := reply.Body
		if reply.Cut != CutNone {
			x.out.Write(body[:min(reply.CutAfter, len(body))])
			if reply.Cut != CutEOF {
				return x.cut(reply.Cut)
			}
			return x.out.Flush() == nil
		}
		x.out.Write(body)
		return x.out.Flush() == nil
	}
	for i, chunk := range reply.Chunks {
		if reply.Cut != CutNone && i == reply.CutAfter {
			break
		}
		if i > 0 && !x.wait(req, reply, reply.Interval) {
			return false
		}
		if len(chunk) == 0 {
			continue // an empty chunk would end the body
		}
		x.out.Write(strconv.AppendInt(x.out.AvailableBuffer(), int64(len(chunk)), 16))
		x.out.WriteString("\r\n")
		x.out.Write(chunk)
		x.out.WriteString("\r\n")
	}
	if reply.Cut == CutFIN || reply.Cut == CutRST {
		return x.cut(reply.Cut)
	}
	x.out.WriteString("0\r\n\r\n")
	return x.out.Flush() == nil
}

// head writes the status line and the header.
func (x *exchange) head(reply *Reply) {
	status := reply.Status
	if status == 0 {
		status = fasthttp.StatusOK
	}
	x.out.WriteString("HTTP/1.1 ")
	x.out.Write(strconv.AppendInt(x.out.AvailableBuffer(), int64(status), 10))
	x.out.WriteString(" " + fasthttp.StatusMessage(status) + "\r\n")
	if _, given := reply.Header["Content-Type"]; !given {
		kind := "application/json"
		if reply.Chunks != nil {
			kind = "text/event-stream"
		}
		x.out.WriteString("Content-Type: " + kind + "\r\n")
	}
	for name, value := range reply.Header {
		x.out.WriteString(name + ": " + value + "\r\n")
	}
	if reply.Chunks != nil {
		x.out.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		return
	}
	length := len(reply.Body)
	if reply.Cut == CutEOF {
		length = min(length, reply.CutAfter)
	}
	x.out.WriteString("Content-Length: ")
	x.out.Write(strconv.AppendInt(x.out.AvailableBuffer(), int64(length), 10))
	x.out.WriteString("\r\n\r\n")
}

// cut breaks the connection off. What was written so far reaches the peer before a FIN; a RST may overtake it.
func (x *exchange) cut(how Cut) bool {
	x.out.Flush()
	if tcp, ok := x.conn.(*net.TCPConn); ok && how == CutRST {
		tcp.SetLinger(0)
	}
	x.conn.Close()
	return false
}
