package badgerdb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// resultClock is a clock that a test turns.
type resultClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *resultClock) get() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *resultClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openResults(t *testing.T, dir string, clock *resultClock, room int64) *Results {
	t.Helper()
	r, err := OpenResults(Config{Dir: dir, Clock: clock.get, MinFreeMB: -1}, room)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func resultID(n int) storage.ResultID { return sha256.Sum256([]byte(fmt.Sprint(n))) }

// noise is a body that does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n)})
	random.Read(b)
	return b
}

func keepResult(t *testing.T, r *Results, n int, result storage.Result) {
	t.Helper()
	if err := r.Keep(resultID(n), result).Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestResultsBegin: there is no database before the first write, which creates it, or says why not and leaves it to the next one.
func TestResultsBegin(t *testing.T) {
	dir, clock := t.TempDir(), &resultClock{now: time.Unix(1_700_000_000, 0)}
	database := filepath.Join(dir, resultsDir)
	for range 2 {
		r := openResults(t, dir, clock, 1<<30)
		if _, err := r.Result(resultID(1)); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("what was never kept: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(database); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before anything was kept: %v", err)
		}
	}
	r := openResults(t, dir, clock, 1<<30)
	if err := os.WriteFile(database, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(resultID(1), storage.Result{State: storage.ResultBegun}).Wait(); err == nil {
		t.Error("a file is in the place of the directory, and nobody says so")
	}
	if err := os.Remove(database); err != nil {
		t.Fatal(err)
	}
	keepResult(t, r, 1, storage.Result{State: storage.ResultBegun})
	for range 2 {
		if got, err := r.Result(resultID(1)); err != nil || got.State != storage.ResultBegun {
			t.Errorf("%+v, %v", got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		r = openResults(t, dir, clock, 1<<30)
	}
}

// TestResults writes results of every kind and size and finds them again, also after a restart.
func TestResults(t *testing.T) {
	dir, clock := t.TempDir(), &resultClock{now: time.Unix(1_700_000_000, 0)}
	r := openResults(t, dir, clock, 1<<30)
	header := []byte("Content-Type: application/json\n")
	want := map[int]storage.Result{
		1: {State: storage.ResultBegun},
		2: {State: storage.ResultWhole, Status: 200, Header: header, Body: []byte(`{"a":1}`)},
		3: {State: storage.ResultCut, Status: 200, Header: header, Body: bytes.Repeat([]byte("data: x\n\n"), 50_000)},
		4: {State: storage.ResultGone, Status: 200},
		5: {State: storage.ResultWhole, Status: 200, Header: header, Body: noise(1)},
		6: {State: storage.ResultWhole, Status: 502, Header: header, Body: noise(pieceSize)},
		7: {State: storage.ResultWhole, Status: 200, Header: header, Body: noise(3*pieceSize + 1)},
		8: {State: storage.ResultWhole, Status: 200, Header: header, Body: noise(9 << 20)},
		9: {State: storage.ResultWhole, Status: 200, Header: header},
	}
	var written []*storage.Batch
	for n, result := range want {
		result.Request, result.Fingerprint = storage.RequestID{byte(n)}, sha256.Sum256([]byte{byte(n)})
		want[n] = result
		written = append(written, r.Keep(resultID(n), storage.Result{State: storage.ResultBegun}), r.Keep(resultID(n), result))
	}
	for _, w := range written {
		if err := w.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for n, result := range want {
			got, err := r.Result(resultID(n))
			if len(result.Body) == 0 {
				result.Body = nil
			}
			if len(got.Body) == 0 {
				got.Body = nil
			}
			if err != nil || !reflect.DeepEqual(got, result) {
				t.Errorf("%d: state %d, status %d, %d bytes, %v; want state %d, status %d, %d bytes", n, got.State, got.Status, len(got.Body), err, result.State, result.Status, len(result.Body))
			}
		}
		if _, err := r.Result(resultID(100)); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("an unknown one: %v", err)
		}
	}
	check()
	if err := r.Forget(resultID(2)).Wait(); err != nil {
		t.Fatal(err)
	}
	delete(want, 2)
	if _, err := r.Result(resultID(2)); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a forgotten one: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Result(resultID(1)); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
	if err := r.Keep(resultID(1), storage.Result{}).Wait(); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
	r = openResults(t, dir, clock, 1<<30)
	check()
}

// TestResultsExpire turns the clock over a day: a result is there until the end of it, wherever in a period it was written, and then
// its bytes go too.
func TestResultsExpire(t *testing.T) {
	clock := &resultClock{now: time.Unix(1_700_000_000, 0)}
	r := openResults(t, t.TempDir(), clock, 1<<30)
	for n := range 5 {
		keepResult(t, r, n, storage.Result{State: storage.ResultBegun})
		clock.add(2 * time.Hour)
		keepResult(t, r, n, storage.Result{State: storage.ResultWhole, Status: 200, Body: noise(1000)})
		clock.add(ResultsFor - 1)
		if got, err := r.Result(resultID(n)); err != nil || len(got.Body) != 1000 {
			t.Errorf("%d, at the end of its day: %d bytes, %v", n, len(got.Body), err)
		}
		clock.add(1)
		if _, err := r.Result(resultID(n)); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%d, after its day: %v", n, err)
		}
		keepResult(t, r, n, storage.Result{State: storage.ResultBegun})
		if got, err := r.Result(resultID(n)); err != nil || got.State != storage.ResultBegun {
			t.Errorf("%d, used anew: state %d, %v", n, got.State, err)
		}
		clock.add(5 * time.Hour)
	}
	clock.add(3 * ResultsFor)
	keepResult(t, r, 100, storage.Result{State: storage.ResultBegun}) // the writer tidies up behind it
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if len(r.chunks) != 0 || r.marks != markPeriodOf(clock.get().Add(-ResultsFor)) {
		t.Errorf("left: %+v, marks from %d", r.chunks, r.marks)
	}
}

// TestFormerMarkOutlivesTheNew: what is known of a request when its answer is written in several transactions is never nothing.
func TestFormerMarkOutlivesTheNew(t *testing.T) {
	clock := &resultClock{now: time.Unix(1_700_000_000, 0)}
	r := openResults(t, t.TempDir(), clock, 1<<30)
	keepResult(t, r, 1, storage.Result{State: storage.ResultBegun})
	former := markPeriodOf(clock.get())
	clock.add(13 * time.Hour)
	keepResult(t, r, 1, storage.Result{State: storage.ResultWhole, Status: 200, Body: noise(5 * pieceSize)})
	version := func(period uint32) (at uint64) {
		t.Helper()
		txn := r.db.Load().NewTransaction(false)
		defer txn.Discard()
		it := txn.NewKeyIterator(markKey(period, resultID(1)), badger.IteratorOptions{AllVersions: true})
		defer it.Close()
		if it.Rewind(); it.Valid() {
			at = it.Item().Version() // the newest
		}
		return at
	}
	if gone, there := version(former), version(markPeriodOf(clock.get())); gone == 0 || gone < there {
		t.Errorf("the former mark went with version %d, the new one came with %d", gone, there)
	}
}

// TestResultsBounded writes more than has room: the newest answers are there, of the oldest it is known that they were, and the books
// are right again after a restart.
func TestResultsBounded(t *testing.T) {
	const room, size, n = 1 << 20, 20_000, 200
	dir, clock := t.TempDir(), &resultClock{now: time.Unix(1_700_000_000, 0)}
	r := openResults(t, dir, clock, room)
	for i := range n {
		keepResult(t, r, i, storage.Result{State: storage.ResultWhole, Status: 200, Body: noise(size)})
	}
	r.Close()
	r = openResults(t, dir, clock, room)
	bytes := int64(0)
	for _, c := range r.chunks {
		bytes += c.bytes
	}
	kept, first := 0, -1
	for i := range n {
		got, err := r.Result(resultID(i))
		switch {
		case err != nil:
			t.Fatalf("%d: %v", i, err)
		case got.State == storage.ResultGone && first < 0:
		case got.State == storage.ResultWhole && len(got.Body) == size:
			kept++
			first = max(first, 0)
		default:
			t.Errorf("%d has state %d, after a newer one that is kept", i, got.State)
		}
	}
	if least := room * 3 / 4 / size; kept < least || int64(kept*size) > bytes || bytes > room+2*size {
		t.Errorf("%d answers are kept, of room for %d, with %d bytes of %d", kept, room/size, bytes, room)
	}
}

// TestResultsConcurrent writes and reads from many goroutines.
func TestResultsConcurrent(t *testing.T) {
	r := openResults(t, t.TempDir(), &resultClock{now: time.Unix(1_700_000_000, 0)}, 1<<20)
	var users sync.WaitGroup
	for u := range 8 {
		users.Go(func() {
			for i := range 50 {
				n := u*1000 + i
				if err := r.Keep(resultID(n), storage.Result{State: storage.ResultWhole, Status: n, Body: noise(1000)}).Wait(); err != nil {
					t.Error(err)
				}
				if got, err := r.Result(resultID(n)); err != nil || got.Status != n {
					t.Errorf("%d: status %d, %v", n, got.Status, err)
				}
			}
		})
	}
	users.Wait()
}
