package badgerdb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Verify checks the whole ledger in a data directory whose gateway is stopped, from the first line to the last, and changes
// nothing in it. When all holds it writes one line to w; otherwise the error is one line that names the first fault.
func Verify(dir string, w io.Writer) error {
	began := time.Now()
	s, err := OpenSnapshot(dir)
	if err != nil {
		return inOneLine(err)
	}
	defer s.Close()
	a, err := s.prove(0, s.pace.step)
	if err == nil {
		err = guard("verifying the ledger", s.db.VerifyChecksum)
	}
	if err != nil {
		return inOneLine(err)
	}
	_, err = fmt.Fprintf(w, "ledger ok: %d entries, %d accounts, %d open holds, posted %s credits, sum %s, head %x, checked in %s\n",
		a.Position, len(a.Standing), len(a.Holds), a.Posted, a.Sum(), a.Hash, time.Since(began).Round(time.Millisecond))
	return err
}

// inOneLine is an error without the line breaks that Badger's messages may have.
func inOneLine(err error) error {
	if text := err.Error(); strings.Contains(text, "\n") {
		return errors.New(oneLine(text))
	}
	return err
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

// copyDatabase copies Badger's files, linking tables and volumes where the file system allows.
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
		if ext := filepath.Ext(source); (ext == ".sst" || ext == volumeExt) && os.Link(source, target) == nil {
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
