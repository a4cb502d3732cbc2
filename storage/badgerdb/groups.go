package badgerdb

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/pointsman/pointsman/storage/fields"
	"github.com/pointsman/pointsman/storage/ledger"
)

// group is where the pages of one transaction are, which lie one behind the other in a volume. They have one record together, for a ledger with little
// to do writes a page for every request, and a record takes Badger 5 µs of a processor and 46 bytes of tables. The key is that of the first page's
// first line; the value is
//
//	u8 version, volume(4) offset(4) of the first page, both big-endian
//	of each page: uvarint steps from the first line of the page before (0 for the first page), uvarint length, CRC-32C(4, big-endian)
//
// so that a page that is damaged does not take the others with it, and one that the disk lacks is known by its position.
type group struct{ pages []grouped }

// grouped is where a page of a group is.
type grouped struct {
	position uint64 // of its first line
	extent
}

const (
	groupVersion = extentVersion + 1
	groupSize    = 16 << 10 // bytes of pages; all are read to find one line
)

// takes tells whether a page at a place belongs to the group.
func (g *group) takes(p extent) bool {
	if len(g.pages) == 0 {
		return false
	}
	last := g.pages[len(g.pages)-1]
	return p.volume == last.volume && p.offset == last.offset+last.length && g.size()+int64(p.length) <= groupSize
}

// size is the length of all pages.
func (g *group) size() int64 {
	last := g.pages[len(g.pages)-1]
	return int64(last.offset) + int64(last.length) - int64(g.pages[0].offset)
}

func (g *group) encode() []byte {
	b := append(make([]byte, 0, 9+len(g.pages)*8), groupVersion)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, g.pages[0].volume), g.pages[0].offset)
	before := g.pages[0].position
	for _, p := range g.pages {
		b = binary.AppendUvarint(binary.AppendUvarint(b, p.position-before), uint64(p.length))
		b = binary.BigEndian.AppendUint32(b, p.sum)
		before = p.position
	}
	return b
}

// decodeGroup reads the value of the record of pages at a position; ok is false if they are in the record itself. Schema 5 has an extent for a page.
func decodeGroup(first uint64, value []byte) (g group, ok bool, err error) {
	if p, ok := decodeExtent(value); ok {
		return group{[]grouped{{first, p}}}, true, nil
	}
	r := fields.Reader{Rest: value}
	if r.Byte() != groupVersion {
		return g, false, nil
	}
	p := grouped{position: first}
	if place := r.Bytes(8); !r.Bad() {
		p.cursor = cursor{binary.BigEndian.Uint32(place), binary.BigEndian.Uint32(place[4:])}
	}
	for len(r.Rest) > 0 && !r.Bad() {
		p.position += r.Uvarint()
		p.offset += p.length
		p.length = uint32(min(r.Uvarint(), volumeSize))
		if sum := r.Bytes(4); !r.Bad() {
			p.sum = binary.BigEndian.Uint32(sum)
		}
		g.pages = append(g.pages, p)
	}
	if r.End() != nil || len(g.pages) == 0 || g.size() < 0 || g.size() > volumeSize {
		return g, false, fmt.Errorf("the record of the pages at ledger position %d: %w", first, fields.ErrEncoding)
	}
	return g, true, nil
}

// read returns the pages as one, or what is wrong with one and those before it.
func (g *group) read(dir string) (page []byte, err error) {
	begin := g.pages[0].cursor
	path := volumePath(dir, begin.volume)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", pagesOf(dir), err)
	}
	defer f.Close()
	all := make([]byte, g.size())
	n, err := f.ReadAt(all, int64(begin.offset))
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the %s: %w", pagesOf(dir), err)
	}
	page, from := all[:0], 0
	for _, p := range g.pages {
		to := from + int(p.length)
		if to > n {
			return page, fmt.Errorf("the %s %s end before byte %d", pagesOf(dir), filepath.Base(path), int(begin.offset)+to)
		}
		next := all[from:to]
		if crc32.Checksum(next, castagnoli) != p.sum {
			return page, fmt.Errorf("the %s %s are damaged from byte %d to %d", pagesOf(dir), filepath.Base(path), int(begin.offset)+from, int(begin.offset)+to)
		}
		if len(page) > 0 && len(next) > 0 {
			if next[0] != ledger.PageVersion {
				return page, fmt.Errorf("ledger position %d: page has unknown version %d", p.position, next[0])
			}
			next = next[1:]
		}
		page = append(page, next...) // never ahead of what is read
		from = to
	}
	return page, nil
}

// at returns the place of the page that begins at a position.
func (g *group) at(position uint64) (p extent, found bool) {
	i, found := slices.BinarySearchFunc(g.pages, position, func(p grouped, position uint64) int { return cmp.Compare(p.position, position) })
	if !found {
		return p, false
	}
	return g.pages[i].extent, true
}
