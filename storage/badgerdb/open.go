package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// openFreeBytes must be free to open a database at all: Badger maps its files, and a full disk under a mapped file kills
// the process instead of returning an error.
const openFreeBytes = 48 << 20

// openDatabase makes <dir>/<name> private, makes sure no other process has it open, and opens it with a panic of Badger
// (it panics on some damaged files) turned into an error.
func openDatabase(config Config, name string, opts func(badger.Options) badger.Options) (db *badger.DB, err error) {
	return openPrepared(config, name, opts, removeUnborn)
}

// openPrepared is openDatabase with something else to be done first, while nobody has the directory.
func openPrepared(config Config, name string, opts func(badger.Options) badger.Options, prepare func(dir string) error) (db *badger.DB, err error) {
	dir := filepath.Join(config.Dir, name)
	if err := privateDir(config.Dir, dir); err != nil {
		return nil, err
	}
	free, err := config.free(dir)
	if err == nil && free < openFreeBytes && config.hasBallast() {
		config.dropBallast()
		free, err = config.free(dir)
	}
	if err == nil && config.MinFreeMB >= 0 && free < openFreeBytes {
		return nil, fmt.Errorf("opening %s: only %d MiB of disk space are free, %d are needed", dir, free>>20, openFreeBytes>>20)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	o := opts(config.badgerOptions(dir))
	if config.tune != nil {
		o = config.tune(o)
	}
	if err := errors.Join(prepare(dir), damageOf(checkTables(o, 0)), lock.Close()); err != nil { // Badger takes the same lock itself; between the two nothing was touched yet
		return nil, fmt.Errorf("preparing data directory %s: %w", dir, err)
	}
	err = guard("opening "+dir, func() error {
		db, err = badger.Open(o)
		return err
	})
	if err == nil {
		return db, nil
	}
	if lock, lockErr := lockDir(dir); lockErr != nil {
		err = lockErr // another process was faster
	} else {
		lock.Close()
		err = damageOf(err)
	}
	return nil, err
}

// ErrDamaged says of an error that it is about what is in the files of a database, and not about what the system would not do.
var ErrDamaged = errors.New("the database is damaged")

// damage is an error that is [ErrDamaged], and says no more than it did.
type damage struct{ error }

func (d damage) Unwrap() error        { return d.error }
func (d damage) Is(target error) bool { return target == ErrDamaged }

// damageOf says that an error of reading a database is damage, unless the system refused something. Badger tells of that as text alone.
func damageOf(err error) error {
	if err == nil {
		return nil
	}
	var refused syscall.Errno
	if errors.As(err, &refused) && refused != syscall.ENOENT { // a file that others name is missing
		return err
	}
	for _, refused := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EINTR, syscall.EAGAIN,
	} {
		if strings.Contains(err.Error(), refused.Error()) {
			return err
		}
	}
	return damage{err}
}

// removeUnborn removes logs without a byte, which a kill leaves between the making of the file and its first write: Badger
// refuses to open a database that has one.
func removeUnborn(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if ext := filepath.Ext(file.Name()); ext != ".vlog" && ext != ".mem" {
			continue
		}
		info, err := file.Info()
		if err == nil && info.Size() == 0 {
			err = os.Remove(filepath.Join(dir, file.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// privateDir creates the directories for the owner alone, and closes existing ones to others.
func privateDir(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("creating data directory: %w", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("making data directory private: %w", err)
		}
	}
	return nil
}

// dirLock is Badger's own lock on a directory.
type dirLock struct{ f *os.File }

// Close gives the lock back. A process that is being started at this moment has a copy of the descriptor until it runs its
// own program, and closing ours alone would leave the lock to that one: the gateway starts its plugins meanwhile.
func (l dirLock) Close() error {
	return errors.Join(syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN), l.f.Close())
}

// lockDir takes the lock on the directory, or says which process holds it. A database that was closed a moment ago may still be locked, by a
// copy of Badger's descriptor as in [dirLock.Close]: then no process has left its number, and lockDir waits a little.
func lockDir(dir string) (dirLock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return dirLock{}, fmt.Errorf("opening data directory: %w", err)
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return dirLock{f}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return dirLock{}, fmt.Errorf("locking data directory %s: %w", dir, err)
		}
		pid, _ := os.ReadFile(filepath.Join(dir, "LOCK"))
		owner := "another process"
		if len(pid) > 1 {
			owner = "process " + strings.TrimSpace(string(pid))
		}
		if len(pid) > 1 || time.Since(began) > lockPatience {
			f.Close()
			return dirLock{}, fmt.Errorf("data directory %s %w %s", dir, ErrInUse, owner)
		}
	}
}

// lockPatience is more than a process needs from being made to running its program.
const lockPatience = time.Second

// guard runs fn and returns a panic in it as an error. Whatever is wrong is told in one line.
func guard(doing string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: the database is damaged: %s", doing, oneLine(fmt.Sprint(p)))
		}
	}()
	err = fn()
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "\n"): // Badger's own, which wraps nothing that anybody decides on
		return fmt.Errorf("%s: %s", doing, oneLine(err.Error()))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// checkSchema writes the schema version into a new database, and returns the one that a database has.
func checkSchema(db *badger.DB, key []byte, version uint32) (have uint32, err error) {
	err = guard("reading the schema", func() error {
		return db.Update(func(txn *badger.Txn) error {
			item, err := txn.Get(key)
			if errors.Is(err, badger.ErrKeyNotFound) {
				have = version
				return txn.Set(key, schemaValue(version))
			}
			if err != nil {
				return err
			}
			return item.Value(func(v []byte) error {
				if len(v) != 4 {
					return fmt.Errorf("the database has schema %x, which no program wrote", v)
				}
				have = binary.BigEndian.Uint32(v)
				return nil
			})
		})
	})
	return have, err
}

func schemaValue(version uint32) []byte { return binary.BigEndian.AppendUint32(nil, version) }

// errSchema says that another program's database was found.
func errSchema(have, known uint32) error {
	return fmt.Errorf("the database has schema %d, this program knows %d", have, known)
}

// freeBytes is what an unprivileged process may still write under dir.
func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("reading free disk space: %w", err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

const (
	plenty     = 2 << 30 // bytes that nobody fills within freshSpace
	freshSpace = 20 * time.Millisecond
)

// seldom makes a function that tells of free space and asks again only after a while as long as there is plenty, for every commit wants to know.
func seldom(ask func(dir string) (uint64, error)) func(dir string) (uint64, error) {
	type look struct {
		dir  string
		at   time.Time
		free uint64
	}
	var last atomic.Pointer[look]
	return func(dir string) (uint64, error) {
		if l := last.Load(); l != nil && l.dir == dir && time.Since(l.at) < freshSpace {
			return l.free, nil
		}
		free, err := ask(dir)
		if err == nil && free > plenty {
			last.Store(&look{dir, time.Now(), free})
		}
		return free, err
	}
}

func message(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
