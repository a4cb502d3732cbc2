package badgerdb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/powerloss"
)

// outages let the power fail over and over: a process works, and the next one starts from one of the disks that may be left.
type outages struct {
	seed   uint64 // of the images; what the processes do differs from run to run
	random *rand.Rand
	books  *books // added up over the images
	images map[powerloss.Loss]int
	waits  map[string]int
	former []storage.Entry // lines that each disk must have
}

// memoryDir is a directory in memory where there is one, because thousands of images are written to it and synced.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pointsman-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// recordLife is what a child does until it has waited for the disk so many times.
func recordLife(t *testing.T, e errand, syncs int) *powerloss.Recording {
	t.Helper()
	e.Watched, e.Life = true, cmp.Or(e.Life, time.Minute) // a child that hangs ends, too
	child := e.command(t)
	child.Env = append(child.Env, "GODEBUG=asyncpreemptoff=1") // each such signal would stop the child once more
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	child.Stderr = stderr
	r, err := powerloss.Record(child, e.Dir, syncs)
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("tracing a process is not permitted here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if !r.Ended.Signaled() {
		text, _ := os.ReadFile(stderr.Name())
		t.Fatalf("the child ended by itself with %d: %s", r.Ended.ExitStatus(), text)
	}
	return r
}

// TestF30PowerLoss lets the power fail before each of a working process's waits for the disk returns, and starts from the disks that
// may be left of that. Each has everything that was acknowledged and nothing that nobody wrote, and proves.
func TestF30PowerLoss(t *testing.T) {
	most := 60
	if os.Getenv("POINTSMAN_FAULTS") == "full" {
		most = 10_000
	}
	most = chaos(t, most)
	o := &outages{seed: rand.Uint64(), books: openBooks(), images: map[powerloss.Loss]int{}, waits: map[string]int{}}
	o.random = rand.New(rand.NewPCG(o.seed, 30))
	var dir string
	var acknowledged []told
	life := 0
	for ; o.total() < most; life++ {
		if life%4 == 0 { // else the disk is one that a failure left
			dir, acknowledged = memoryDir(t), nil
		} else if life%2 == 0 { // and it is older
			before := errand{Dir: dir}.send(t, time.Duration(50+o.random.IntN(100))*time.Millisecond)
			acknowledged = append(acknowledged, before.acknowledged...)
		}
		r := recordLife(t, errand{Dir: dir}, 80+o.random.IntN(100))
		for name, n := range r.Waits {
			o.waits[filepath.Base(name)] += n
		}
		next, following := "", []told(nil)
		written := linesOf(t, dir)
		chosen, every := o.random.IntN(r.Syncs), 1
		if most < 1000 {
			every = 1 + r.Syncs*24/most // of a few barriers, to see more lives
		}
		if err := r.Replay(func(p *powerloss.Point) error {
			all := append(slices.Clone(acknowledged), parseAll(t, p.Said)...)
			if p.Syncs == chosen {
				next, following = memoryDir(t), all
				if _, err := p.Image(next, powerloss.Pages, o.random); err != nil {
					return err
				}
			}
			if p.Syncs%every == 0 && o.total() < most && !t.Run(fmt.Sprint("after ", p.Syncs), func(t *testing.T) { o.fail(t, p, written, all) }) {
				return errors.New("the disk after it is lost")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(dir)
		dir, acknowledged = next, following
	}
	t.Logf("figure: %d images of the disk (%v), the power failing before %v returned: %d acknowledged operations looked for, %d lost, %d requests charged twice, %d holds interrupted; seed %d",
		o.total(), o.images, o.waits, o.books.told, o.books.lost, o.books.twice, o.books.open, o.seed)
	if life >= 4 && (o.books.told == 0 || o.books.open == 0 || o.waits[".journal"] == 0 || o.waits[".pages"] == 0 || o.waits[".sst"] == 0 || o.waits["MANIFEST"] == 0) {
		t.Error("the failures did not find everything that they were to find")
	}
}

func (o *outages) total() (n int) {
	for k := range maps.Values(o.images) {
		n += k
	}
	return n
}

// fail tries some of the disks that one moment may have left.
func (o *outages) fail(t *testing.T, p *powerloss.Point, written []storage.Entry, acknowledged []told) {
	seen := map[uint64]bool{}
	for _, loss := range []powerloss.Loss{powerloss.Strict, powerloss.Kept, powerloss.Names, powerloss.Pages, powerloss.Pages, powerloss.Sectors, powerloss.Sectors} {
		seed := o.random.Uint64()
		dir := memoryDir(t)
		sum, err := p.Image(dir, loss, rand.New(rand.NewPCG(seed, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if !seen[sum] {
			seen[sum] = true
			o.images[loss]++
			t.Run(loss.String(), func(t *testing.T) {
				defer func() {
					if !t.Failed() {
						return
					}
					kept, err := os.MkdirTemp("", "pointsman-power-")
					if err == nil {
						_, err = p.Image(kept, loss, rand.New(rand.NewPCG(seed, 0)))
					}
					t.Logf("seed %d of %d; the disk is in %s, %v", seed, o.seed, kept, err)
				}()
				o.restart(t, dir, written, acknowledged)
			})
		}
		os.RemoveAll(dir)
	}
}

// restart starts from an image, as a gateway does, proves the ledger, and looks whether all is there.
func (o *outages) restart(t *testing.T, dir string, written []storage.Entry, acknowledged []told) {
	s, err := Open((&errand{Dir: dir}).config())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Halted(); err != nil {
		t.Fatal(err)
	}
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.prove(0, nil); err != nil {
		t.Error(err)
	}
	lines, own := linesIn(t, snapshot), false
	for i := range o.former {
		if i >= len(lines) || lines[i].Hash != o.former[i].Hash {
			t.Fatalf("%d of %d former lines are left", i, len(o.former))
		}
	}
	for i, e := range lines {
		own = own || i >= len(written) || e.Hash != written[i].Hash
		if own && e.Kind != storage.EntryInterrupt {
			t.Errorf("nobody wrote the line %+v", e)
		}
	}
	y := openBooks()
	checkLogged(t, dir, s, acknowledged)
	checkKept(t, dir, acknowledged)
	y.check(t, s, acknowledged)
	o.books.told += y.told
	o.books.lost += y.lost
	o.books.twice += y.twice
	o.books.open += y.open
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// checkKept looks for every result that was kept.
func checkKept(t *testing.T, dir string, acknowledged []told) {
	t.Helper()
	r, err := OpenResults((&errand{Dir: dir}).config(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, a := range acknowledged {
		if a.kind != 'R' {
			continue
		}
		request, err := storage.ParseRequestID(a.name)
		if err != nil {
			t.Fatal(err)
		}
		id, want := answerTo(request)
		got, err := r.Result(id)
		if err != nil || got.State != want.State || got.Request != request || got.Status != want.Status || !bytes.Equal(got.Header, want.Header) || !bytes.Equal(got.Body, want.Body) {
			t.Errorf("%q was acknowledged, and there is %+v, %v", a.whole, got, err)
		}
	}
}

// linesOf are the lines of a ledger whose process was killed.
func linesOf(t *testing.T, dir string) []storage.Entry {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, headName)); err != nil {
		return nil // before there was one
	}
	s, err := OpenSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return linesIn(t, s)
}

func linesIn(t *testing.T, s *Snapshot) (lines []storage.Entry) {
	t.Helper()
	defer s.Close()
	s.pace.percent = 100
	if err := s.Each(1, 0, func(e *storage.Entry) error {
		lines = append(lines, *e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

func parseAll(t *testing.T, said string) (all []told) {
	for line := range strings.Lines(said) {
		all = append(all, parseTold(t, strings.TrimSpace(line)))
	}
	return all
}

// TestF30Unsynced: a store that does not sync loses what was acknowledged, and that would be noticed.
func TestF30Unsynced(t *testing.T) {
	dir := memoryDir(t)
	r := recordLife(t, errand{Dir: dir, Unsynced: true, Life: callLife}, 1<<30)
	image := memoryDir(t)
	var acknowledged []told
	if err := r.Replay(func(p *powerloss.Point) (err error) {
		if p.Syncs == r.Syncs {
			acknowledged = parseAll(t, p.Said)
			_, err = p.Image(image, powerloss.Strict, rand.New(rand.NewPCG(0, 0)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s, err := Open((&errand{Dir: image}).config())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	y := openBooks()
	for _, account := range workAccounts {
		y.read(t, s, account)
	}
	lost := slices.IndexFunc(acknowledged, func(a told) bool { return y.find(a) != "" })
	if len(acknowledged) == 0 || lost < 0 {
		t.Errorf("of %d acknowledged operations none was lost, though none was synced", len(acknowledged))
	}
}

// TestF39TakingOver lets the process be killed, or the power fail, at each step of the first start of this program on a ledger of a former one.
// The next start goes on from whatever is left: every former line is there, and all that was acknowledged since.
func TestF39TakingOver(t *testing.T) {
	rounds := 1
	if os.Getenv("POINTSMAN_FAULTS") == "full" {
		rounds = 20
	}
	o := &outages{seed: rand.Uint64(), books: openBooks(), images: map[powerloss.Loss]int{}}
	o.random = rand.New(rand.NewPCG(o.seed, 39))
	steps, lines := 0, 0
	for _, schema := range []uint32{2, 3, 5} {
		for range rounds {
			dir := ofSchema(t, schema)
			o.former = linesOf(t, dir)
			lines += len(o.former)
			r := recordLife(t, errand{Dir: dir}, 40)
			written := linesOf(t, dir)
			if err := r.Replay(func(p *powerloss.Point) error {
				steps++
				if !t.Run(fmt.Sprintf("schema %d after %d", schema, p.Syncs), func(t *testing.T) { o.fail(t, p, written, parseAll(t, p.Said)) }) {
					return errors.New("the disk after it is lost")
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("figure: %d lines of former programs, their first start here stopped at %d steps, which may leave %d disks (%v): no line lost, %d operations acknowledged meanwhile, %d lost; seed %d",
		lines, steps, o.total(), o.images, o.books.told, o.books.lost, o.seed)
	if lines == 0 || o.books.told == 0 || o.images[powerloss.Strict] == 0 || o.images[powerloss.Kept] == 0 {
		t.Error("the failures did not find everything that they were to find")
	}
}
