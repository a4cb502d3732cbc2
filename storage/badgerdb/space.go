package badgerdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// Badger's files are mapped into memory, and running out of disk space under them kills the process instead of returning an
// error. So holds are refused while there is less than a low-water mark, and the log stops before the last of it is gone: what is
// left is for settlements. When the mark is reached, a file that only took up space, the ballast, is deleted, so that whoever makes
// room has some to work with. It is made again, and the low water is over, once there is room for it above the mark.

const ballastName = "ballast"

// space watches the disk under a data directory.
type space struct {
	config Config
	low    atomic.Bool
	free   atomic.Uint64 // bytes, as last seen
	warned bool          // that the ballast cannot be made
}

// watch looks at the disk. One goroutine calls it.
func (s *space) watch() {
	c := &s.config
	free, err := c.free(c.Dir)
	if err != nil || c.MinFreeMB < 0 {
		return
	}
	s.free.Store(free)
	mark, ballast := uint64(c.MinFreeMB)<<20, uint64(c.BallastMB)<<20
	held := c.hasBallast()
	low := free < mark
	if s.low.Load() && !held {
		low = free < mark+ballast
	}
	switch {
	case low && held:
		c.dropBallast()
		c.Logger.Warn("the disk is nearly full: the ballast file is deleted to make room", "path", filepath.Join(c.Dir, ballastName), "mib", c.BallastMB)
	case !low && !held && ballast > 0 && free >= mark+ballast:
		err := c.makeBallast(int64(ballast))
		if err != nil && !s.warned {
			c.Logger.Warn("the ballast file cannot be made", "error", err)
		}
		s.warned = err != nil
	}
	switch was := s.low.Swap(low); {
	case low && !was:
		c.Logger.Warn("disk space is below the low-water mark: what costs credits is refused until there is room",
			"free_mib", free>>20, "min_free_mb", c.MinFreeMB, "ends_at_mib", (mark+ballast)>>20)
	case was && !low:
		c.Logger.Info("there is disk space again: what costs credits is taken", "free_mib", free>>20)
	}
}

// Space tells whether the disk is below its low-water mark, which refuses holds, and how many bytes were free a second ago.
func (s *Store) Space() (low bool, free uint64) { return s.space.low.Load(), s.space.free.Load() }

// hasBallast tells whether the file is there. One of another size, of a former configuration, is deleted.
func (c *Config) hasBallast() bool {
	info, err := os.Lstat(filepath.Join(c.Dir, ballastName))
	if err == nil && info.Size() != int64(c.BallastMB)<<20 {
		c.dropBallast()
		return false
	}
	return err == nil
}

func (c *Config) dropBallast() {
	if err := os.Remove(filepath.Join(c.Dir, ballastName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Logger.Warn("the ballast file cannot be deleted", "error", err)
	}
}

// makeBallast makes the file under another name first: half of one is none.
func (c *Config) makeBallast(size int64) error {
	path := filepath.Join(c.Dir, ballastName)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(allocate(f, size), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("making %s: %w", path, err), os.Remove(path+".new"))
	}
	return nil
}

// fill writes a file's blocks, for systems and file systems that cannot just take them.
func fill(f *os.File, size int64) error {
	block := make([]byte, flowSize)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
		writeOut(f, at, int64(len(block)))
	}
	return nil
}

// spaceEvery is how often a commit looks whether there is room again.
const spaceEvery = 20 * time.Millisecond

// roomy tells whether there is room for what Badger writes next: what is being committed, and the tables that follow from it.
// Its files are mapped, so that a disk which fills up under them kills the process. Holds are refused far earlier, but
// settlements go on then, and another process can fill any disk.
func (c *Config) roomy() bool {
	if c.MinFreeMB < 0 {
		return true
	}
	free, err := c.free(c.Dir)
	return err != nil || free >= min(uint64(c.MinFreeMB)<<20/2, openFreeBytes)
}

// awaitRoom returns when there is room for a batch. Whoever waits for a settlement in it waits as well: it is decided, and a ledger
// that halted instead would need a restart. It gives up when stop is closed, with an error, or when unless, if there is one, says so.
func (c *Config) awaitRoom(stop <-chan struct{}, unless func() bool) (room bool, err error) {
	for !c.roomy() {
		if unless != nil && unless() {
			return false, nil
		}
		select {
		case <-time.After(spaceEvery):
		case <-stop:
			return false, storage.ErrLowSpace
		}
	}
	return true, nil
}
