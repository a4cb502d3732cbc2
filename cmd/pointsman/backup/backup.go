// Package backup is the file format of backups: a tar archive in which each file of the backup is a row of parts, so that it
// can be written while it is not known how long it becomes, and a manifest behind them with the length and the SHA-256 of each
// file. An archive without its manifest is not whole. See docs/ledger.md.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// Format is the version of the format.
const Format = 1

// Names of the files in a backup.
const (
	Ledger  = "ledger"     // stream of records
	Log     = "log"        // stream of records
	OwnKeys = "own.keys"   // shares that own provider keys are sealed with
	Vault   = "vault.json" // the pepper, sealed, and under which keys
	RootKey = "root.key"

	manifestName = "manifest.json"
	failureName  = "failure.txt"
	partSize     = 1 << 20
	maxSmall     = 1 << 20 // of a manifest, in bytes
)

// Manifest says what is in a backup.
type Manifest struct {
	Format   int       `json:"format"`
	Gateway  string    `json:"gateway"` // version of the program
	Created  time.Time `json:"created"`
	Position uint64    `json:"ledger_position"` // the ledger was proven up to it
	Head     string    `json:"ledger_head"`     // hash of that line, in hex
	Accounts uint64    `json:"accounts"`
	Open     uint64    `json:"open_holds"`
	Posted   string    `json:"credits_posted"`
	// RootKey is the fingerprint of the root key that belongs to it, see Fingerprint; "" if there is none, because the
	// key-encryption key is kept elsewhere.
	RootKey string `json:"root_key_fingerprint"`
	Files   []File `json:"files"`
}

// File is one of a backup's.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// SetStanding notes the ledger's standing.
func (m *Manifest) SetStanding(s storage.LedgerSummary) {
	m.Position, m.Head, m.Accounts, m.Open, m.Posted = s.Position, hex.EncodeToString(s.Hash[:]), s.Accounts, s.OpenHolds, s.Posted.String()
}

// Holds tells whether a file is in the backup.
func (m *Manifest) Holds(name string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name })
}

// Fingerprint tells root keys apart without telling anything of them; "" of none.
func Fingerprint(rootKey []byte) string {
	if rootKey == nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte("pointsman root key\n"), bytes.TrimSpace(rootKey)...))
	return hex.EncodeToString(sum[:8])
}

// Writer writes a backup.
type Writer struct {
	tar   *tar.Writer
	now   time.Time
	files []File
}

// NewWriter begins a backup that is dated now.
func NewWriter(w io.Writer, now time.Time) *Writer {
	return &Writer{tar: tar.NewWriter(w), now: now.UTC().Truncate(time.Second)}
}

// Add writes a file: what fill writes.
func (w *Writer) Add(name string, fill func(io.Writer) error) error {
	p := &parts{to: w, name: name, sum: sha256.New()}
	if err := fill(p); err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	w.files = append(w.files, File{name, p.bytes, hex.EncodeToString(p.sum.Sum(nil))})
	return nil
}

// Finish writes the manifest, with its files filled in, and ends the archive.
func (w *Writer) Finish(m Manifest) error {
	m.Format, m.Created, m.Files = Format, w.now, w.files
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = w.entry(manifestName, append(text, '\n'))
	}
	if err != nil {
		return err
	}
	return w.tar.Close()
}

// Fail writes why there will be no manifest, for whoever reads the archive.
func (w *Writer) Fail(cause error) {
	if w.entry(failureName, []byte(cause.Error())) == nil {
		w.tar.Close() //nolint:errcheck // the archive is broken already
	}
}

func (w *Writer) entry(name string, content []byte) error {
	err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600, ModTime: w.now, Format: tar.FormatPAX})
	if err == nil {
		_, err = w.tar.Write(content)
	}
	if err == nil {
		err = w.tar.Flush()
	}
	return err
}

// parts cuts a file into entries of the archive.
type parts struct {
	to     *Writer
	name   string
	buffer []byte
	count  int
	bytes  int64
	sum    hash.Hash
}

