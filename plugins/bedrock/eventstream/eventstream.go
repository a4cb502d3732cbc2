// Package eventstream reads and writes the binary framing of AWS's streamed answers (application/vnd.amazon.eventstream).
//
// A message is: total length and length of the headers (4 bytes each, big endian), a checksum of these, the headers, the
// payload, and a checksum of everything before. A header is the length of its name (1 byte), the name, the type of its value (1
// byte; 7 is text), and for text its length (2 bytes) and bytes. Checksums are CRC-32 as in gzip.
package eventstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	preludeBytes = 12
	trailerBytes = 4
	maxMessage   = 24 << 20 // bytes; AWS's own limit for a payload is 24 MB
	maxHeaders   = 128 << 10
	typeText     = 7
)

// ErrFraming means that the stream is not what it should be; the message says how.
var ErrFraming = errors.New("malformed event stream")

// Message is one event. Headers that are not text are left out.
type Message struct {
	Headers map[string]string
	Payload []byte // valid until the next Read
}

// Reader reads the messages of a stream. It is not safe for concurrent use.
type Reader struct {
	in  io.Reader
	buf []byte
}

// NewReader returns a reader.
func NewReader(in io.Reader) *Reader { return &Reader{in: in} }

// Read returns the next message. The error is io.EOF at the end of the stream, matches ErrFraming, or is that of the stream
// (io.ErrUnexpectedEOF inside a message).
func (r *Reader) Read() (Message, error) {
	var prelude [preludeBytes]byte
	if _, err := io.ReadFull(r.in, prelude[:]); err != nil {
		return Message{}, err
	}
	total, headers := binary.BigEndian.Uint32(prelude[:]), binary.BigEndian.Uint32(prelude[4:])
	switch {
	case crc32.ChecksumIEEE(prelude[:8]) != binary.BigEndian.Uint32(prelude[8:]):
		return Message{}, fmt.Errorf("%w: the checksum of the prelude is wrong", ErrFraming)
	case total > maxMessage || headers > maxHeaders || total < preludeBytes+trailerBytes || headers > total-preludeBytes-trailerBytes:
		return Message{}, fmt.Errorf("%w: a message of %d bytes with %d of headers", ErrFraming, total, headers)
	}
	if rest := int(total) - preludeBytes; cap(r.buf) < rest {
		r.buf = make([]byte, rest)
	} else {
		r.buf = r.buf[:rest]
	}
	if _, err := io.ReadFull(r.in, r.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Message{}, err
	}
	body, sum := r.buf[:len(r.buf)-trailerBytes], binary.BigEndian.Uint32(r.buf[len(r.buf)-trailerBytes:])
	if crc32.Update(crc32.ChecksumIEEE(prelude[:]), crc32.IEEETable, body) != sum {
		return Message{}, fmt.Errorf("%w: the checksum of a message is wrong", ErrFraming)
	}
	m := Message{Payload: body[headers:]}
	var err error
	m.Headers, err = readHeaders(body[:headers])
	return m, err
}

func readHeaders(b []byte) (map[string]string, error) {
	out := map[string]string{}
	short := fmt.Errorf("%w: a header is cut short", ErrFraming)
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < n+2 {
			return nil, short
		}
		name, kind := string(b[1:1+n]), b[1+n]
		b = b[n+2:]
		size := 0
		switch kind {
		case 0, 1: // true, false
		case 2:
			size = 1
		case 3:
			size = 2
		case 4:
			size = 4
		case 5, 8:
			size = 8
		case 9:
			size = 16
		case 6, typeText: // bytes, text
			if len(b) < 2 {
				return nil, short
			}
			size = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		default:
			return nil, fmt.Errorf("%w: a header of type %d", ErrFraming, kind)
		}
		if len(b) < size {
			return nil, short
		}
		if kind == typeText {
			out[name] = string(b[:size])
		}
		b = b[size:]
	}
	return out, nil
}

// Append appends a message to dst: what a stand-in for the service sends. Headers come in the order given, name and value in
// turn.
func Append(dst, payload []byte, headers ...string) []byte {
	var h []byte
	for i := 0; i+1 < len(headers); i += 2 {
		h = append(h, byte(len(headers[i])))
		h = append(h, headers[i]...)
		h = append(h, typeText)
		h = binary.BigEndian.AppendUint16(h, uint16(len(headers[i+1])))
		h = append(h, headers[i+1]...)
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(preludeBytes+len(h)+len(payload)+trailerBytes))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(h)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	dst = append(append(dst, h...), payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}
