package upstream

import (
	"bufio"
	"io"
	"sync"

	"github.com/valyala/fasthttp"
)

// An answer's head comes through a reader of readBuffer bytes. A body that is read as it comes goes into the memory of whoever reads it, and is freed of
// its framing there: of a thousand streams most wait for the next token at any moment, and their connections have no buffers then. However many chunks have
// come, they are one read of the connection and one of the body.

// readBuffer is how many bytes a head may have.
const readBuffer = 16 << 10

const (
	firstPiece = 64 << 10 // most answers fit into it
	nextPiece  = 1 << 20
)

var (
	readers     = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}
	firstPieces = sync.Pool{New: func() any { return new([firstPiece]byte) }}
)

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

// gather reads the whole body of an answer, of at most limit bytes, and gives it to resp. One whose length is not told is gathered in pieces and joined at
// its end, which takes twice its size at most: of a buffer that grows with it the former selves would be left to the collector.
func (b *body) gather(resp *fasthttp.Response, c *conn, limit int) error {
	switch {
	case b.end == io.EOF: // there is none
		return nil
	case b.left >= 0:
		b.unsure = false
		return resp.ReadBody(c.r, limit)
	}
	first := firstPieces.Get().(*[firstPiece]byte)
	defer firstPieces.Put(first)
	piece, full, total := first[:], [][]byte(nil), 0
	for {
		n, err := b.fill(c, piece)
		if total += n; total > limit {
			return ErrTooLarge
		}
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil {
			full = append(full, piece)
			piece = make([]byte, nextPiece)
			continue
		}
		if full == nil {
			resp.SetBody(piece[:n])
			return nil
		}
		body := make([]byte, 0, total)
		for _, p := range full {
			body = append(body, p...)
		}
		resp.SetBodyRaw(append(body, piece[:n]...))
		return nil
	}
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
