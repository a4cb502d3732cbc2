package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/backup"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type backupCmd struct {
	Create  backupCreate  `cmd:"" help:"Make a backup of a running gateway, or of a stopped one's directory."`
	Verify  backupVerify  `cmd:"" help:"Check a backup: its checksums, and that its ledger proves."`
	Restore backupRestore `cmd:"" help:"Make a data directory of a backup."`
}

// passphraseFlags say where a passphrase is: never on the command line, where everybody on the machine can read it.
type passphraseFlags struct {
	PassphraseFile string `help:"File with the passphrase; or set POINTSMAN_BACKUP_PASSPHRASE." type:"existingfile" placeholder:"FILE"`
}

func (f passphraseFlags) passphrase() (string, error) {
	if f.PassphraseFile == "" {
		return os.Getenv("POINTSMAN_BACKUP_PASSPHRASE"), nil
	}
	text, err := os.ReadFile(f.PassphraseFile)
	if err == nil && strings.TrimSpace(string(text)) == "" {
		err = fmt.Errorf("%s is empty", f.PassphraseFile)
	}
	return strings.TrimRight(string(text), "\r\n"), err
}

type backupCreate struct {
	adminFlags
	passphraseFlags
	To          string   `required:"" help:"File to write, which must not exist yet, or a directory for a file named by the time." placeholder:"FILE|DIR"`
	WithLog     bool     `help:"With usage and decision records, which are most of the data."`
	WithRootKey bool     `help:"With root.key of --data, which opens provider keys: whoever has the backup then has them, unless it is encrypted."`
	Recipient   []string `help:"Encrypt for this age recipient; may be repeated." placeholder:"AGE1…"`
}

// Run makes the backup. What the gateway sends is checked against its manifest on the way, and what is on disk against what was
// written.
func (b *backupCreate) Run(term terminal) error {
	passphrase, err := b.passphrase()
	if err != nil {
		return err
	}
	snapshot, c, err := b.ledger()
	if err != nil {
		return err
	}
	if snapshot != nil {
		defer snapshot.Close()
	}
	now := time.Now()
	path := b.To
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "pointsman-"+now.UTC().Format("20060102T150405Z")+".tar")
		if passphrase != "" || len(b.Recipient) > 0 {
			path += ".age"
		}
	}
	file, err := createPartial(path)
	if err != nil {
		return err
	}
	defer file.discard()
	sealed, err := backup.Seal(file, b.Recipient, passphrase)
	if err != nil {
		return err
	}
	out := backup.NewWriter(sealed, now)
	var m backup.Manifest
	if snapshot != nil {
		m, err = b.copyStopped(out, snapshot)
	} else {
		m, err = b.copyRunning(out, c)
	}
	if err == nil {
		err = errors.Join(out.Finish(m), sealed.Close())
	}
	if err == nil {
		err = file.finish()
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: %.1f MiB, ledger proven up to position %d, %d accounts, posted %s credits%s\n", path, float64(info.Size())/(1<<20), m.Position, m.Accounts, m.Posted, b.without(m))
	return nil
}

// without says what is missing that a restore will need.
func (b *backupCreate) without(m backup.Manifest) string {
	if b.WithRootKey || m.RootKey == "" {
		return ""
	}
	return "; without root.key, which must be kept elsewhere"
}

// copyRunning takes the files that a gateway sends. The root key is not among them: it never leaves the gateway by its API.
func (b *backupCreate) copyRunning(out *backup.Writer, c *client) (m backup.Manifest, err error) {
	body, err := c.stream(fmt.Sprintf("/api/v1/admin/backup?log=%v", b.WithLog))
	if err != nil {
		return m, err
	}
	defer body.Close()
	m, err = backup.Read(body, func(name string, content io.Reader) error {
		return out.Add(name, func(w io.Writer) error {
			_, err := io.Copy(w, content)
			return err
		})
	})
	if err == nil && b.WithRootKey {
		err = b.addRootKey(out, m.RootKey)
	}
	return m, err
}

// copyStopped makes a backup of a data directory. It has no manifest yet.
func (b *backupCreate) copyStopped(out *backup.Writer, snapshot *badgerdb.Snapshot) (m backup.Manifest, err error) {
	root, err := rootKeyOf(b.Data)
	if err != nil {
		return m, err
	}
	m = backup.Manifest{Gateway: version, RootKey: backup.Fingerprint(root)}
	if b.WithLog {
		if err := out.Add(backup.Log, func(w io.Writer) error { return discardCount(badgerdb.CopyLog(b.Data, w)) }); err != nil {
			return m, err
		}
	}
	if b.WithRootKey {
		if err := b.addRootKey(out, m.RootKey); err != nil {
			return m, err
		}
	}
	keys, err := readVaultFiles(b.Data)
	if err != nil {
		return m, err
	}
	return m, addLedger(out, snapshot, keys, &m)
}

// addRootKey adds the root key, which must be the gateway's.
func (b *backupCreate) addRootKey(out *backup.Writer, fingerprint string) error {
	path := filepath.Join(b.Data, rootKeyFile)
	root, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--with-root-key takes it from --data: %w", err)
	}
	if backup.Fingerprint(root) != fingerprint {
		return fmt.Errorf("%s is not the root key of this gateway", path)
	}
	return out.Add(backup.RootKey, func(w io.Writer) error {
		_, err := w.Write(root)
		return err
	})
}

