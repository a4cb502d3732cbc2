package engine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/overload"
)

// Limits of a request's head.
const (
	maxRequestLine = 8 << 10  // bytes
	maxHeaderBytes = 32 << 10 // of the header fields together
	maxHeaders     = 100
	maxChunkLine   = 256      // bytes of a chunk's size and extensions
	maxChunkWaste  = 16 << 10 // bytes of a chunked body by which its lines may exceed 16 bytes a chunk and its data twice
)

// gates is a listener whose connections pass through a gate.
type gates struct {
	net.Listener
	maxBody int
	guard   *overload.Guard // nil: none
	buffers *sync.Pool      // of *[firstRead]byte
}

// Accept waits for the next connection.
func (l gates) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.gate(conn), nil
}

func (l gates) gate(conn net.Conn) *gate {
	return &gate{Conn: conn, maxBody: int64(l.maxBody), first: newFirst(conn, l.buffers), load: load{guard: l.guard, patience: l.guard.WriteWithin()}}
}

func newBuffers() *sync.Pool { return &sync.Pool{New: func() any { return new([firstRead]byte) }} }

// gate is a client's connection that lets only such requests through as every parser of HTTP/1.1 reads alike. It follows the
// framing of the bytes as they are read, and hands them on one request at a time: nothing of a request is seen by the
// server before the answer to the one before has been sent. From the first flaw on, nothing passes any more.
//
// One goroutine reads at a time, as of any connection that is served; the other methods are those of the connection.
type gate struct {
	net.Conn
	maxBody int64

	stage  stage
	head   head
	text   []byte // of the head or of a body's line so far, if it did not come in one piece
	left   int64  // bytes of the body, or of its chunk, that are still to come
	body   int64  // bytes of a chunked body so far
	waste  int64  // see maxChunkWaste
	passed bool   // the server has bytes of this request
	posted bool   // the request before was a POST

	rest  []byte // read already, and beyond the request that is being read
	fault *Fault // why nothing passes any more, nil while it does
	told  bool   // see refuse
	path  []byte // the target of the request at fault, or of one with a chunked body; empty if it is not known

	spoken net.Conn // the connection below TLS, where a client does not speak that

	first // bytes of the request
	load  // what the request and the connection are to the guard
}

// stage is what the next byte belongs to.
type stage uint8

const (
	stageHead stage = iota
	stageBody
	stageChunkSize
	stageChunkData
	stageChunkEnd // the line break behind a chunk's data
	stageTrailer
)

var errRefused = errors.New("refused")

// NetConn is the connection below.
func (g *gate) NetConn() net.Conn { return g.Conn }

// Read reads bytes of one request.
func (g *gate) Read(p []byte) (int, error) {
	switch {
	case len(g.ready) > 0:
		return g.hand(p), nil
	case g.fault != nil || len(p) == 0:
		return g.refuse(p)
	}
	midway := g.midway()
	if !midway {
		g.letGo() // the request before has been answered
	}
	if len(g.rest) > 0 {
		used := g.take(p[:copy(p, g.rest)])
		if g.rest = g.rest[used:]; len(g.rest) == 0 {
			g.rest = nil
		}
		return g.handOn(p, used, nil)
	}
	if midway || len(p) > 1 || g.pool == nil {
		n, err := g.readOn(p, midway)
		return g.follow(p, n, err)
	}
	b, n, err := g.await() // the server asks for one byte, to have no buffer while it waits
	used, err := g.follow(b, n, err)
	if g.ready = b[:used]; used > 0 {
		return g.hand(p), nil
	}
	g.release()
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil {
		g.fault, g.spoken = badFraming("this port speaks HTTPS"), plain.Conn
		return g.refuse(p)
	}
	return 0, err
}

// follow takes n bytes that were read into p.
func (g *gate) follow(p []byte, n int, err error) (int, error) {
	used := g.take(p[:n])
	if used < n {
		g.rest, err = bytes.Clone(p[used:n]), nil // an error comes again behind the rest
	}
	return g.handOn(p, used, err)
}

// hand gives the server more of what was read before it asked.
func (g *gate) hand(p []byte) int {
	n := copy(p, g.ready)
	if g.ready = g.ready[n:]; len(g.ready) == 0 {
		g.ready = nil
		g.release()
	}
	return n
}

// midway tells that a part of a request was read.
func (g *gate) midway() bool { return g.stage != stageHead || len(g.text) > 0 }

func (g *gate) handOn(p []byte, used int, err error) (int, error) {
	if g.fault != nil && used == 0 {
		return g.refuse(p)
	}
	midway := g.midway()
	if used > 0 && !midway {
		g.sentAll()
	}
	g.passed = used > 0 && midway || g.passed && used == 0
	if g.passed && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return used, err
}

