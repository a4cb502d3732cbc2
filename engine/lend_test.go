package engine

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/kept"
)

// listening is a gateway's server with a handler, which serves until the test ends.
func listening(t testing.TB, handler fasthttp.RequestHandler, maxBody int) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go NewServer(handler, maxBody).Serve(ln) //nolint:errcheck // it ends with the listener
	t.Cleanup(func() { ln.Close() })
	return ln.Addr()
}

// connected is a connection to it.
func connected(t testing.TB, addr net.Addr) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// digesting is a server whose answers are the digests of the bodies, half of them as streams that are made when the handler has returned.
func digesting(t testing.TB) net.Addr {
	t.Helper()
	return listening(t, func(ctx *fasthttp.RequestCtx) {
		body := ctx.PostBody()
		if len(body)%2 == 0 {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { fmt.Fprintf(w, "%x", sha256.Sum256(body)) })
			return
		}
		fmt.Fprintf(ctx, "%x", sha256.Sum256(body))
	}, 4<<20)
}

// pattern appends size bytes that differ from one size to the next.
func pattern(room []byte, size int) []byte {
	for i := range size {
		room = append(room, byte(i*size>>8))
	}
	return room
}

// answering is a server whose answers are as long as the paths say.
func answering(t testing.TB) net.Addr {
	t.Helper()
	return listening(t, func(ctx *fasthttp.RequestCtx) {
		size, err := strconv.Atoi(string(ctx.Path()[1:]))
		if err != nil {
			ctx.Error(err.Error(), fasthttp.StatusBadRequest)
			return
		}
		setBody(ctx, size, func(room []byte) []byte { return pattern(room, size) })
	}, 4<<20)
}

// ask wants the answer of a size, into memory that has room for it.
func ask(c net.Conn, r *bufio.Reader, room []byte, size int) error {
	if _, err := fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", size); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.ContentLength != int64(size) {
		return fmt.Errorf("%d bytes, not %d", resp.ContentLength, size)
	}
	if _, err := io.ReadFull(resp.Body, room[:size]); err != nil {
		return err
	}
	for i, b := range room[:size] {
		if b != byte(i*size>>8) {
			return fmt.Errorf("byte %d of %d is %d", i, size, b)
		}
	}
	return nil
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
	c, r := connected(t, addr)
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
	if per := allocated(send); per > 350_000 && !raceEnabled() {
		t.Errorf("%d bytes are allocated for 40 requests with one of %d", per, len(large))
	}
	if !bytes.Equal(large, make([]byte, len(large))) {
		t.Error("the body that was sent has changed")
	}
}

// allocated is how many bytes a round of exchanges takes, long after the first ones: fasthttp looks at the sizes of bodies after 42,000.
func allocated(send func(rounds int)) uint64 {
	const rounds = 20
	var before, after runtime.MemStats
	send(1200)
	runtime.ReadMemStats(&before)
	send(rounds)
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / rounds
}

// TestLentAnswers: whatever sizes come one after the other on however many connections, each request has its own answer.
func TestLentAnswers(t *testing.T) {
	addr := answering(t)
	sizes := []int{0, 1, 2000, kept.Usual, kept.Usual + 1, 50_000, 100_001, kept.Most, kept.Most + 1}
	var all sync.WaitGroup
	for seed := range uint64(16) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			c, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			r, room := bufio.NewReader(c), make([]byte, kept.Most+1)
			for range 40 {
				if err := ask(c, r, room, sizes[random.IntN(len(sizes))]); err != nil {
					t.Error(err)
					return
				}
			}
			fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", kept.Most) // and leaves
		})
	}
	all.Wait()
}

// TestLargeAnswersAreMadeInKeptMemory: also where one answer in forty is large.
func TestLargeAnswersAreMadeInKeptMemory(t *testing.T) {
	addr := answering(t)
	c, r := connected(t, addr)
	const small, large = 2000, 500_000
	room := make([]byte, large)
	per := allocated(func(rounds int) {
		for range rounds {
			for n := range 40 {
				size := small
				if n == 0 {
					size = large
				}
				if err := ask(c, r, room, size); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	if per > 300_000 && !raceEnabled() {
		t.Errorf("%d bytes are allocated for 40 answers with one of %d", per, large)
	}
}

// The memory of a body in whose place another was put is nobody else's: neither has a small body that comes meanwhile that of a large one after it.
func TestReplacedBodyLeavesNoMemoryBehind(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a pool gives what was put into it last
	there, goOn := make(chan struct{}), map[string]chan struct{}{"/replace": make(chan struct{}), "/hold": make(chan struct{})}
	addr := listening(t, func(ctx *fasthttp.RequestCtx) {
		path := string(ctx.Path())
		if path == "/replace" {
			replaceBody(ctx, []byte("plain"))
		}
		before := bytes.Clone(ctx.PostBody())
		if goOn[path] != nil {
			there <- struct{}{}
			<-goOn[path]
		}
		if !bytes.Equal(before, ctx.PostBody()) {
			ctx.Error("it has changed", fasthttp.StatusInternalServerError)
			return
		}
		ctx.SetBody(before)
	}, 4<<20)
	send := func(path string, body, want []byte) <-chan error {
		answered := make(chan error, 1)
		c, r := connected(t, addr)
		go func() {
			defer close(answered)
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body) //nolint:errcheck // the answer tells
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				answered <- err
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
				answered <- fmt.Errorf("%s: %d %.40q, %w", path, resp.StatusCode, got, err)
			}
		}()
		return answered
	}
	small, large := bytes.Repeat([]byte("s"), 1000), bytes.Repeat([]byte("l"), 20_000)
	for range 20 {
		replaced := send("/replace", bytes.Repeat([]byte("r"), 20_000), []byte("plain"))
		<-there
		held := send("/hold", small, small)
		<-there
		goOn["/replace"] <- struct{}{}
		err := errors.Join(<-replaced, <-send("/", large, large))
		goOn["/hold"] <- struct{}{}
		if err := errors.Join(err, <-held); err != nil {
			t.Fatal(err)
		}
	}
}
