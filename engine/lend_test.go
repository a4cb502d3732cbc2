package engine

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/kept"
)

// digesting is a server whose answers are the digests of the bodies, half of them as streams that are made when the handler has returned.
func digesting(t testing.TB) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(func(ctx *fasthttp.RequestCtx) {
		body := ctx.PostBody()
		if len(body)%2 == 0 {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { fmt.Fprintf(w, "%x", sha256.Sum256(body)) })
			return
		}
		fmt.Fprintf(ctx, "%x", sha256.Sum256(body))
	}, 4<<20)
	go server.Serve(ln) //nolint:errcheck // it ends with the listener
	t.Cleanup(func() { ln.Close() })
	return ln.Addr()
}

// exchange sends a body and wants its digest.
func exchange(c net.Conn, r *bufio.Reader, body []byte) error {
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body)); err != nil {
		return err
	}
	if _, err := c.Write(body); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want {
		return fmt.Errorf("%d bytes: %q, %w", len(body), got, err)
	}
	return nil
}

// TestLentBodies: whatever sizes come one after the other on however many connections, each request has its own body.
func TestLentBodies(t *testing.T) {
	addr := digesting(t)
	sizes := []int{0, 1, 100, 2000, kept.Usual, kept.Usual + 1, 50_000, 100_000, 100_001, 300_000, kept.Most, kept.Most + 1, 2 << 20}
	var all sync.WaitGroup
	for seed := range uint64(16) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			noise := rand.NewChaCha8([32]byte{byte(seed)})
			for range 6 {
				c, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Error(err)
					return
				}
				r := bufio.NewReader(c)
				for range 10 {
					body := make([]byte, sizes[random.IntN(len(sizes))])
					noise.Read(body) //nolint:errcheck // it never fails
					if err := exchange(c, r, body); err != nil {
						t.Error(err)
					}
				}
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf") // and leaves
				c.Close()
			}
		})
	}
	all.Wait()
}

// TestLargeBodiesAreReadIntoKeptMemory: also where one request in forty is large, which is too few for fasthttp to keep its body.
func TestLargeBodiesAreReadIntoKeptMemory(t *testing.T) {
	addr := digesting(t)
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	small, large := make([]byte, 2001), make([]byte, 500_001)
	send := func(rounds int) {
		for range rounds {
			for range 39 {
				if err := exchange(c, r, small); err != nil {
					t.Fatal(err)
				}
			}
			if err := exchange(c, r, large); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1200) // fasthttp looks at the sizes after 42,000 bodies
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds = 20
	send(rounds)
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / rounds; per > 350_000 && !raceEnabled() {
		t.Errorf("%d bytes are allocated for 40 requests with one of %d", per, len(large))
	}
	if !bytes.Equal(large, make([]byte, len(large))) {
		t.Error("the body that was sent has changed")
	}
}
