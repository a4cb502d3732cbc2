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

	"github.com/pointsman/pointsman/engine/kept"
)

// TestGatheredBodies: a body comes out as it went in, however its end is told and whatever its size is beside those of memory and pieces, up to the limit.
func TestGatheredBodies(t *testing.T) {
	const limit = 3 << 20
	for _, how := range []string{"chunked", "to the end", "with its length"} {
		for _, size := range []int{0, 1, kept.Usual, kept.Usual + 1, firstPiece - 1, firstPiece, firstPiece + 1, firstPiece + nextPiece, firstPiece + nextPiece + 1, limit, limit + 1} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i % 251)
			}
			url := serve(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := readRequest(r, 2); err != nil {
					return
				}
				switch how {
				case "to the end": // of the connection
					c.Write(append([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), body...))
					return
				case "with its length":
					c.Write(append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size), body...))
					readRequest(r, 2) // until the client goes
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
					t.Errorf("%s, %d bytes: %v", how, size, err)
				}
			} else if err != nil || !bytes.Equal(x.Response.Body(), body) {
				t.Errorf("%s, %d bytes: %d came, %v", how, size, len(x.Response.Body()), err)
			}
			x.Close(err == nil)
			if idle := len(g.idle) == 1; idle != (how != "to the end" && err == nil) {
				t.Errorf("%s, %d bytes: the connection is kept: %t", how, size, idle)
			}
		}
	}
}
