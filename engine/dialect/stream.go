package dialect

import (
	"fmt"
	"io"

	"github.com/pointsman/pointsman/engine/sse"
)

// Stream reads a stream of one dialect as if it were one of another. A source that breaks off yields a stream that breaks
// off: what ends an answer in the other dialect is written only if the answer is complete. It is not safe for concurrent
// use.
type Stream struct {
	events      *sse.Reader
	translation translation
	source      *Stream // the one before, if the way leads through the middle
	out         []byte  // translated, not read yet from off on
	off         int
	err         error
}

// translation turns the events of one stream into those of another dialect. Deltas are forwarded as they come.
type translation interface {
	// event translates the payload of one event and appends the resulting events, framed. over tells that the answer is
	// complete, so that nothing that follows matters. An error that matches ErrMalformed means that the payload is no event
	// of the dialect.
	event(dst, data []byte) (out []byte, over bool, err error)
	// end is called when the source has ended without an event that says so. If the answer is complete all the same, it
	// appends what ends it.
	end(dst []byte) []byte
	// usage returns what the source has reported so far.
	usage() Usage
}

func newStream(src io.Reader, t translation) *Stream {
	return &Stream{events: sse.NewReader(src, 0), translation: t}
}

// Usage returns what the source has reported so far, also if it broke off.
func (s *Stream) Usage() Usage {
	if s.source != nil {
		return s.source.Usage()
	}
	return s.translation.usage()
}

// Read implements io.Reader. It returns as soon as there is something to return. Errors of the source pass through; an
// event that is not one of its dialect is an [ErrMalformed].
func (s *Stream) Read(p []byte) (int, error) {
	if s.off == len(s.out) {
		s.out, s.off = s.out[:0], 0
		for len(s.out) == 0 || s.err == nil && s.events.Buffered() && len(s.out) < len(p) {
			if s.err != nil {
				return 0, s.err
			}
			s.next()
		}
	}
	n := copy(p, s.out[s.off:])
	s.off += n
	return n, nil
}

// next translates one event.
func (s *Stream) next() {
	ev, err := s.events.Next()
	switch {
	case err == io.EOF:
		s.out, s.err = s.translation.end(s.out), err
		return
	case err != nil:
		s.err = err
		return
	case ev.Data == nil:
		if !ev.Unterminated { // a keep-alive is one in either dialect; one that is cut would run into what follows
			s.out = append(s.out, ev.Raw...)
		}
		return
	}
	var over bool
	s.out, over, err = s.translation.event(s.out, ev.Data)
	switch {
	case err != nil && ev.Unterminated:
		s.out, s.err = s.translation.end(s.out), io.EOF // cut in the middle of an event, perhaps behind all that matters
	case err != nil:
		s.err = fmt.Errorf("translating an event: %w", err)
	case over:
		s.err = io.EOF
	}
}
