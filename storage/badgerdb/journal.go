package badgerdb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// journal is where every commit of the ledger goes first: the only file that anybody waits for. A commit is one record at its end, or some,
// written and then synchronized together; the applier brings records into the database later, many at once and not synchronized, so that nobody
// waits while Badger writes tables. The database's own log is not used: what no table has is in the journal, and a start takes it from
// there.
//
// A journal is some files, its segments, in the directory of the database. They are written in full when they are made, so that a commit
// changes no metadata of the file system, and used again once tables have what is in them. A record is
//
//	magic(4) length of the body(4) number(8) checksum of the record before(4) CRC-32C of all that and the body(4) body
//
// with integers little-endian. Numbers count up by one, over segments and restarts, and the database knows the number of the last record
// that it has: which segments are in use, where a start begins, and whether something is missing in the midst follows from them. A record that is
// not whole ends the journal: those that were not synchronized may be torn or missing when the power failed, and what follows such a one is none.
// That it was acknowledged nevertheless is seen by the head file. What is left of former records behind the end names another record before it.
//
// A body is the records of the database that the commit sets: length of the key(2), length of the value(4), key, value.
type journal struct {
	dir  string
	size int64                // of the first segments, in bytes
	sync func(*os.File) error // of a file's content
	last uint64               // number of the last record; of who writes, as sum
	sum  uint32               // its checksum; any number if there is none
	kept bool                 // close leaves it all: something is missing, and somebody may want to look
	gap  *uint64              // the last record before what is missing; nil: nothing is

	syncing sync.Mutex
	mu      sync.Mutex
	failed  error      // why nothing is written any more: what a failed write or sync has left is not known
	made    int        // number in the name of the segment that was made last
	current *segment   // nil: the next record needs another one
	used    []*segment // before it, oldest first
	free    []*segment
}

// segment is one file of a journal.
type segment struct {
	f           *os.File
	path        string
	size, end   int64  // of the file, and of the records in it
	first, last uint64 // numbers of those; 0: there is none
	before, sum uint32 // checksums of the one before the first, and of the last
}

const (
	journalExt   = ".journal"
	journalMagic = "PMJ1"
	journalHead  = 24      // bytes of a record before its body
	firstSegment = 1 << 20 // bytes of the first segment of a journal: it is made while somebody waits for the gateway
	mostSegment  = 8       // times that is the largest: a start reads all of a segment to see where it ends
)

// lost is an error that says which records of a journal are missing: nothing brings them back.
type lost struct{ error }

// hasJournal tells whether there is one in the directory of a database.
func hasJournal(dir string) bool { return len(journalFiles(dir)) > 0 }

func journalFiles(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "*"+journalExt)) // the pattern is sound
	return names
}

// numberOf is the number that a segment or a volume is named by; 0 for another name, which does not stand in the way of the next number.
func numberOf(path string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))) // 0 if it is none
	return n
}

// createJournal makes an empty journal.
func createJournal(dir string) error {
	j := journal{dir: dir}
	s, err := j.make(firstSegment)
	if err != nil {
		return err
	}
	return s.f.Close()
}

// openJournal opens the segments that there are. Its records are read by replay, before any is appended.
func openJournal(dir string, size int64) (*journal, error) {
	j := &journal{dir: dir, size: size, sync: syncContent, sum: rand.Uint32()}
	for _, path := range journalFiles(dir) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the ledger's journal: %w", err), j.close(false))
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the ledger's journal: %w", err), f.Close(), j.close(false))
		}
		j.free = append(j.free, &segment{f: f, path: path, size: info.Size()})
		j.made = max(j.made, numberOf(path))
	}
	return j, nil
}

