package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http/httputil"
	"slices"
	"testing"
)

// TestBodyWithoutLength: a body comes out as it went in, whatever its size is beside that of a piece, up to the limit.
func TestBodyWithoutLength(t *testing.T) {
	const limit = 3 << 20
	for _, chunked := range []bool{true, false} {
		for _, size := range []int{0, 1, firstPiece - 1, firstPiece, firstPiece + 1, firstPiece + nextPiece, firstPiece + nextPiece + 1, limit, limit + 1} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i % 251)
			}
			url := serve(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := readRequest(r, 2); err != nil {
					return
				}
				if !chunked { // its end is that of the connection
					c.Write(append([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), body...))
					return
				}
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				w := httputil.NewChunkedWriter(c)
				for piece := range slices.Chunk(body, 10_007) {
					w.Write(piece)
				}
				w.Close()
				fmt.Fprint(c, "\r\n")
			})
			g := target(t, url)
			g.cfg.MaxBody = limit
			x, err := post(g, false)
			if size > limit {
				if !errors.Is(err, ErrTooLarge) {
					t.Errorf("chunked %t, %d bytes: %v", chunked, size, err)
				}
			} else if err != nil || !bytes.Equal(x.Response.Body(), body) {
				t.Errorf("chunked %t, %d bytes: %d came, %v", chunked, size, len(x.Response.Body()), err)
			}
			x.Close(err == nil)
			if kept := len(g.idle) == 1; kept != (chunked && err == nil) {
				t.Errorf("chunked %t, %d bytes: the connection is kept: %t", chunked, size, kept)
			}
		}
	}
}
