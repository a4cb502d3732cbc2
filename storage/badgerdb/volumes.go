package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage/fields"
	"github.com/pointsman/pointsman/storage/ledger"
)

// volumes are where the pages of a ledger or a log lie: files that pages are appended to, one after the other, in the directory of the database. The
// database has the place of each page and its checksum. So what makes up most of a ledger or a log is written once, and Badger neither
// keeps it in its write buffers nor writes it again whenever it merges tables.
//
// The ledger's applier appends pages before it stores their places, and does not wait for the disk. The journal keeps what it has until the pages
// are synchronized, too ([volumes.synchronize]); the next start writes those that were not once more, from there ([restorer]). Bytes that no place
// names, as a kill leaves them at the end, are written over. A log has no journal: see [Log.mend].
type volumes struct {
	dir  string
	size int64 // from which on a volume is full, in bytes; a page is never cut in two
	sync func(*os.File) error
	// copied: it is a copy of files to look into, of which pages are only written if they cannot be read.
	copied bool

	cursor  cursor // where the next page goes, in memory or written
	pending []byte // pages before it that are not written yet
	f       *os.File
	flowing int64 // what is before it is on its way to the disk
}

// cursor is a place between pages.
type cursor struct {
	volume uint32 // counts from 1
	offset uint32
}

// extent says where a page is. As the value of the page's record: a version, then four numbers of 4 bytes, big-endian.
type extent struct {
	cursor
	length uint32
	sum    uint32 // CRC-32C of the page
}

const (
	volumeExt     = ".pages"
	volumeSize    = 64 << 20
	flowSize      = 256 << 10              // bytes that are sent to the disk at once: a commit waits behind them
	extentVersion = ledger.PageVersion + 1 // a page itself begins with its own
	extentSize    = 1 + 4*4
)

func volumePath(dir string, number uint32) string {
	return filepath.Join(dir, fmt.Sprintf("%06d%s", number, volumeExt))
}

// lastVolume is the highest number of a volume in a directory; 0 when there is none.
func lastVolume(dir string) (last uint32) {
	names, _ := filepath.Glob(filepath.Join(dir, "*"+volumeExt)) // the pattern is sound
	for _, name := range names {
		last = max(last, uint32(numberOf(name)))
	}
	return last
}

func newVolumes(dir string, size int64) *volumes {
	return &volumes{dir: dir, size: size, sync: syncContent, cursor: cursor{volume: lastVolume(dir) + 1}}
}

// add appends a page, which write writes, and returns its place.
func (v *volumes) add(page []byte) (p extent, err error) {
	if int64(v.cursor.offset) >= v.size {
		if err := v.turn(); err != nil {
			return p, err
		}
	}
	p = extent{v.cursor, uint32(len(page)), crc32.Checksum(page, castagnoli)}
	v.pending = append(v.pending, page...)
	v.cursor.offset += p.length
	return p, nil
}

// turn goes on in another volume. The former is on disk then, so that only the last one can lack pages.
func (v *volumes) turn() error {
	if err := v.synchronize(); err != nil {
		return err
	}
	err := v.close()
	v.f, v.cursor = nil, cursor{volume: v.cursor.volume + 1}
	return err
}

// write writes the pages that were added.
func (v *volumes) write() error {
	if len(v.pending) == 0 {
		return nil
	}
	from := int64(v.cursor.offset) - int64(len(v.pending))
	if err := v.open(); err != nil {
		return err
	}
	if _, err := v.f.WriteAt(v.pending, from); err != nil {
		return fmt.Errorf("writing the %s: %w", pagesOf(v.dir), err)
	}
	v.pending = v.pending[:0]
	if end := int64(v.cursor.offset); end-v.flowing >= flowSize {
		beginSync(v.f, v.flowing, end-v.flowing)
		v.flowing = end
	}
	return nil
}

// open opens the volume of the cursor, or makes it.
func (v *volumes) open() (err error) {
	if v.f == nil {
		v.f, err = openVolume(volumePath(v.dir, v.cursor.volume))
		v.flowing = int64(v.cursor.offset) - int64(len(v.pending))
	}
	return err
}

// synchronize writes what was added and returns once it is on disk.
func (v *volumes) synchronize() error {
	err := v.write()
	if err == nil && v.f != nil {
		err = v.sync(v.f)
	}
	if err != nil {
		return fmt.Errorf("synchronizing the %s: %w", pagesOf(v.dir), err)
	}
	return nil
}

// back forgets what was added behind a place, of which nothing is told.
func (v *volumes) back(to cursor) {
	if v.cursor.volume != to.volume {
		v.close() //nolint:errcheck // nothing in it is wanted
		v.f = nil
	}
	v.pending, v.cursor = v.pending[:0], to
}

// settle returns once what a former run wrote into a volume is on disk.
func (v *volumes) settle(volume uint32) error {
	f, err := os.Open(volumePath(v.dir, volume))
	if err != nil {
		return fmt.Errorf("synchronizing the %s: %w", pagesOf(v.dir), err)
	}
	return errors.Join(v.sync(f), f.Close())
}

func (v *volumes) close() error {
	if v.f == nil {
		return nil
	}
	return v.f.Close()
}

// logVolumes are the volumes of a log: each period has its own, which are removed with it.
type logVolumes struct {
	*volumes
	period uint32 // of the last page
}