// make makes a segment whose blocks are written, and its name durable.
func (j *journal) make(size int64) (*segment, error) {
	j.mu.Lock()
	j.made++
	s := &segment{path: filepath.Join(j.dir, fmt.Sprintf("%06d%s", j.made, journalExt)), size: size}
	j.mu.Unlock()
	unfinished := s.path + ".new"
	var err error
	if s.f, err = os.OpenFile(unfinished, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, fmt.Errorf("making a segment of the ledger's journal: %w", err)
	}
	err = fill(s.f, size)
	if err == nil {
		err = s.f.Sync()
	}
	if err == nil {
		err = os.Rename(unfinished, s.path)
	}
	if err == nil {
		err = syncDir(j.dir)
	}
	if err != nil {
		os.Remove(unfinished) //nolint:errcheck // the next start does it otherwise
		return nil, errors.Join(fmt.Errorf("making a segment of the ledger's journal: %w", err), s.f.Close())
	}
	return s, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replay calls before for each record that is still here though the database has it, among them remains of others with the same numbers, and
// then fn for the body of each record after that, in their order, and makes ready for the next. An error that is not theirs names what
// is missing up to the last record that was acknowledged; the records before it were handed out.
func (j *journal) replay(has, acknowledged uint64, before, fn func(number uint64, body []byte) error) error {
	var filled []*segment
	segments := j.free
	j.free, j.last = nil, max(has, acknowledged)
	for _, s := range segments {
		if err := s.read(func(number uint64, body []byte) error {
			if number > has {
				return nil
			}
			return before(number, body)
		}); err != nil {
			j.free, j.used = nil, segments
			return err
		}
		if s.last <= has {
			j.free = append(j.free, s)
			continue
		}
		filled = append(filled, s)
		j.last = max(j.last, s.last)
	}
	slices.SortFunc(filled, func(x, y *segment) int { return cmp.Compare(x.first, y.first) })
	next, gap := has+1, error(nil)
	for i, s := range filled {
		if s.first > next {
			if gap == nil {
				gap = lost{fmt.Errorf("the ledger's journal lacks records %d to %d", next, s.first-1)}
				j.lacks(next)
			}
			if s.before != sumAfter(next) {
				j.used = append(j.used, s) // for whoever looks into it
				continue
			}
			next = s.first // keys that were changed while the ledger was halted for just that
		} else if i > 0 && s.before != j.sum {
			j.free = append(j.free, filled[i:]...) // they follow a record that another one has taken the place of
			break
		}
		j.used, j.sum = append(j.used, s), s.sum
		err := s.read(func(number uint64, body []byte) error {
			if number < next {
				return nil
			}
			next++
			return fn(number, body)
		})
		if err == nil {
			err = j.sync(s.f) // a process that was killed may have left it in the kernel's memory alone
		}
		if err != nil {
			return err
		}
	}
	if gap == nil && acknowledged >= next {
		gap = lost{fmt.Errorf("the ledger's journal ends with record %d, but record %d was acknowledged: the tail is lost", next-1, acknowledged)}
		j.lacks(next)
	}
	if gap != nil {
		if j.last >= next {
			j.sum = sumAfter(next)
		}
		return gap
	}
	j.last = next - 1
	if n := len(j.used); n > 0 {
		j.current, j.used = j.used[n-1], j.used[:n-1]
		return errors.Join(j.current.again(), j.sync(j.current.f))
	}
	return nil
}

// lacks notes that records from a number on are missing.
func (j *journal) lacks(next uint64) {
	whole := next - 1
	j.gap = &whole
}

// reached is what the database says that it has when it has a record: nothing behind what is missing, or the next start would not miss it.
func (j *journal) reached(number uint64) uint64 {
	if j.gap != nil {
		return min(number, *j.gap)
	}
	return number
}

// sumAfter stands for the checksum of the record before the first one that is written when those from a number on are known to be missing.
func sumAfter(missing uint64) uint32 {
	return checksum([]byte("lost"), binary.LittleEndian.AppendUint64(nil, missing))
}

// again writes the records of a segment once more: after a sync that failed the kernel may take for written what is in its memory alone, also in the
// next process, and only the last segment can have such records.
func (s *segment) again() error {
	data := make([]byte, s.end)
	_, err := s.f.ReadAt(data, 0)
	if err == nil {
		_, err = s.f.WriteAt(data, 0)
	}
	if err != nil {
		return fmt.Errorf("writing the last segment of the ledger's journal again: %w", err)
	}
	return nil
}

// read calls fn for the records of a segment, and notes their numbers and where they end.
func (s *segment) read(fn func(number uint64, body []byte) error) error {
	data := make([]byte, s.size)
	if _, err := s.f.ReadAt(data, 0); err != nil {
		return fmt.Errorf("reading the ledger's journal: %w", err)
	}
	s.first, s.last, s.end = 0, 0, 0
	for {
		rest := data[s.end:]
		if len(rest) < journalHead || string(rest[:4]) != journalMagic {
			return nil
		}
		length, number := int64(binary.LittleEndian.Uint32(rest[4:])), binary.LittleEndian.Uint64(rest[8:])
		if length > int64(len(rest)-journalHead) || s.last != 0 && number != s.last+1 || number == 0 {
			return nil
		}
		before, sum, body := binary.LittleEndian.Uint32(rest[16:]), binary.LittleEndian.Uint32(rest[20:]), rest[journalHead:journalHead+length]
		if sum != checksum(rest[:20], body) || s.last != 0 && before != s.sum {
			return nil
		}
		if s.last == 0 {
			s.first, s.before = number, before
		}
		s.last, s.sum = number, sum
		s.end += journalHead + length
		if err := fn(number, body); err != nil {
			return err
		}
	}
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, head), castagnoli, body)
}

