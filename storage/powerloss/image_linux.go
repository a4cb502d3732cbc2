package powerloss

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Loss says what an image has of that which no barrier made durable.
type Loss uint8

const (
	Strict  Loss = iota // nothing
	Kept                // all of it
	Names               // some changes of names and sizes, no content
	Pages               // some changes, and some pages
	Sectors             // some changes, and some sectors
)

// String is the name of the constant, in small letters.
func (l Loss) String() string { return [...]string{"strict", "kept", "names", "pages", "sectors"}[l] }

// Point is a moment at which the power may fail: just before a barrier returns.
type Point struct {
	Syncs int    // barriers that have returned
	Said  string // on the standard output before the moment
	disk  *disk
}

// disk is what a moment may have left.
type disk struct {
	now     int // events so far
	changes []journaled
	durable int // so many changes are on disk
	files   []content
}

// journaled is a change, and when it was made.
type journaled struct {
	change
	at int
}

// content is what is known of a file.
type content struct {
	joined int   // so many changes reach the disk with a barrier on this file
	size   int64 // as of its last barrier,
	synced int   // when that was
	grown  []journaled
	pages  map[int64][]version // the first one is durable; without data it reads as zeros
}

// version is what a page held from a time on.
type version struct {
	at   int
	data *pageData
}

// Replay calls visit for every moment at which the power may fail, in order, until it returns an error. A point is valid during the call.
func (r *Recording) Replay(visit func(p *Point) error) error {
	d := &disk{files: make([]content, r.files)}
	for i := range d.files {
		d.files[i].pages = map[int64][]version{}
	}
	var said strings.Builder
	syncs := 0
	for i := range r.events {
		e := &r.events[i]
		d.now = i
		switch {
		case e.change != nil:
			d.change(e.change)
		case e.sample != nil:
			f := &d.files[e.sample.file]
			for at, data := range e.sample.pages {
				if f.pages[at] == nil {
					f.pages[at] = []version{{}}
				}
				f.pages[at] = append(f.pages[at], version{i, data})
			}
		case e.sync != nil:
			if i >= r.before {
				if err := visit(&Point{syncs, said.String(), d}); err != nil {
					return err
				}
				syncs++
			}
			d.sync(e.sync)
		default:
			said.WriteString(e.said)
		}
		if i < r.before {
			d.durable = len(d.changes)
		}
	}
	return visit(&Point{syncs, said.String(), d})
}

func (d *disk) change(c *change) {
	if c.kind == grown {
		f := &d.files[c.file]
		f.grown = append(f.grown, journaled{*c, d.now})
		f.joined = len(d.changes)
		return
	}
	d.changes = append(d.changes, journaled{*c, d.now})
	if c.kind != madeDir {
		d.files[c.file].joined = len(d.changes)
	}
}

// sync makes durable what a barrier does.
func (d *disk) sync(s *synced) {
	if s.dir != "" {
		for i, c := range d.changes {
			if c.kind != resized && (filepath.Dir(c.path) == s.dir || c.kind == renamed && filepath.Dir(c.to) == s.dir) {
				d.durable = max(d.durable, i+1)
			}
		}
		return
	}
	f := &d.files[s.file]
	d.durable = max(d.durable, f.joined)
	f.size = f.sizeNow(d, s.file)
	f.synced, f.grown = d.now, nil
	for at, versions := range f.pages {
		if at*pageSize >= s.from && at*pageSize < s.to {
			f.pages[at] = versions[len(versions)-1:]
		}
	}
}

// sizeNow is the size of a file with all that was done to it.
func (f *content) sizeNow(d *disk, id int) int64 {
	size, at := f.size, f.synced
	for _, c := range d.changes {
		if c.kind == resized && c.file == id && c.at >= at {
			size, at = c.size, c.at
		}
	}
	for _, g := range f.grown {
		if g.at >= at {
			size = g.size
		}
	}
	return size
}

// Image writes one disk that the moment may have left into a new directory. It returns a number that stands for its content, so that
// equal images can be told.
func (p *Point) Image(dir string, loss Loss, random *rand.Rand) (sum uint64, err error) {
	d := p.disk
	changes := d.durable
	switch loss {
	case Strict:
	case Kept:
		changes = len(d.changes)
	case Names, Pages, Sectors:
		changes += random.IntN(len(d.changes) - d.durable + 1)
	}
	pick := picker{loss: loss, random: random, share: []float64{0.1, 0.5, 0.9}[random.IntN(3)]}
	dirs, names := d.names(changes)
	for _, name := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return 0, err
		}
	}
	all := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		fmt.Fprintln(all, name)
		err = d.write(f, names[name], changes, &pick, all)
		if err := f.Close(); err != nil {
			return 0, err
		}
		if err != nil {
			return 0, err
		}
	}
	return all.Sum64(), nil
}

// names are the directories and the files by name after a number of changes.
func (d *disk) names(changes int) (dirs []string, files map[string]int) {
	dirs, files = []string{"."}, map[string]int{}
	for _, c := range d.changes[:changes] {
		switch c.kind {
		case created:
			files[c.path] = c.file
		case madeDir:
			dirs = append(dirs, c.path)
		case renamed:
			files[c.to] = c.file
			delete(files, c.path)
		case unlinked:
			delete(files, c.path)
		}
	}
	return dirs, files
}