// backupFlags say which backup to read and what opens it.
type backupFlags struct {
	passphraseFlags
	File     string `arg:"" help:"The backup." type:"existingfile"`
	Identity string `help:"File with the age identity that opens it." type:"existingfile" placeholder:"FILE"`
}

// read reads the backup in one pass.
func (f backupFlags) read(take func(name string, content io.Reader) error) (m backup.Manifest, err error) {
	passphrase, err := f.passphrase()
	if err != nil {
		return m, err
	}
	var identities []byte
	if f.Identity != "" {
		if identities, err = os.ReadFile(f.Identity); err != nil {
			return m, err
		}
	}
	file, err := os.Open(f.File)
	if err != nil {
		return m, err
	}
	defer file.Close()
	opened, err := backup.Unseal(file, identities, passphrase)
	if err != nil {
		return m, err
	}
	return backup.Read(opened, take)
}

type backupVerify struct{ backupFlags }

// Run restores the ledger aside and proves it, and reads all the rest.
func (b *backupVerify) Run(term terminal) error {
	scratch, err := os.MkdirTemp("", "pointsman-backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	m, err := b.read(func(name string, content io.Reader) error {
		switch name {
		case backup.Ledger:
			return badgerdb.RestoreLedger(scratch, content)
		case backup.Log:
			return badgerdb.CheckRecords(content)
		}
		return nil // its checksum is compared
	})
	if err == nil {
		err = proveRestored(scratch, m)
	}
	if err != nil {
		return err
	}
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	fmt.Fprintf(term.out, "backup ok: of %s by %s, with %s; ledger proven up to position %d, %d accounts, posted %s credits\n",
		m.Created.Format(time.RFC3339), m.Gateway, strings.Join(names, ", "), m.Position, m.Accounts, m.Posted)
	return nil
}

// proveRestored proves a restored ledger, which must stand as the manifest says.
func proveRestored(dir string, m backup.Manifest) error {
	if !m.Holds(backup.Ledger) {
		return errors.New("the backup holds no ledger")
	}
	snapshot, err := badgerdb.OpenSnapshot(dir)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	sum, err := snapshot.Prove()
	if err != nil {
		return fmt.Errorf("the backup's ledger does not prove: %w", err)
	}
	var found backup.Manifest
	found.SetStanding(sum)
	if found.Position != m.Position || found.Head != m.Head || found.Posted != m.Posted || found.Accounts != m.Accounts {
		return fmt.Errorf("the backup's ledger ends at position %d (hash %.8s), its manifest says %d (%.8s)", found.Position, found.Head, m.Position, m.Head)
	}
	return nil
}

type backupRestore struct {
	backupFlags
	Data           string `required:"" help:"Data directory to make; it must not exist, or be empty." placeholder:"DIR"`
	RootKey        string `help:"The gateway's root.key, if the backup does not hold it." type:"existingfile" placeholder:"FILE"`
	WithoutRootKey bool   `help:"Restore without: virtual keys then match nothing, and provider keys cannot be opened, until root.key is put there."`
}

// Run restores the backup beside its place, proves it, and moves it there.
func (b *backupRestore) Run(term terminal) error {
	if err := mustBeNew(b.Data); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(b.Data))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(parent, ".restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	m, err := b.read(func(name string, content io.Reader) error {
		switch name {
		case backup.Ledger:
			return badgerdb.RestoreLedger(scratch, content)
		case backup.Log:
			return badgerdb.RestoreLog(scratch, content)
		case backup.OwnKeys, backup.Vault, backup.RootKey:
			text, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			return writeSynced(filepath.Join(scratch, name), text)
		}
		return fmt.Errorf("the backup holds %.64q, which this program does not know", name)
	})
	if err == nil {
		err = proveRestored(scratch, m)
	}
	if err == nil {
		err = b.placeRootKey(scratch, m)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(b.Data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(scratch, b.Data); err != nil {
		return err
	}
	if err := syncDir(parent); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "restored into %s: ledger proven up to position %d, %d accounts, posted %s credits; %d holds that were open are released at the start\n",
		b.Data, m.Position, m.Accounts, m.Posted, m.Open)
	if b.WithoutRootKey && m.RootKey != "" && !m.Holds(backup.RootKey) {
		fmt.Fprintf(term.out, "put root.key there before the start: a gateway that finds none makes another, and no key matches it\n")
	}
	return nil
}

// placeRootKey makes sure that the restored directory has the root key that belongs to it.
func (b *backupRestore) placeRootKey(dir string, m backup.Manifest) error {
	if m.RootKey == "" || m.Holds(backup.RootKey) || b.RootKey == "" && b.WithoutRootKey {
		return nil
	}
	if b.RootKey == "" {
		return errors.New("the backup does not hold the root key: give it as --root-key FILE, or --without-root-key to put it there later")
	}
	root, err := os.ReadFile(b.RootKey)
	if err != nil {
		return err
	}
	if backup.Fingerprint(root) != m.RootKey {
		return fmt.Errorf("%s is not the root key that belongs to this backup", b.RootKey)
	}
	return writeSynced(filepath.Join(dir, rootKeyFile), root)
}
