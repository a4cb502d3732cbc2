// Package sse reads and writes server-sent events, the framing of every streamed answer.
//
// It is on the hot path: a [Reader] allocates nothing once its buffer has grown to the size of the largest event, and
// hands out views into that buffer. It follows the parsing rules of the HTML standard (lines end in LF, CR or CRLF; one
// leading byte order mark is skipped; lines that begin with a colon are comments; several data lines are joined with a
// newline) with one exception, see [Event.Unterminated]. The fields id and retry are not interpreted.
package sse

import (
	"bytes"
	"errors"
	"io"
)

// DefaultMaxEvent is the size limit of one event if [NewReader] is given none.
const DefaultMaxEvent = 16 << 20 // an image in one event, as some providers send it, has a few MiB

// ErrEventTooLarge means that one event, counted from its first byte to its blank line, exceeds the reader's limit.
var ErrEventTooLarge = errors.New("event exceeds the size limit")

const (
	initialBuffer = 1 << 10 // a stream is mostly slow: a few events at once
	usualBuffer   = 8 << 10 // once as much came at once as there was room for
	maxEmptyReads = 100
)

// Event is one block of the stream, up to and including its blank line. All slices are views that are valid until the
// next call of [Reader.Next].
type Event struct {
	// Name is the value of the last event field, empty if there was none.
	Name []byte
	// Data is the payload. It is nil for a block without a data field: a keep-alive comment, a lone blank line. Such
	// blocks are delivered so that they can be passed on; they carry nothing.
	Data []byte
	// Raw is the block byte for byte. The Raws of a stream, concatenated, are the stream less its byte order mark.
	Raw []byte
	// Unterminated is set on the last event if the stream ended before its blank line. The standard drops such an
	// event; providers do end streams that way, so it is delivered. It may be cut anywhere.
	Unterminated bool
}

// Reader splits a stream into events. It is not safe for concurrent use.
type Reader struct {
	src io.Reader
	buf []byte
	max int
	err error // sticky; io.EOF after the last event

	crowded bool // the last read gave about as much as there was room for

	pos   int // first byte of the current block
	end   int // end of the bytes read
	line  int // first byte of the current line
	seen  int // no line end in buf[line:seen]
	begun bool
	wasCR bool // the previous block ended in CR: a LF that follows belongs to it

	hasData bool
	multi   bool   // the data is in joined, not in buf
	data    span   // relative to pos, as the buffer may move
	name    span   // relative to pos
	joined  []byte // data of several lines
}

type span struct{ start, end int }

// NewReader returns a reader of src. An event larger than maxEvent bytes is an error; 0 means [DefaultMaxEvent].
func NewReader(src io.Reader, maxEvent int) *Reader {
	if maxEvent <= 0 {
		maxEvent = DefaultMaxEvent
	}
	return &Reader{src: src, max: maxEvent}
}

// Next returns the next event. It returns [io.EOF] at the clean end of the source, [ErrEventTooLarge], or the error of
// the source as it is; a block cut short by such an error is not delivered. Errors are permanent.
func (r *Reader) Next() (Event, error) {
	r.hasData, r.multi, r.data, r.name = false, false, span{}, span{}
	r.line, r.seen = r.pos, r.pos
	for {
		blank, ok := r.nextLine()
		if ok {
			if blank && r.line-r.pos <= r.max {
				return r.take(false), nil
			}
			if !blank {
				continue
			}
		}
		if r.end-r.pos > r.max {
			r.err = ErrEventTooLarge
			r.pos, r.line, r.seen, r.end = 0, 0, 0, 0
		}
		if r.err != nil {
			return r.last()
		}
		r.fill()
	}
}

// Buffered reports whether a further complete block is in the buffer already, so that Next will not read.
func (r *Reader) Buffered() bool {
	b := r.buf[r.pos:r.end]
	if r.wasCR && len(b) > 0 && b[0] == '\n' {
		b = b[1:]
	}
	for {
		i := bytes.IndexByte(b, '\n')
		line := b
		if i >= 0 {
			line = b[:i]
		}
		// A bare CR ends a line as well; streams that use it are rare enough to look only when one is there.
		if j := bytes.IndexByte(line, '\r'); j >= 0 && (j+1 < i || i < 0) {
			i, line = j, b[:j]
		}
		if i < 0 {
			return false
		}
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return true
		}
		b = b[i+1:]
	}
}

