package records

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// made is made-up traffic.
func made(t testing.TB, requests, perGeneration int) Source {
	t.Helper()
	host, err := policies.New(context.Background(), policies.Config{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() }) //nolint:errcheck // the test is over
	src, err := Generate(Generated{Seed: 7, Requests: requests, PerGeneration: perGeneration, Policies: builtin.Modules(), Params: map[string]string{"min_quality": "0.5"}}, host)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func write(t testing.TB, src Source) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Head{Gateway: "test"})
	if err == nil {
		err = Copy(w, src, nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// flat is all records of a source with the snapshots they are about.
type flat struct {
	records   []Record
	snapshots [][]byte // encoded, with generation 0
}

func read(t testing.TB, src Source) (f flat) {
	t.Helper()
	for {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			return f
		}
		if err != nil {
			t.Fatal(err)
		}
		s := record.CloneSnapshot(&b.Snapshot.Snapshot)
		for _, r := range b.Records {
			d, err := record.DecodeDecision(r.Decision)
			if err != nil || d.Request.Generation != s.Generation {
				t.Fatalf("a record about generation %d in the batch of %d, %v", d.Request.Generation, s.Generation, err)
			}
			d.Request.Generation = 0
			f.records = append(f.records, Record{r.Usage, record.AppendDecision(nil, d)})
			f.snapshots = append(f.snapshots, record.AppendGeneration(nil, nil, &s, b.Snapshot.Bytes[16:]))
		}
	}
}

// sorted is f in the order of the requests' ids.
func (f flat) sorted() flat {
	order := make([]int, len(f.records))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return bytes.Compare(f.records[a].Usage.Request[:], f.records[b].Usage.Request[:])
	})
	var s flat
	for _, i := range order {
		s.records, s.snapshots = append(s.records, f.records[i]), append(s.snapshots, f.snapshots[i])
	}
	return s
}

// TestFile: what is written to a file is read from it, with what it refers to.
func TestFile(t *testing.T) {
	data := write(t, made(t, 3000, 17))
	src, head, err := Open(bytes.NewReader(data))
	if err != nil || head.Gateway != "test" {
		t.Fatal(head, err)
	}
	want, got := read(t, made(t, 3000, 17)), read(t, src)
	if len(got.records) != 3000 || !reflect.DeepEqual(got, want) || src.Passed() != (Passed{}) {
		t.Errorf("%d records, %+v", len(got.records), src.Passed())
	}
	d, err := record.DecodeDecision(want.records[0].Decision)
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err := src.Module(d.Ran.Digest); err != nil || !bytes.Equal(wasm, builtin.Modules()[d.Policy]) {
		t.Errorf("module: %d bytes, %v", len(wasm), err)
	}
	if text, err := src.Config(d.Ran.Config); err != nil || text != "min_quality=0.5\n" {
		t.Errorf("configuration %q, %v", text, err)
	}
	if _, err := src.Module("no"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if n := len(data) / 3000; n > 300 {
		t.Errorf("%d bytes a record", n)
	}
}

// TestCutFile: a file that ends anywhere is never taken for a whole one.
func TestCutFile(t *testing.T) {
	data := write(t, made(t, 200, 10))
	for n := 0; n < len(data); n += 1 + len(data)/500 {
		src, _, err := Open(bytes.NewReader(data[:n]))
		for err == nil {
			_, err = src.Next()
		}
		if !errors.Is(err, ErrCut) && !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at byte %d of %d: %v", n, len(data), err)
		}
	}
}

// TestDamagedFile: a flipped bit anywhere is told, or changes nothing.
func TestDamagedFile(t *testing.T) {
	whole := write(t, made(t, 200, 10))
	src, _, err := Open(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := read(t, src)
	for n := 0; n < len(whole); n += 1 + len(whole)/500 {
		data := bytes.Clone(whole)
		data[n] ^= 1 << (n % 8)
		src, _, err := Open(bytes.NewReader(data))
		records := 0
		for err == nil {
			var b *Batch
			if b, err = src.Next(); err == nil {
				records += len(b.Records)
			}
		}
		if errors.Is(err, io.EOF) && records != len(want.records) || !errors.Is(err, io.EOF) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCut) {
			t.Fatalf("bit %d of byte %d: %d records, %v", n%8, n, records, err)
		}
	}
}

