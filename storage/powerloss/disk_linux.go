package powerloss

import (
	"path/filepath"
	"strings"
)

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
	h := d.history(s.file, len(d.changes))
	f.size = h.size(f, &picker{loss: Kept})
	f.synced, f.grown = d.now, nil
	for at, versions := range f.pages {
		if at*pageSize >= s.from && at*pageSize < s.to {
			f.pages[at] = versions[len(versions)-1:]
		}
	}
}
