package powerloss

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

// picker decides what an image has of that which is not durable.
type picker struct {
	loss   Loss
	random *rand.Rand
	share  float64 // of the pages or sectors that are newer than they must be
}

// history is what the changes in an image did to a file's size.
type history struct {
	cuts  []journaled // resizes, in their order
	limit int         // when the first resize was made that the image does not have: nothing later can be in it
}

func (d *disk) history(file, changes int) history {
	h := history{limit: math.MaxInt}
	for i := range d.changes {
		c := &d.changes[i]
		switch {
		case c.file != file || c.kind != resized:
		case i >= changes:
			h.limit = c.at
			return h
		default:
			h.cuts = append(h.cuts, *c)
		}
	}
	return h
}

// size is what a file has in an image.
func (h *history) size(f *content, pick *picker) int64 {
	size, at := f.size, f.synced
	for _, c := range h.cuts {
		if c.at >= at {
			size, at = c.size, c.at
		}
	}
	sizes := []int64{size}
	for _, g := range f.grown {
		if g.at >= at && g.at < h.limit {
			sizes = append(sizes, g.size)
		}
	}
	switch pick.loss {
	case Kept:
		return sizes[len(sizes)-1]
	case Pages, Sectors:
		return sizes[pick.random.IntN(len(sizes))]
	default:
		return size
	}
}

// left is what a page's version has after the cuts that came later: zeros from the smallest size on.
func (h *history) left(v version, at int64) pageData {
	var data pageData
	if v.data == nil {
		return data
	}
	size := int64(pageSize)
	for _, c := range h.cuts {
		if c.at > v.at {
			size = min(size, max(0, c.size-at*pageSize))
		}
	}
	copy(data[:size], v.data[:])
	return data
}

// page is a page as it is in an image.
func (h *history) page(versions []version, at int64, pick *picker) pageData {
	newest := len(versions) - 1
	for newest > 0 && versions[newest].at >= h.limit {
		newest--
	}
	data := h.left(versions[0], at)
	if newest == 0 || pick.loss == Strict || pick.loss == Names {
		return data
	}
	if pick.loss == Kept {
		return h.left(versions[newest], at)
	}
	if pick.random.Float64() >= pick.share {
		return data
	}
	newer := h.left(versions[1+pick.random.IntN(newest)], at)
	if pick.loss == Pages {
		return newer
	}
	for sector := 0; sector < pageSize; sector += sectorSize {
		if pick.random.IntN(2) == 0 {
			copy(data[sector:sector+sectorSize], newer[sector:])
		}
	}
	return data
}

// write writes a file of an image.
func (d *disk) write(to *os.File, file, changes int, pick *picker, sum hash.Hash) error {
	f, h := &d.files[file], d.history(file, changes)
	size := h.size(f, pick)
	sum.Write(binary.AppendVarint(nil, size))
	if err := to.Truncate(size); err != nil {
		return err
	}
	for _, at := range slices.Sorted(maps.Keys(f.pages)) {
		begin := at * pageSize
		if begin >= size {
			break
		}
		data := h.page(f.pages[at], at, pick)
		if data == (pageData{}) {
			continue
		}
		piece := data[:min(pageSize, size-begin)]
		sum.Write(binary.AppendVarint(nil, at))
		sum.Write(piece)
		if _, err := to.WriteAt(piece, begin); err != nil {
			return err
		}
	}
	return nil
}
