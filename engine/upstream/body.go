package upstream

import (
	"bufio"
	"io"
	"sync"

	"github.com/valyala/fasthttp"
)

const (
	firstPiece = 64 << 10 // most answers fit into it
	nextPiece  = 1 << 20
)

var firstPieces = sync.Pool{New: func() any { return new([firstPiece]byte) }}

// readBuffered reads an answer whose body is at most limit bytes. A body whose length is not told is gathered in pieces and joined at
// its end, which takes twice its size at most: of a buffer that grows with it the former selves would be left to the collector.
func readBuffered(resp *fasthttp.Response, r *bufio.Reader, limit int) error {
	resp.SkipBody = true // the head first
	err := resp.ReadLimitBody(r, limit)
	resp.SkipBody = false
	switch status := resp.StatusCode(); {
	case err != nil:
		return err
	case status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified || status < 200:
		return nil
	case resp.Header.ContentLength() >= 0:
		return resp.ReadBody(r, limit)
	}
	resp.StreamBody = true
	if err := resp.ReadBody(r, limit); err != nil {
		return err
	}
	return gather(resp, limit)
}

// gather puts what the response's stream gives in its place.
func gather(resp *fasthttp.Response, limit int) error {
	first := firstPieces.Get().(*[firstPiece]byte)
	defer firstPieces.Put(first)
	piece, full, total := first[:], [][]byte(nil), 0
	for {
		n, err := fill(resp.BodyStream(), piece)
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

// fill reads until the buffer is full or the reader ends.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}
