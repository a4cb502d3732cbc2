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
type group struct {
	cursor
	pages []grouped
}

// grouped is a page of a group.
type grouped struct {
	position uint64 // of its first line
	length   uint32
	sum      uint32 // CRC-32C
}

const (
	groupVersion = extentVersion + 1
	groupSize    = 16 << 10 // bytes of pages; all are read to find one line
)

// takes tells whether a page at a place belongs to the group.
func (g *group) takes(p extent) bool {
	size := g.size()
	return size > 0 && p.volume == g.volume && int64(p.offset) == int64(g.offset)+size && size+int64(p.length) <= groupSize
}

// size is the length of all pages.
func (g *group) size() (n int64) {
	for i := range g.pages {
		n += int64(g.pages[i].length)
	}
	return n
}

func (g *group) encode() []byte {
	b := append(make([]byte, 0, 9+len(g.pages)*8), groupVersion)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, g.volume), g.offset)
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
		return group{p.cursor, []grouped{{first, p.length, p.sum}}}, true, nil
	}
	r := fields.Reader{Rest: value}
	if r.Byte() != groupVersion {
		return g, false, nil
	}
	if place := r.Bytes(8); !r.Bad() {
		g.cursor = cursor{binary.BigEndian.Uint32(place), binary.BigEndian.Uint32(place[4:])}
	}
	for position := first; len(r.Rest) > 0 && !r.Bad(); {
		position += r.Uvarint()
		p := grouped{position: position, length: uint32(min(r.Uvarint(), volumeSize))}
		if sum := r.Bytes(4); !r.Bad() {
			p.sum = binary.BigEndian.Uint32(sum)
		}
		g.pages = append(g.pages, p)
	}
	if r.End() != nil || len(g.pages) == 0 || g.size() > volumeSize {
		return g, false, fmt.Errorf("the record of the pages at ledger position %d: %w", first, fields.ErrEncoding)
	}
	return g, true, nil
}

// read returns the pages as one, or what is wrong with one and those before it.
func (g *group) read(dir string) (page []byte, err error) {
	path := volumePath(dir, g.volume)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", pagesOf(dir), err)
	}
	defer f.Close()
	all := make([]byte, g.size())
	n, err := f.ReadAt(all, int64(g.offset))
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the %s: %w", pagesOf(dir), err)
	}
	page, from := all[:0], 0
	for _, p := range g.pages {
		to := from + int(p.length)
		if to > n {
			return page, fmt.Errorf("the %s %s end before byte %d", pagesOf(dir), filepath.Base(path), int(g.offset)+to)
		}
		next := all[from:to]
		if crc32.Checksum(next, castagnoli) != p.sum {
			return page, fmt.Errorf("the %s %s are damaged from byte %d to %d", pagesOf(dir), filepath.Base(path), int(g.offset)+from, int(g.offset)+to)
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
	before := group{g.cursor, g.pages[:i]}
	p = extent{g.cursor, g.pages[i].length, g.pages[i].sum}
	p.offset += uint32(before.size())
	return p, true
}
