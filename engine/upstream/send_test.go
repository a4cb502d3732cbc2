package upstream

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestSend: requests of all sizes arrive as they are, whatever fits into the buffer.
func TestSend(t *testing.T) {
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			sum := fmt.Sprintf("%d %d %x", len(req.Header.Get("X-Long")), len(body), sha256.Sum256(body))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(sum), sum)
		}
	})
	g := target(t, url)
	random := rand.NewChaCha8([32]byte{})
	for _, header := range []int{0, 2000, 3900, 4096, 9000} {
		for _, size := range []int{1, 100, 3800, 3900, 4000, 4096, 4097, 5000, 8000, 8192, 8193, 12_000, 100_000, 3 << 20} {
			body := make([]byte, size)
			random.Read(body)
			x := g.Begin("/chat/completions")
			x.Request.Set("X-Long", strings.Repeat("h", header))
			x.Request.SetBody([3][]byte{body[:size/7], body[size/7 : size*6/7], body[size*6/7:]})
			err := x.Do(false)
			if want := fmt.Sprintf("%d %d %x", header, size, sha256.Sum256(body)); err != nil || string(x.Response.Body()) != want {
				t.Errorf("header of %d, body of %d: %v, got %s", header, size, err, x.Response.Body())
			}
			x.Close(true)
		}
	}
}