// Write takes the next bytes of the file.
func (p *parts) Write(b []byte) (n int, err error) {
	n = len(b)
	p.bytes += int64(n)
	p.sum.Write(b)
	for len(b) > 0 {
		take := min(len(b), partSize-len(p.buffer))
		p.buffer, b = append(p.buffer, b[:take]...), b[take:]
		if len(p.buffer) == partSize {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (p *parts) flush() error {
	if len(p.buffer) == 0 && p.count > 0 {
		return nil
	}
	p.count++
	err := p.to.entry(fmt.Sprintf("%s/%08d", p.name, p.count), p.buffer)
	p.buffer = p.buffer[:0]
	return err
}

// Read reads a backup in one pass: take is called with each file in turn and may leave a part of it unread. Only when Read
// returns the manifest without an error was the backup whole, and what take has read good.
func Read(r io.Reader, take func(name string, content io.Reader) error) (m Manifest, err error) {
	archive := &reader{tar: tar.NewReader(r)}
	var files []File
	if err := archive.next(); err != nil {
		return m, err
	}
	for archive.name != manifestName {
		content := &content{archive: archive, name: archive.name, part: 1, sum: sha256.New()}
		if archive.part != 1 || slices.ContainsFunc(files, func(f File) bool { return f.Name == content.name }) {
			return m, fmt.Errorf("the backup has the parts of %.64q in the wrong order", content.name)
		}
		if err := take(content.name, content); err != nil {
			return m, err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return m, err
		}
		files = append(files, File{content.name, content.bytes, hex.EncodeToString(content.sum.Sum(nil))})
	}
	text, err := io.ReadAll(io.LimitReader(archive.tar, maxSmall))
	if err != nil {
		return m, damaged(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("the backup's manifest cannot be read: %w", err)
	}
	switch {
	case m.Format != Format:
		return m, fmt.Errorf("the backup has format %d, this program knows %d", m.Format, Format)
	case !slices.Equal(m.Files, files):
		return m, fmt.Errorf("the backup is damaged: %s", difference(m.Files, files))
	}
	if _, err := archive.tar.Next(); !errors.Is(err, io.EOF) {
		return m, errors.New("the backup is damaged: it goes on behind its manifest")
	}
	return m, nil
}

// difference names the first file that is not as the manifest says.
func difference(want, have []File) string {
	for i, f := range want {
		if i >= len(have) || have[i].Name != f.Name {
			return fmt.Sprintf("%.64q is missing", f.Name)
		}
		if have[i] != f {
			return fmt.Sprintf("%.64q does not match its checksum", f.Name)
		}
	}
	return fmt.Sprintf("it holds %.64q, which its manifest does not know", have[len(want)].Name)
}

// reader goes from entry to entry.
type reader struct {
	tar  *tar.Reader
	name string
	part int // 0 for the manifest
}

// next moves to the next entry.
func (r *reader) next() error {
	header, err := r.tar.Next()
	if err != nil {
		return damaged(err)
	}
	name, number, divided := strings.Cut(header.Name, "/")
	r.name, r.part = name, 0
	switch {
	case header.Name == manifestName:
		return nil
	case header.Name == failureName:
		text, err := io.ReadAll(io.LimitReader(r.tar, maxSmall))
		if err != nil {
			return damaged(err)
		}
		return fmt.Errorf("the backup failed while it was made: %s", text)
	case !divided:
		return fmt.Errorf("the backup holds %.64q, which no gateway wrote", header.Name)
	}
	if _, err := fmt.Sscanf(number, "%08d", &r.part); err != nil || r.part < 1 {
		return fmt.Errorf("the backup holds %.64q, which no gateway wrote", header.Name)
	}
	return nil
}

// content is a file put together from its parts.
type content struct {
	archive *reader
	name    string
	part    int
	bytes   int64
	sum     hash.Hash
	ended   bool
}

// Read gives the next bytes of the file.
func (c *content) Read(b []byte) (n int, err error) {
	for !c.ended {
		n, err = c.archive.tar.Read(b)
		c.bytes += int64(n)
		c.sum.Write(b[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			return n, damaged(err)
		}
		if n > 0 {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			if err := c.archive.next(); err != nil {
				return 0, err
			}
			c.part++
			c.ended = c.archive.name != c.name || c.archive.part != c.part
		}
	}
	return 0, io.EOF
}

// damaged words an error of the archive.
func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the backup is not whole: it ends before its manifest")
	}
	return fmt.Errorf("the backup cannot be read: %w", err)
}