// write writes a record, which the next flush brings to disk. After an error of either both fail.
func (j *journal) write(r *record) error {
	length := int64(len(r.data))
	if j.current == nil || j.current.end+length > j.current.size {
		if err := j.flush(); err != nil {
			return err
		}
		if err := j.turn(length); err != nil {
			return j.fail(err)
		}
	}
	s := j.current
	r.number = j.last + 1
	sum := r.seal(j.sum)
	if _, err := s.f.WriteAt(r.data, s.end); err != nil {
		return j.fail(err)
	}
	j.last, j.sum = r.number, sum
	j.mu.Lock()
	defer j.mu.Unlock()
	s.end, s.last = s.end+length, r.number
	return j.failed
}

// flush returns once all records that were written before are on disk. It may be called while others are being written. One follows the other, for of two that sync
// the same file the kernel tells one alone that its disk failed.
func (j *journal) flush() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	s, err := j.current, j.failed
	j.mu.Unlock()
	if s == nil || err != nil {
		return err
	}
	if err := j.sync(s.f); err != nil {
		return j.fail(err)
	}
	return nil
}

// fail ends all writing; what is there is kept for the next start.
func (j *journal) fail(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil {
		j.failed, j.kept = fmt.Errorf("writing the ledger's journal: %w", err), true
	}
	return j.failed
}

// turn goes on in a segment with room for a record. Usually one lies ready.
func (j *journal) turn(length int64) error {
	j.mu.Lock()
	if j.current != nil {
		j.used = append(j.used, j.current)
		j.current = nil
	}
	i := slices.IndexFunc(j.free, func(s *segment) bool { return s.size >= length })
	if i >= 0 {
		j.current = j.free[i]
		j.free = slices.Delete(j.free, i, i+1)
		j.current.end, j.current.last = 0, 0
	}
	j.mu.Unlock()
	if i >= 0 {
		return nil
	}
	s, err := j.make(max(j.next(), length))
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.current = s
	return nil
}

// next is the size of the next segment: a quarter of the journal, so that a large one is some dozen open files and a small one is small.
func (j *journal) next() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := int64(0)
	for _, s := range slices.Concat(j.used, j.free, []*segment{j.current}) {
		if s != nil {
			all += s.size
		}
	}
	return min(max(all/4/j.size, 1), mostSegment) * j.size
}

// wantsSpare tells whether a segment is wanted soon and none lies ready.
func (j *journal) wantsSpare() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.free) == 0 && j.current != nil && j.current.end > j.current.size/2
}