// keep writes a page and returns the value of its record.
func (v *logVolumes) keep(seq uint64, page []byte) (value []byte, err error) {
	if period := periodOf(seq); period != v.period {
		if v.cursor.offset > 0 {
			if err := v.turn(); err != nil {
				return nil, err
			}
		}
		v.period = period
	}
	at := v.cursor
	p, err := v.add(page)
	if err == nil {
		err = v.write()
	}
	if err != nil {
		v.back(at)
		return nil, err
	}
	return p.encode(), nil
}

// pagesOf is what messages call the pages in the directory of a database.
func pagesOf(dir string) string { return filepath.Base(dir) + "'s pages" }

// openVolume opens a volume to write to it, or makes it. One that another directory has a link to, as the copies do that are made to
// look into a ledger, is copied first: nothing changes there.
func openVolume(path string) (*os.File, error) {
	info, err := os.Stat(path)
	isNew := errors.Is(err, os.ErrNotExist)
	if err == nil && info.Sys().(*syscall.Stat_t).Nlink > 1 {
		err = unlinked(path)
	}
	if err != nil && !isNew {
		return nil, fmt.Errorf("opening the %s: %w", pagesOf(filepath.Dir(path)), err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil && isNew {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("opening the %s: %w", pagesOf(filepath.Dir(path)), err)
	}
	return f, nil
}

// unlinked makes a file one that has no other name.
func unlinked(path string) error {
	own := path + ".new"
	if err := copyFile(path, own); err != nil {
		return err
	}
	f, err := os.OpenFile(own, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil { // what has the old name is durable
		return err
	}
	return errors.Join(os.Rename(own, path), syncDir(filepath.Dir(path)))
}

// restorer writes pages again that were not on disk for certain. That they can be read does not tell that they are: after a sync that failed the
// kernel may take for written what is in its memory alone.
type restorer struct {
	*volumes
	number uint32 // of the volume that is open
	f      *os.File
}

// write writes a page at its place as the database names it; a page that is not that one is none of ours. It is on disk after close.
func (r *restorer) write(p extent, page []byte) error {
	if p.length != uint32(len(page)) || p.sum != crc32.Checksum(page, castagnoli) {
		return nil
	}
	if r.copied {
		if _, err := p.read(r.dir); err == nil {
			return nil
		}
	}
	if r.f == nil || r.number != p.volume {
		err := r.close()
		if err == nil {
			r.f, err = openVolume(volumePath(r.dir, p.volume))
		}
		if err != nil {
			return err
		}
		r.number = p.volume
	}
	if _, err := r.f.WriteAt(page, int64(p.offset)); err != nil {
		return fmt.Errorf("writing the %s again: %w", pagesOf(r.dir), err)
	}
	return nil
}

func (r *restorer) close() error {
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	return errors.Join(r.sync(f), f.Close())
}

func (p extent) encode() []byte {
	b := make([]byte, 1, extentSize)
	b[0] = extentVersion
	for _, n := range [...]uint32{p.volume, p.offset, p.length, p.sum} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// decodeExtent reads the value of a page's record; ok is false if it is no place, but the page itself.
func decodeExtent(value []byte) (p extent, ok bool) {
	if len(value) != extentSize || value[0] != extentVersion {
		return p, false
	}
	for i, n := range [...]*uint32{&p.volume, &p.offset, &p.length, &p.sum} {
		*n = binary.BigEndian.Uint32(value[1+4*i:])
	}
	return p, true
}

// read returns the page, or what is wrong with it.
func (p extent) read(dir string) ([]byte, error) {
	page, err := p.begin(dir, p.length)
	if err == nil && crc32.Checksum(page, castagnoli) != p.sum {
		err = fmt.Errorf("the %s %s are damaged from byte %d to %d", pagesOf(dir), filepath.Base(volumePath(dir, p.volume)), p.offset, p.offset+p.length)
	}
	return page, err
}

// unreadable tells whether it is not known what is in a page: it may be there.
func unreadable(err error) bool {
	return errors.As(err, new(*fs.PathError)) && !errors.Is(err, fs.ErrNotExist)
}

// beginning returns what the head of a log's page is in, unchecked.
func (p extent) beginning(dir string) ([]byte, error) { return p.begin(dir, uint32(mostHead)) }

// begin returns up to so many bytes that the page begins with, unchecked.
func (p extent) begin(dir string, most uint32) ([]byte, error) {
	path := volumePath(dir, p.volume)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", pagesOf(dir), err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < int64(p.offset)+int64(p.length) {
		return nil, fmt.Errorf("the %s %s end before byte %d", pagesOf(dir), filepath.Base(path), int64(p.offset)+int64(p.length))
	}
	page := make([]byte, min(p.length, most))
	if _, err := f.ReadAt(page, int64(p.offset)); err != nil {
		return nil, fmt.Errorf("reading the %s: %w", pagesOf(dir), err)
	}
	return page, nil
}

// book is a ledger as a transaction sees it.
type book struct {
	*badger.Txn
	dir string // of the database, with the volumes
}

func bookOf(db *badger.DB, txn *badger.Txn) book { return book{txn, db.Opts().Dir} }

// page is all pages whose record an item is, as one. Ledgers of schema 3 and those that were restored have pages in the database itself. If one is
// damaged it returns those before it, too.
func (b book) page(item *badger.Item) ([]byte, error) {
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	g, elsewhere, err := decodeGroup(binary.BigEndian.Uint64(item.Key()[1:]), value)
	if err != nil {
		return nil, err
	}
	if elsewhere {
		return g.read(b.dir)
	}
	if len(value) == 0 {
		return nil, fields.ErrEncoding
	}
	return value, nil
}