// refuse ends the reading. A server that has seen nothing of a request but empty lines closes without an answer, so it gets
// one byte first, which completes no head.
func (g *gate) refuse(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if g.stage == stageHead && !g.told {
		g.told = true
		p[0] = 'G'
		return 1, nil
	}
	return 0, errRefused
}

// take follows the bytes of a request and returns how many of them may be handed on: up to the end of the request, or up to
// the line with a flaw, which it notes.
func (g *gate) take(b []byte) (used int) {
	for used < len(b) {
		switch g.stage {
		case stageHead:
			n := g.takeHead(b)
			if g.fault != nil {
				return 0
			}
			used = n
		case stageBody, stageChunkData:
			n := min(g.left, int64(len(b)-used))
			g.left -= n
			used += int(n)
			switch {
			case g.left > 0:
			case g.stage == stageBody:
				g.stage = stageHead
			default:
				g.stage = stageChunkEnd
			}
		default:
			line, n, whole := g.takeLine(b[used:])
			if whole {
				g.fault = g.bodyLine(line)
				g.text = g.text[:0]
			}
			if g.fault != nil {
				return used
			}
			used += n
		}
		if g.stage == stageHead && len(g.text) == 0 {
			return used
		}
	}
	return used
}

// takeLine finds a line of a chunked body, without its line break.
func (g *gate) takeLine(b []byte) (line []byte, n int, whole bool) {
	end := bytes.IndexByte(b, '\n')
	if whole = end >= 0; whole {
		n = end + 1
	} else {
		n = len(b)
	}
	line = b[:n]
	if len(g.text) > 0 || !whole {
		g.text = append(g.text, b[:min(n, maxChunkLine+3)]...)
		line = g.text
	}
	if len(line) > maxChunkLine+2 {
		g.fault = badFraming("a line of a chunked body is too long")
		return nil, 0, false
	}
	return line, n, whole
}

// bodyLine takes a line between the chunks of a body, and returns what is wrong with it.
func (g *gate) bodyLine(line []byte) *Fault {
	line, ok := cutBreak(line)
	switch {
	case !ok:
		return badFraming("a line of a chunked body does not end in CRLF")
	case g.stage == stageTrailer && len(line) > 0:
		return badFraming("trailers are not accepted")
	case g.stage == stageTrailer:
		g.stage = stageHead
		return nil
	case g.stage == stageChunkEnd && len(line) > 0:
		return badFraming("a chunk is longer than its size")
	case g.stage == stageChunkEnd:
		g.stage = stageChunkSize
		return nil
	}
	size, ok := chunkSize(line)
	if !ok {
		return badFraming("a chunk's size or extension is not valid")
	}
	if g.body += size; g.body > g.maxBody {
		return bodyTooLarge(g.maxBody)
	}
	if fault := g.hold(g.body); fault != nil {
		return fault
	}
	if g.waste = max(0, g.waste+int64(len(line))-16-2*size); g.waste > maxChunkWaste {
		return badFraming("a chunked body has too little data for its chunks")
	}
	if g.left, g.stage = size, stageChunkData; size == 0 {
		g.stage = stageTrailer
	}
	return nil
}

// chunkSize reads up to eight hex digits and extensions of printable characters.
func chunkSize(line []byte) (size int64, ok bool) {
	digits, extension, extended := bytes.Cut(line, []byte{';'})
	if len(digits) == 0 || len(digits) > 8 || extended && len(extension) == 0 {
		return 0, false
	}
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		size = size<<4 | int64(c)
	}
	for _, c := range extension {
		if c < ' ' || c > '~' {
			return 0, false
		}
	}
	return size, true
}

// cutBreak cuts the CRLF off a line; false if it ends otherwise.
func cutBreak(line []byte) ([]byte, bool) {
	n := len(line) - 2
	if n < 0 || line[n] != '\r' {
		return line, false
	}
	return line[:n], true
}

// badFraming is a fault of the request's bytes.
func badFraming(message string) *Fault { return badRequest("invalid_http", "", message) }

// bodyTooLarge names the limit that a body exceeds, in bytes.
func bodyTooLarge(limit int64) *Fault {
	text := strconv.FormatInt(limit, 10) + " bytes"
	if limit >= 1<<20 && limit%(1<<20) == 0 {
		text = fmt.Sprintf("%d MiB (%s)", limit>>20, text)
	}
	return &Fault{
		Status: fasthttp.StatusRequestEntityTooLarge, Type: typeRequest, Code: "request_too_large",
		Message: "the request's body exceeds the limit of this gateway, " + text,
	}
}
