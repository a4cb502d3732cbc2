package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// partialFile is a file that gets its name when it is whole: until then it ends in .partial.
type partialFile struct {
	file *os.File
	path string
	sum  hash.Hash // of what was written
}

// createPartial begins a file, readable by its owner alone, at a path where there is none.
func createPartial(path string) (*partialFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s exists already", path)
	}
	f, err := os.OpenFile(path+".partial", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &partialFile{f, path, sha256.New()}, nil
}

// Write writes on.
func (p *partialFile) Write(b []byte) (int, error) {
	p.sum.Write(b)
	return p.file.Write(b)
}

// finish makes sure that the disk holds what was written, and gives the file its name.
func (p *partialFile) finish() error {
	err := p.file.Sync()
	if err == nil {
		err = p.compare()
	}
	if err = errors.Join(err, p.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), p.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(p.path))
}

// syncDir puts the names in a directory on disk, where the system can.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	dir.Sync() //nolint:errcheck // not every system can
	return nil
}

// compare reads the file back.
func (p *partialFile) compare() error {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	read := sha256.New()
	if _, err := io.Copy(read, p.file); err != nil {
		return err
	}
	if !bytes.Equal(read.Sum(nil), p.sum.Sum(nil)) {
		return fmt.Errorf("%s does not read back as it was written", p.file.Name())
	}
	return nil
}

// discard removes what was not finished.
func (p *partialFile) discard() {
	p.file.Close()           //nolint:errcheck // closed already if it was finished
	os.Remove(p.file.Name()) //nolint:errcheck // likewise renamed
}

// writeSynced writes a new file, readable by its owner alone, that is on disk when it returns: what stands beside a ledger is needed
// with it after a failure of the power.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