// addSpare makes a segment to lie ready.
func (j *journal) addSpare() error {
	s, err := j.make(j.next())
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.free = append(j.free, s)
	return nil
}

// release lets go of segments that hold no record after a number.
func (j *journal) release(through uint64) {
	if j.gap != nil {
		return // the next start wants all of it
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.used) > 0 && j.used[0].last <= through {
		j.free = append(j.free, j.used[0])
		j.used = j.used[1:]
	}
}

// close closes the journal. If it is done with, because the database has all of it, one segment stays, for the next start.
func (j *journal) close(done bool) error {
	segments := append(j.free, j.used...)
	if j.current != nil {
		segments = append(segments, j.current)
	}
	slices.SortFunc(segments, func(x, y *segment) int { return cmp.Compare(x.size, y.size) })
	var errs []error
	for i, s := range segments {
		errs = append(errs, s.f.Close())
		if done && i > 0 && !j.kept {
			errs = append(errs, os.Remove(s.path))
		}
	}
	return errors.Join(errs...)
}

// record is a commit on its way: what it sets in the database, as it stands in the journal. It belongs to who commits, then to the applier.
type record struct {
	number   uint64
	data     []byte // head and body
	sets     int    // records of the database in it
	key      int    // where the one that is being added begins, and its value
	value    int
	maxValue int64 // bytes
	err      error // the first one that Badger would not take
}

const (
	setHead = 6     // bytes before a key
	maxKey  = 65000 // bytes; Badger's own limit
)

func (r *record) reset(maxValue int64) {
	*r = record{data: append(r.data[:0], make([]byte, journalHead)...), maxValue: maxValue}
}

// begin adds a record of the database; its value is what is appended to data until end is called.
func (r *record) begin(key []byte) {
	r.key = len(r.data)
	r.data = append(append(r.data, make([]byte, setHead)...), key...)
	r.value = len(r.data)
	r.sets++
}

func (r *record) end() {
	key, value := r.value-r.key-setHead, len(r.data)-r.value
	switch {
	case r.err != nil:
	case key > maxKey:
		r.err = fmt.Errorf("a key of %d bytes is too large, the most is %d", key, maxKey)
	case int64(value) >= r.maxValue:
		r.err = fmt.Errorf("a record of %d bytes is too large, the most is %d", value, r.maxValue-1)
	}
	binary.LittleEndian.PutUint16(r.data[r.key:], uint16(key))
	binary.LittleEndian.PutUint32(r.data[r.key+2:], uint32(value))
}

// set adds a record of the database.
func (r *record) set(key, value []byte) {
	r.begin(key)
	r.data = append(r.data, value...)
	r.end()
}

// point adds an index record: a ledger position.
func (r *record) point(key []byte, position uint64) {
	r.begin(key)
	r.data = binary.BigEndian.AppendUint64(r.data, position)
	r.end()
}

// seal fills in the head and returns the checksum.
func (r *record) seal(before uint32) (sum uint32) {
	head := r.data[:journalHead]
	copy(head, journalMagic)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(r.data)-journalHead))
	binary.LittleEndian.PutUint64(head[8:], r.number)
	binary.LittleEndian.PutUint32(head[16:], before)
	sum = checksum(head[:20], r.data[journalHead:])
	binary.LittleEndian.PutUint32(head[20:], sum)
	return sum
}

// eachSet calls fn for what a body sets. Key and value are parts of it.
func eachSet(body []byte, fn func(key, value []byte) error) error {
	for len(body) > 0 {
		if len(body) < setHead {
			return errors.New("a record of the ledger's journal ends in the midst")
		}
		key := int(binary.LittleEndian.Uint16(body))
		end := setHead + key + int(binary.LittleEndian.Uint32(body[2:]))
		if end > len(body) {
			return errors.New("a record of the ledger's journal ends in the midst")
		}
		if err := fn(body[setHead:setHead+key:setHead+key], body[setHead+key:end:end]); err != nil {
			return err
		}
		body = body[end:]
	}
	return nil
}
