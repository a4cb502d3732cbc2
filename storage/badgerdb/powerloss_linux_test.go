package badgerdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/powerloss"
)

// outages are the failures of power that a test tries, over and over: a process works, the power fails, the next process starts
// from one of the disks that this may leave.
type outages struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	books  *books // what the images came to, added up
	images int
	losses [5]int
	syncs  int
	took   time.Duration
}

// fastDir is a directory in memory where there is one: the images are written and synced by the thousand, and no real power fails.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pointsman-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// record lets a child work in a directory until it has waited for the disk so many times.
func (o *outages) record(dir string, syncs int) *powerloss.Recording {
	o.t.Helper()
	child := (&errand{Dir: dir, Watched: true}).command(o.t)
	child.Env = append(child.Env, "GODEBUG=asyncpreemptoff=1") // each of its signals would stop the child
	var stderr strings.Builder
	said, err := os.CreateTemp(o.t.TempDir(), "")
	if err != nil {
		o.t.Fatal(err)
	}
	defer said.Close()
	child.Stderr = said
	r, err := powerloss.Record(child, dir, syncs)
	if err != nil {
		o.t.Fatal(err)
	}
	if !r.Ended.Signaled() {
		text, _ := os.ReadFile(said.Name())
		o.t.Fatalf("the child ended by itself with %d: %s", r.Ended.ExitStatus(), text)
	}
	_ = stderr
	return r
}

// chain is the ledger's lines by position, as a process that was not cut off has them.
func chain(t *testing.T, dir string) (hashes []string) {
	t.Helper()
	s, err := OpenSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Each(1, 0, func(e *storage.Entry) error {
		hashes = append(hashes, string(e.Hash[:]))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return hashes
}

// started opens an image as a gateway does.
func (o *outages) started(t *testing.T, dir string, whole []string, acknowledged []told) {
	t.Helper()
	config := (&errand{Dir: dir}).config()
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Halted(); err != nil {
		t.Fatal(err)
	}
	invents(t, s, whole)
	y := openBooks()
	checkLogged(t, dir, s, acknowledged)
	y.check(t, s, acknowledged)
	o.books.told += y.told
	o.books.lost += y.lost
	o.books.twice += y.twice
	o.books.open += y.open
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir, t.Output()); err != nil {
		t.Fatal(err)
	}
}

// invents makes sure that the ledger has a beginning of the lines that were written, and after them only the ends of holds.
func invents(t *testing.T, s *Store, whole []string) {
	t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	own := false
	if err := snapshot.Each(1, 0, func(e *storage.Entry) error {
		own = own || e.Position > uint64(len(whole)) || string(e.Hash[:]) != whole[e.Position-1]
		if own && e.Kind != storage.EntryInterrupt {
			return fmt.Errorf("nobody wrote the line at %d: %+v", e.Position, e)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestF30PowerLoss lets the power fail before each of a working process's waits for the disk, and starts from the disks that may
// be left of that. Each has everything that was acknowledged and nothing that nobody wrote, and proves.
func TestF30PowerLoss(t *testing.T) {
	want := chaos(t, 60)
	o := &outages{t: t, seed: rand.Uint64(), books: openBooks()}
	o.random = rand.New(rand.NewPCG(o.seed, 30))
	dir, acknowledged := fastDir(t), []told(nil)
	for o.images < want {
		syncs := 40 + o.random.IntN(160)
		r := o.record(dir, syncs)
		whole := chain(t, dir)
		o.syncs += r.Syncs
		next := o.random.IntN(r.Syncs)
		every := 1
		if want < 1000 {
			every = max(1, r.Syncs/15)
		}
		after, fresh := dir, acknowledged
		if err := r.Replay(func(p *powerloss.Point) error {
			all := append(slices.Clone(acknowledged), parseAll(t, p.Said)...)
			if p.Syncs == next {
				after, fresh = fastDir(t), all
				_, err := p.Image(after, powerloss.Pages, o.random)
				return err
			}
			if p.Syncs%every != 0 || o.images >= want {
				return nil
			}
			t.Run(fmt.Sprint(o.syncs, "/", p.Syncs), func(t *testing.T) { o.at(t, p, whole, all) })
			if t.Failed() {
				return errors.New("stopped")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(dir)
		dir, acknowledged = after, fresh
		if o.random.IntN(4) == 0 {
			dir, acknowledged = fastDir(t), nil
		}
	}
	t.Logf("figure: %d images of the disk %v after %d barriers: %d operations acknowledged, %d lost, %d requests charged twice, %d holds interrupted; seed %d",
		o.images, o.losses, o.syncs, o.books.told, o.books.lost, o.books.twice, o.books.open, o.seed)
}

// at tries the disks that one moment may have left.
func (o *outages) at(t *testing.T, p *powerloss.Point, whole []string, acknowledged []told) {
	seen := map[uint64]bool{}
	for _, loss := range []powerloss.Loss{powerloss.Strict, powerloss.Kept, powerloss.Names, powerloss.Pages, powerloss.Pages, powerloss.Sectors, powerloss.Sectors} {
		seed := o.random.Uint64()
		dir := fastDir(t)
		sum, err := p.Image(dir, loss, rand.New(rand.NewPCG(seed, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if !seen[sum] {
			seen[sum] = true
			o.images++
			o.losses[loss]++
			func() {
				defer func() {
					if t.Failed() {
						kept, _ := os.MkdirTemp("", "pointsman-")
						p.Image(kept, loss, rand.New(rand.NewPCG(seed, 0)))
						t.Logf("%s after %d barriers, seed %d: the image is in %s", loss, p.Syncs, seed, kept)
					}
				}()
				o.started(t, dir, whole, acknowledged)
			}()
		}
		os.RemoveAll(dir)
	}
}

func parseAll(t *testing.T, said string) (all []told) {
	for line := range strings.Lines(said) {
		all = append(all, parseTold(t, strings.TrimSpace(line)))
	}
	return all
}

var _ = filepath.Join
