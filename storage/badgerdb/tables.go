package badgerdb

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

// checkBytes is how much of the newest tables a start reads to see whether a block is damaged: half a second's work on a
// plain disk. Verify reads all.
const checkBytes = 1 << 30

// checkTables reads the index of every table in a database's directory, and the blocks of the newest tables up to a number of
// bytes. Badger does the first in goroutines of its own and the second when it compacts, where a damaged file is a panic that nobody can
// recover from; here it is an error that names the file. Files that are not in the manifest are no tables: a process that was
// killed may leave them half written, and Badger removes them.
func checkTables(o badger.Options, blocks int64) error {
	var manifest badger.Manifest
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if err == nil {
		defer f.Close()
		err = guard("reading the manifest", func() error {
			manifest, _, err = badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
			return err
		})
	}
	if err != nil {
		return nil // opening the database tells
	}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(manifest.Tables))) { // ids grow
		path := table.NewFilename(id, o.Dir)
		size, err := checkTable(path, blocks > 0)
		if err != nil {
			return fmt.Errorf("table %s is damaged: %w", filepath.Base(path), err)
		}
		blocks -= size
	}
	return nil
}

func checkTable(path string, blocks bool) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	if size == 0 {
		return 0, fmt.Errorf("it is empty")
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer syscall.Munmap(data)
	return size, guard("reading it", func() error {
		mode := options.NoVerification
		if blocks {
			mode = options.OnTableRead
		}
		t, err := table.OpenInMemoryTable(data, 0, &table.Options{ChkMode: mode})
		if err == nil && blocks {
			err = t.VerifyChecksum()
		}
		return err
	})
}

// uncompacted makes Badger rewrite no table: the options for a database that is damaged, or a copy that is only read. What a
// killed process left in its log must then never wait for room among the tables.
func uncompacted(o badger.Options) badger.Options {
	return o.WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt)
}

// watchTables looks for table files that came to nothing. Badger (as of 4.9.6) forgets the error when a compaction cannot
// create a table: it goes on without that one, and removes those that it was to replace. So when a file is there for a minute and is no
// table, the ledger is proven anew, and halts if lines are gone. Only the sweeper calls it.
func (s *Store) watchTables() {
	paths, err := filepath.Glob(filepath.Join(s.config.Dir, "ledger", "*.sst"))
	if err != nil {
		return
	}
	stray := map[uint64]bool{} // whether it has been judged
	for _, path := range paths {
		if id, ok := table.ParseFileID(path); ok {
			stray[id] = false
		}
	}
	for _, t := range s.db.Tables() {
		delete(stray, t.ID)
	}
	suspect := false
	for id := range stray {
		judged, seen := s.stray[id]
		stray[id] = seen
		suspect = suspect || seen && !judged
	}
	s.stray = stray
	if suspect {
		s.config.Logger.Warn("a table could not be written: the ledger is proven again", "tables", slices.Sorted(maps.Keys(stray)))
		poke(s.online.asked)
	}
}
