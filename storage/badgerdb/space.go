package badgerdb

import (
	"time"

	"github.com/pointsman/pointsman/storage"
)

// spaceEvery is how often the committer looks whether there is room again.
const spaceEvery = 20 * time.Millisecond

// roomy tells whether there is room for what Badger writes next: what is being committed, and the tables that follow from it.
// Its files are mapped, so that a disk which fills up under them kills the process. Holds are refused far earlier, but
// settlements go on then, and another process can fill any disk.
func (c *Config) roomy() bool {
	if c.MinFreeMB < 0 {
		return true
	}
	free, err := freeBytes(c.Dir)
	return err != nil || free >= min(uint64(c.MinFreeMB)<<20/2, openFreeBytes)
}

// awaitRoom returns when there is room for a batch. Whoever waits for a settlement in it waits as well: it is decided, and a ledger
// that halted instead would need a restart. It gives up when the store is closed.
func (s *Store) awaitRoom() error {
	for !s.config.roomy() {
		s.watchSpace()
		select {
		case <-time.After(spaceEvery):
		case <-s.stop:
			return storage.ErrLowSpace
		}
	}
	return nil
}
