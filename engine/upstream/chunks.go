package upstream

import "errors"

// errChunk means that a chunked body is not one.
var errChunk = errors.New("a chunk of the answer is malformed")

const (
	maxChunk   = 1 << 40  // bytes of one chunk
	maxDigits  = 16       // of its size, zeros in front included
	maxFraming = 16 << 10 // bytes of one chunk's head, or of all trailers
)

// chunks takes the framing of RFC 9112, section 7.1, out of a body. Extensions and trailers are dropped. It can be stopped at any byte.
type chunks struct {
	state chunkState
	left  int // bytes of the chunk's data
	count int // bytes of its head, or of the trailers
}

type chunkState uint8

const (
	chunkSize   chunkState = iota // the first digit
	chunkDigits                   // more of them
	chunkSpace                    // behind them
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerBegin // of a line, or the last CR
	trailerLine
	trailerLF
	chunksLastLF
	chunksOver
)

// decode moves the data among raw to its front and says how much it is, and how many bytes at raw's end come after the body.
func (d *chunks) decode(raw []byte) (n, rest int, err error) {
	for i := 0; i < len(raw); i++ {
		if d.state == chunkData {
			k := min(d.left, len(raw)-i)
			n += copy(raw[n:], raw[i:i+k])
			if d.left -= k; d.left == 0 {
				d.state = chunkDataCR
			}
			i += k - 1
			continue
		}
		if d.state == chunksOver {
			return n, len(raw) - i, nil
		}
		if !d.step(raw[i]) {
			return n, 0, errChunk
		}
	}
	return n, 0, nil
}

// step takes one byte of the framing; false if it must not be there.
func (d *chunks) step(b byte) bool {
	if d.count++; d.count > maxFraming {
		return false
	}
	switch d.state {
	case chunkSize, chunkDigits:
		if v, ok := hexValue(b); ok {
			d.state, d.left = chunkDigits, d.left<<4|v
			return d.left <= maxChunk && d.count <= maxDigits
		}
		if d.state == chunkSize {
			return false
		}
		return d.behindSize(b)
	case chunkSpace:
		return b != ';' && d.behindSize(b)
	case chunkExtension:
		if b == '\r' {
			d.state = chunkSizeLF
		}
		return b != '\n'
	case chunkSizeLF:
		d.state, d.count = chunkData, 0
		if d.left == 0 {
			d.state = trailerBegin
		}
		return b == '\n'
	case chunkDataCR:
		d.state = chunkDataLF
		return b == '\r'
	case chunkDataLF:
		*d = chunks{}
		return b == '\n'
	case trailerBegin:
		d.state = trailerLine
		if b == '\r' {
			d.state = chunksLastLF
		}
		return b != '\n'
	case trailerLine:
		if b == '\r' {
			d.state = trailerLF
		}
		return b != '\n'
	case trailerLF:
		d.state = trailerBegin
		return b == '\n'
	default: // chunksLastLF
		d.state = chunksOver
		return b == '\n'
	}
}

// behindSize takes a byte behind the digits of a size.
func (d *chunks) behindSize(b byte) bool {
	switch b {
	case ' ', '\t':
		d.state = chunkSpace
	case ';':
		d.state = chunkExtension
	case '\r':
		d.state = chunkSizeLF
	default:
		return false
	}
	return true
}

func hexValue(b byte) (int, bool) {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0'), true
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10, true
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10, true
	}
	return 0, false
}
