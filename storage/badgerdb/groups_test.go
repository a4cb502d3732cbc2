package badgerdb

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage/ledger"
)

// TestGroups: pages of a transaction that lie one behind the other have one record, which says of each where it is; as many as are read at once at most.
func TestGroups(t *testing.T) {
	dir := t.TempDir()
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "ledger")).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	v := newVolumes(db.Opts().Dir, 64<<10)
	defer v.close()
	tx := transaction{journal: new(journal), db: db, volumes: v}
	pages := map[uint64][]byte{}
	position := uint64(1)
	for number := range uint64(40) {
		for range 1 + rand.IntN(60) {
			page, lines := []byte{ledger.PageVersion}, 1+rand.IntN(5)
			for range lines {
				line := bytes.Repeat([]byte{byte(rand.Int())}, ledger.HashSize+rand.IntN(300))
				page = append(binary.AppendUvarint(page, uint64(len(line))), line...)
			}
			pages[position] = page
			r := record{data: make([]byte, journalHead), maxValue: 1 << 20}
			r.begin(appendEntryKey(nil, position))
			r.data = append(r.data, page...)
			r.end()
			if err := tx.add(number+1, r.data[journalHead:]); err != nil {
				t.Fatal(err)
			}
			position += uint64(lines)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
	}
	groups, found := 0, 0
	err = db.View(func(txn *badger.Txn) error {
		b := bookOf(db, txn)
		next := uint64(1)
		if err := eachKey(txn, []byte{keyEntry}, func(key []byte, item *badger.Item) error {
			groups++
			first := binary.BigEndian.Uint64(key[1:])
			value, err := item.ValueCopy(nil)
			if err != nil {
				return err
			}
			g, ok, err := decodeGroup(first, value)
			if err != nil || !ok || first != next || g.size() > groupSize && len(g.pages) > 1 {
				t.Fatalf("at %d, expected at %d: %v %v %v", first, next, g, ok, err)
			}
			if !bytes.Equal(g.encode(), value) {
				t.Fatalf("%x is written as %x", value, g.encode())
			}
			want := []byte{ledger.PageVersion}
			for _, p := range g.pages {
				want = append(want, pages[p.position][1:]...)
				at, ok := g.at(p.position)
				page, err := at.read(b.dir)
				if err != nil || !ok || !bytes.Equal(page, pages[p.position]) {
					t.Fatalf("page at %d: %v", p.position, err)
				}
				found++
			}
			page, err := b.page(item)
			if err != nil || !bytes.Equal(page, want) {
				t.Fatalf("the pages from %d are not those that were written: %v", first, err)
			}
			return ledger.EachLine(first, page, func(position uint64, _ []byte) error {
				next = position + 1
				return nil
			})
		}); err != nil {
			return err
		}
		for first := range pages {
			g, err := groupWith(txn, first)
			if _, ok := g.at(first); err != nil || !ok {
				t.Errorf("no group has the page at %d: %v", first, err)
			}
			if _, ok := g.at(position); ok {
				t.Errorf("the group at %d has a page that was not written", first)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != len(pages) || groups > len(pages)/8 {
		t.Errorf("%d of %d pages in %d groups", found, len(pages), groups)
	}
}

// TestGroupsDamaged: what is before a damaged page of its group is read, and the damage is named.
func TestGroupsDamaged(t *testing.T) {
	dir := t.TempDir()
	v := newVolumes(dir, volumeSize)
	var g group
	var pages [][]byte
	for i := range 5 {
		page := append([]byte{ledger.PageVersion}, bytes.Repeat([]byte{byte(i)}, 100)...)
		p, err := v.add(page)
		if err != nil {
			t.Fatal(err)
		}
		g.pages, pages = append(g.pages, grouped{uint64(1 + i), p}), append(pages, page[1:])
	}
	if err := v.synchronize(); err != nil {
		t.Fatal(err)
	}
	v.close()
	whole, err := os.ReadFile(volumePath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(whole) {
		damaged := slices.Clone(whole)
		damaged[at] ^= 1
		for content, says := range map[string]string{string(damaged): "damaged from byte", string(whole[:at]): "end before byte"} {
			if err := os.WriteFile(volumePath(dir, 1), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			page, err := g.read(dir)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Fatalf("damaged at %d: %v", at, err)
			}
			if want := slices.Concat(pages[:at/101]...); len(want) > 0 && !bytes.Equal(page[1:], want) || len(want) == 0 && len(page) > 0 {
				t.Fatalf("damaged at %d: %d bytes are read", at, len(page))
			}
		}
	}
	value := g.encode()
	for n := range value {
		if short, ok, err := decodeGroup(1, value[:n]); ok && err == nil && len(short.pages) == len(g.pages) {
			t.Errorf("%d bytes of the record are enough", n)
		}
	}
}