// nextLine consumes one complete line of the current block from the buffer; ok is false if there is none.
func (r *Reader) nextLine() (blank, ok bool) {
	if r.wasCR && r.line == r.pos && r.line < r.end {
		r.wasCR = false
		if r.buf[r.line] == '\n' {
			r.line++
			r.seen = r.line
		}
	}
	if !r.begun {
		if !r.skipMark() {
			return false, false
		}
	}
	rest := r.buf[r.seen:r.end]
	i := bytes.IndexByte(rest, '\n')
	if i >= 0 {
		rest = rest[:i]
	}
	if j := bytes.IndexByte(rest, '\r'); j >= 0 {
		i = j
	}
	if i < 0 {
		r.seen = r.end
		return false, false
	}
	stop := r.seen + i
	next := stop + 1
	if r.buf[stop] == '\r' {
		if next < r.end {
			if r.buf[next] == '\n' {
				next++
			}
		} else if stop == r.line {
			r.wasCR = true // the block is complete: deliver it now and swallow the LF later
		} else if r.err == nil {
			r.seen = stop
			return false, false // inside a block one more byte is due anyway
		}
	}
	blank = stop == r.line
	if !blank {
		r.field(r.line, stop)
	}
	r.line, r.seen = next, next
	return blank, true
}

// skipMark steps over the byte order mark; false means that more bytes are needed to tell.
func (r *Reader) skipMark() bool {
	const mark = "\ufeff"
	b := r.buf[r.pos:r.end]
	if len(b) < len(mark) && r.err == nil && string(b) == mark[:len(b)] {
		return false
	}
	if bytes.HasPrefix(b, []byte(mark)) {
		r.pos += len(mark)
		r.line, r.seen = r.pos, r.pos
	}
	r.begun = true
	return true
}

// field interprets the line buf[start:stop], which is not empty.
func (r *Reader) field(start, stop int) {
	line := r.buf[start:stop]
	colon := bytes.IndexByte(line, ':')
	key, value := line, span{stop - r.pos, stop - r.pos}
	if colon >= 0 {
		key = line[:colon]
		from := start + colon + 1
		if from < stop && r.buf[from] == ' ' {
			from++
		}
		value.start = from - r.pos
	}
	switch string(key) {
	case "data":
		if !r.hasData {
			r.hasData, r.data = true, value
			return
		}
		if !r.multi {
			r.multi = true
			r.joined = append(r.joined[:0], r.at(r.data)...)
		}
		r.joined = append(r.joined, '\n')
		r.joined = append(r.joined, r.at(value)...)
	case "event":
		r.name = value
	}
}

func (r *Reader) at(s span) []byte { return r.buf[r.pos+s.start : r.pos+s.end : r.pos+s.end] }

// take cuts the current block, which ends at r.line, out of the buffer.
func (r *Reader) take(unterminated bool) Event {
	ev := Event{Name: r.at(r.name), Raw: r.buf[r.pos:r.line:r.line], Unterminated: unterminated}
	if r.multi {
		ev.Data = r.joined
	} else if r.hasData {
		ev.Data = r.at(r.data)
	}
	r.pos = r.line
	return ev
}

// last delivers what is left when the source has ended, then the error.
func (r *Reader) last() (Event, error) {
	if r.err != io.EOF || r.pos == r.end {
		return Event{}, r.err
	}
	if r.line < r.end {
		r.field(r.line, r.end)
		r.line = r.end
	}
	return r.take(true), nil
}

// fill reads once from the source, into half of the buffer at least. It sets r.err at the end.
func (r *Reader) fill() {
	if 2*r.end >= len(r.buf) || r.end == r.pos {
		r.makeRoom()
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.crowded = 4*r.end >= 3*len(r.buf) && 2*n >= len(r.buf) // what a source leaves out needs room in it, too
		if err != nil {
			r.err = err
			return
		}
		if n > 0 {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// makeRoom moves the current block to the front of the buffer, and into a larger one if it fills more than half, or more comes at once.
func (r *Reader) makeRoom() {
	size := r.end - r.pos
	to := r.buf
	switch {
	case len(r.buf) == 0:
		to = make([]byte, initialBuffer)
	case 2*size >= len(r.buf), r.crowded && len(r.buf) < usualBuffer:
		to = make([]byte, max(usualBuffer, 2*len(r.buf)))
	}
	copy(to, r.buf[r.pos:r.end])
	r.buf = to
	r.line, r.seen, r.end, r.pos = r.line-r.pos, r.seen-r.pos, size, 0
}
