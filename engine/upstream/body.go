package upstream

import (
	"bufio"
	"io"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/kept"
)

// An answer's head comes through a reader of readBuffer bytes. A body that is read as it comes goes into the memory of whoever reads it, and is freed of
// its framing there: of a thousand streams most wait for the next token at any moment, and their connections have no buffers then. However many chunks have
// come, they are one read of the connection and one of the body.

// readBuffer is how many bytes a head may have.
const readBuffer = 16 << 10

const (
	firstPiece = 64 << 10 // most answers fit into it
	nextPiece  = kept.Most
)

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

// What fasthttp says instead of a body's length.
const (
	lengthChunked = -1
	lengthUnknown = -2 // to the end of the connection
)

// body is the body of an answer that is read as it comes.
type body struct {
	left   int // bytes that are to come, or one of the above
	chunks chunks
	end    error // what reading returns once all that came before has been read
	unsure bool  // the connection may have more of this answer, or something behind it
}

func newBody(resp *fasthttp.Response) body {
	switch status := resp.StatusCode(); {
	case status == fasthttp.StatusNoContent, status == fasthttp.StatusNotModified, status < 200, resp.Header.ContentLength() == 0:
		return body{end: io.EOF}
	}
	return body{left: resp.Header.ContentLength(), unsure: true}
}

// read waits for bytes of the body and gives all that have come and for which p, which also has their framing, has room.
func (b *body) read(c *conn, p []byte) (n int, err error) {
	for n == 0 && len(p) > 0 && b.end == nil {
		raw, err := c.more(p)
		n = b.take(p[:raw])
		switch {
		case b.end != nil:
		case err == io.EOF && b.left != lengthUnknown:
			b.end = io.ErrUnexpectedEOF
		default:
			b.end = err
		}
	}
	return n, b.end
}

// take puts the body's bytes in the place of those of the connection. It notes the end, or that they are not HTTP.
func (b *body) take(raw []byte) (n int) {
	switch {
	case b.left == lengthUnknown:
		return len(raw)
	case b.left == lengthChunked:
		n, rest, err := b.chunks.decode(raw)
		switch {
		case err != nil:
			b.end = err
		case b.chunks.state == chunksOver:
			b.end, b.unsure = io.EOF, rest > 0
		}
		return n
	}
	n = min(len(raw), b.left)
	if b.left -= n; b.left == 0 {
		b.end, b.unsure = io.EOF, len(raw) > n
	}
	return n
}

// gather reads the whole body of an answer, of at most limit bytes, and gives it to resp. The memory it returns, if any, is what the body is in.
func (b *body) gather(resp *fasthttp.Response, c *conn, limit int) (m *kept.Memory, err error) {
	switch {
	case b.end == io.EOF: // there is none
		return nil, nil
	case b.left > limit:
		return nil, ErrTooLarge
	case b.left >= 0 && b.left <= kept.Usual:
		b.unsure = false
		return nil, resp.ReadBody(c.r, limit)
	case b.left > 0:
		m = kept.Take(b.left)
		m.Bytes = m.Bytes[:b.left]
		_, err = b.fill(c, m.Bytes)
	default:
		m, err = b.join(c, limit)
	}
	if err != io.EOF {
		return nil, err
	}
	resp.SetBodyRaw(m.Bytes)
	return m, nil
}

// join reads a body whose length is not told to its end, which is io.EOF: in pieces that are joined then.
func (b *body) join(c *conn, limit int) (m *kept.Memory, err error) {
	pieces, total := make([]*kept.Memory, 0, 4), 0
	for size := firstPiece; err == nil; size = nextPiece {
		n := 0
		m = kept.Take(size)
		pieces = append(pieces, m)
		n, err = b.fill(c, m.Bytes[:size])
		m.Bytes = m.Bytes[:n]
		if total += n; total > limit {
			err = ErrTooLarge
		}
	}
	if len(pieces) == 1 || err != io.EOF {
		return m, err
	}
	m = kept.Take(total)
	for _, p := range pieces {
		m.Bytes = append(m.Bytes, p.Bytes...)
		p.Give()
	}
	return m, err
}

// fill reads until the buffer is full or the body ends.
func (b *body) fill(c *conn, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = b.read(c, p[n:])
		n += m
	}
	return n, err
}

// widen gives the connection the reader for a head.
func (c *conn) widen() {
	c.r = readers.Get().(*bufio.Reader)
	c.r.Reset(c)
}

// more reads what came behind the head, and then from the connection.
func (c *conn) more(p []byte) (int, error) {
	if c.unread() {
		return c.r.Read(p)
	}
	c.letGo()
	return c.Read(p)
}

// unread tells that the reader has bytes that nobody has read.
func (c *conn) unread() bool { return c.r != nil && c.r.Buffered() > 0 }

// letGo gives the reader back; nobody has it any more.
func (c *conn) letGo() {
	if c.r != nil {
		c.r.Reset(nil)
		readers.Put(c.r)
		c.r = nil
	}
}
