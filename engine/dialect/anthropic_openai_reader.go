package dialect

import (
	"fmt"
	"io"

	"github.com/pointsman/pointsman/engine/sse"
)

// AnthropicStream reads a stream of the Messages API as if the provider spoke OpenAI's dialect: it is the framed stream
// of chat completion chunks, ended by a usage chunk and [DONE]. A source that ends without message_stop yields neither,
// as with a provider that breaks off. It is not safe for concurrent use.
type AnthropicStream struct {
	events    *sse.Reader
	translate *StreamAnthropicToOpenAI
	id, model string
	created   int64
	out       []byte // translated, not read yet from off on
	off       int
	err       error
}

// NewAnthropicStream returns a translating reader of src, see [StreamAnthropicToOpenAI].
func NewAnthropicStream(src io.Reader, model, id string, created int64) *AnthropicStream {
	return &AnthropicStream{
		events:    sse.NewReader(src, 0),
		translate: NewStreamAnthropicToOpenAI(model, id, created),
		id:        id, model: model, created: created,
	}
}

// Usage returns what the stream has reported so far, also if it broke off.
func (s *AnthropicStream) Usage() Usage { return s.translate.Usage() }

// Read implements io.Reader. It returns as soon as there is something to return. Errors of the source pass through; an
// event that is not one of the Messages API is an [ErrNotMessage].
func (s *AnthropicStream) Read(p []byte) (int, error) {
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
func (s *AnthropicStream) next() {
	ev, err := s.events.Next()
	if err != nil {
		s.err = err
		return
	}
	if ev.Data == nil {
		s.out = append(s.out, ev.Raw...) // a keep-alive is one in either dialect
		return
	}
	var info Chunk
	s.out, info = s.translate.Event(s.out, ev.Data)
	switch {
	case info.Malformed && ev.Unterminated:
		s.err = io.EOF // cut in the middle of an event
	case info.Malformed:
		s.err = fmt.Errorf("translating an event: %w", ErrNotMessage)
	case info.Done:
		chunk := append(appendChunkHead(nil, s.id, s.model, s.created), `"choices":[],"usage":`...)
		chunk = append(appendCounts(chunk, s.Usage()), `}}`...)
		s.out = sse.AppendEvent(s.out, "", chunk)
		s.out = sse.AppendEvent(s.out, "", []byte(sse.Done))
		s.err = io.EOF
	}
}
