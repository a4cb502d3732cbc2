package badgerdb

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	memoryFiles    = "/dev/shm"
	memoryFileRoom = 16 << 20 // bytes that must be free there; some 8 KiB are used
	valueLogHeader = 20       // bytes of an empty value log; the rest of the file is 0
)

// unsyncedDir makes the directory in memory in which the value log of the database at dir goes, and returns "" where that cannot be.
//
// All values of the ledger are in Badger's tree, so the value log stays empty; but Badger synchronizes it in every commit before the write-ahead
// log, and a file system on a disk flushes the disk's cache for that although nothing was written: a third of what a commit takes. In
// memory it takes nothing. Nothing of the ledger is there: the directory goes with Close, with the next start, or with the machine's.
//
// Its name is that of the directory's inode, so two gateways never have the same; it is made anew, so nobody else can have made it.
func unsyncedDir(dir string) string {
	var disk unix.Stat_t
	var memory unix.Statfs_t
	if unix.Stat(dir, &disk) != nil || unix.Statfs(memoryFiles, &memory) != nil || memory.Type != unix.TMPFS_MAGIC ||
		memory.Bavail*uint64(memory.Bsize) < memoryFileRoom || holdsValues(dir) {
		return ""
	}
	path := filepath.Join(memoryFiles, fmt.Sprintf("pointsman-%x-%x", disk.Dev, disk.Ino))
	if os.RemoveAll(path) != nil || syscall.Mkdir(path, 0o700) != nil {
		return ""
	}
	return path
}

// holdsValues tells whether a value log at dir has values, or cannot be read.
func holdsValues(dir string) bool {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.vlog")) // the pattern is sound
	for _, name := range logs {
		f, err := os.Open(name)
		if err != nil {
			return true
		}
		begin := make([]byte, valueLogHeader+64)
		n, err := io.ReadFull(f, begin)
		_ = f.Close()
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF || len(bytes.Trim(begin[min(n, valueLogHeader):n], "\x00")) > 0 {
			return true
		}
	}
	return false
}