// TestLog: what is imported into a log is read from it in the order of snapshots, with what it refers to; a second import adds nothing.
func TestLog(t *testing.T) {
	dir, depot := t.TempDir(), t.TempDir()
	log, err := badgerdb.OpenLog(badgerdb.Config{Dir: dir, Retain: 100 * 365 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() }) //nolint:errcheck // the test is over
	// What the log had before moves generations, and so does a catalog that changes in between.
	log.AppendGeneration(41, record.AppendGeneration(nil, nil, &made(t, 1, 1).(*generator).current, nil))
	log.Append(storage.LogRecord{Usage: storage.Usage{Request: storage.RequestID{1}, Account: "cached"}})
	const n = 20_000 // more than a chunk
	done, err := Import(log, depot, made(t, n, 37))
	if err != nil || done.Requests != n || done.Known != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if again, err := Import(log, depot, made(t, n, 37)); err != nil || again.Requests != 0 || again.Known != n || again.Generations != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	src, stop := Read(log, depot, Filter{})
	got := read(t, src)
	stop()
	want := read(t, made(t, n, 37))
	if len(got.records) != n || !reflect.DeepEqual(got.sorted(), want.sorted()) {
		t.Errorf("%d records of %d", len(got.records), n)
	}
	if p := src.Passed(); p != (Passed{NoDecision: 1}) {
		t.Errorf("%+v", p)
	}
	d, err := record.DecodeDecision(want.records[0].Decision)
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err := src.Module(d.Ran.Digest); err != nil || !bytes.Equal(wasm, builtin.Modules()[d.Policy]) {
		t.Errorf("module: %d bytes, %v", len(wasm), err)
	}
	if text, err := src.Config(d.Ran.Config); err != nil || text == "" {
		t.Errorf("configuration %q, %v", text, err)
	}

	src, stop = Read(log, depot, Filter{Account: "account-3", Limit: 50})
	for _, r := range read(t, src).records {
		if r.Usage.Account != "account-3" {
			t.Errorf("a record of %s", r.Usage.Account)
		}
	}
	stop()
	src, stop = Read(log, depot, Filter{}) // and nobody reads it
	if _, err := src.Next(); err != nil {
		t.Error(err)
	}
	stop()
}

// TestMissingSnapshots: requests whose snapshot is gone are counted, the others given.
func TestMissingSnapshots(t *testing.T) {
	log, err := badgerdb.OpenLog(badgerdb.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() }) //nolint:errcheck // the test is over
	all := read(t, made(t, 0, 1))
	src := made(t, 100, 10)
	for n := 0; ; n++ {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			log.Append(storage.LogRecord{Usage: r.Usage, Decision: r.Decision})
		}
		if n != 3 { // and what builds on it
			log.AppendGeneration(b.Snapshot.Generation, record.AppendGeneration(nil, nil, &b.Snapshot.Snapshot, b.Snapshot.Bytes))
		}
	}
	log.Flush()
	given, stop := Read(log, "", Filter{})
	all = read(t, given)
	stop()
	if len(all.records) != 90 || given.Passed() != (Passed{NoSnapshot: 10}) {
		t.Errorf("%d records, %+v", len(all.records), given.Passed())
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f, made(f, 20, 5)))
	f.Fuzz(func(t *testing.T, body []byte) {
		var packed bytes.Buffer
		packed.WriteString(magic)
		w := s2.NewWriter(&packed)
		if err := errors.Join(w.EncodeBuffer(body), w.Close()); err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{body, packed.Bytes()} {
			src, _, err := Open(bytes.NewReader(data))
			for err == nil {
				_, err = src.Next()
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, ErrCut) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
		}
	})
}
