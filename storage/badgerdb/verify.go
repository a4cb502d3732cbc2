package badgerdb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/ledger"
)

// Verify checks the whole ledger in a data directory whose gateway is stopped, from the first line to the last, and changes
// nothing in it. When all holds it writes one line to w; otherwise the error is one line that names the first fault.
//
// It works on a private copy in which Badger may repair what it likes (a database that was killed cannot be opened without
// that); table files never change once written and are linked, not copied.
func Verify(dir string, w io.Writer) error {
	began := time.Now()
	source := filepath.Join(dir, "ledger")
	lock, err := lockDir(source)
	if err != nil {
		return err
	}
	defer lock.Close()
	scratch, err := os.MkdirTemp(dir, ".verify-")
	if err != nil {
		scratch, err = os.MkdirTemp("", "pointsman-verify-")
	}
	if err != nil {
		return fmt.Errorf("verifying the ledger: %w", err)
	}
	defer os.RemoveAll(scratch)
	if err := copyDatabase(source, filepath.Join(scratch, "ledger")); err != nil {
		return fmt.Errorf("verifying the ledger: %w", err)
	}
	mark, err := readHeadFile(dir)
	if err != nil {
		return err
	}
	var a *ledger.Audit
	err = guard("verifying the ledger", func() error {
		a, err = verifyCopy(scratch, mark)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "ledger ok: %d entries, %d accounts, %d open holds, posted %s credits, sum %s, head %x, checked in %s\n",
		a.Position, len(a.Standing), len(a.Holds), a.Posted, a.Sum(), a.Hash, time.Since(began).Round(time.Millisecond))
	return err
}

func verifyCopy(dir string, mark headMark) (a *ledger.Audit, err error) {
	config, err := Config{Dir: dir, MinFreeMB: -1}.withDefaults()
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(config, "ledger", uncompacted)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = db.View(func(txn *badger.Txn) error {
		a, err = prove(txn, mark, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	records, err := list[storage.Account](db, []byte{keyAccount})
	if err == nil {
		err = a.CheckAccounts(records)
	}
	if err == nil {
		err = db.VerifyChecksum()
	}
	return a, err
}

// readHeadFile returns the head mark without creating the file; position 0 when there is none.
func readHeadFile(dir string) (headMark, error) {
	f, err := os.Open(filepath.Join(dir, headName))
	if errors.Is(err, os.ErrNotExist) {
		return headMark{}, nil
	}
	if err != nil {
		return headMark{}, fmt.Errorf("opening the ledger's head file: %w", err)
	}
	defer f.Close()
	return readHeadMark(f)
}

// copyDatabase copies Badger's files, linking tables where the file system allows.
func copyDatabase(from, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		source, target := filepath.Join(from, file.Name()), filepath.Join(to, file.Name())
		if !file.Type().IsRegular() || file.Name() == "LOCK" {
			continue
		}
		if strings.HasSuffix(source, ".sst") && os.Link(source, target) == nil {
			continue
		}
		if err := copyFile(source, target); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
