package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/backup"
	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// archive is the gateway's stores as the admin API writes them out.
type archive struct{ g *gateway }

// Export writes the ledger's lines.
func (a archive) Export(w io.Writer, format string, from, to uint64) error {
	a.g.archiving.Add(1)
	defer a.g.archiving.Done()
	snapshot, err := a.g.store.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	return snapshot.Export(w, format, from, to)
}

// Records writes decision records.
func (a archive) Records(w io.Writer, since, until time.Time, account, key string) error {
	g := a.g
	g.archiving.Add(1)
	defer g.archiving.Done()
	g.usage.Flush()
	src, stop := records.Read(g.usage, filepath.Join(g.dataDir, "policies"), records.Filter{Since: since, Until: until, Account: account, Key: key})
	defer stop()
	var keys []storage.VirtualKey
	accounts := g.directory.Accounts()
	for i := range accounts {
		keys = append(keys, g.directory.Keys(accounts[i].ID)...)
	}
	out, err := records.NewWriter(w, records.Head{
		Created: g.now().UTC(), Gateway: version, Since: since, Until: until, Budgets: records.Budgets(accounts, g.directory.Teams(), keys),
	})
	if err == nil {
		err = records.Copy(out, src, nil)
	}
	if err != nil {
		return err
	}
	return out.Close()
}

// Backup writes a backup of the gateway at work. The log comes first, so that it has nothing the ledger does not: what it lacks is
// restored from the ledger at the next start. The ledger's moment is chosen while no own key changes, so that the shares fit the
// sealed keys.
func (a archive) Backup(w io.Writer, withLog bool) error {
	g := a.g
	g.archiving.Add(1)
	defer g.archiving.Done()
	root, err := rootKeyOf(g.dataDir)
	if err != nil {
		return fmt.Errorf("reading the root key for its fingerprint: %w", err)
	}
	out := backup.NewWriter(w, time.Now())
	err = func() error {
		if withLog {
			if err := out.Add(backup.Log, func(w io.Writer) error { return discardCount(g.usage.Copy(w)) }); err != nil {
				return err
			}
		}
		var snapshot *badgerdb.Snapshot
		var keys vaultFiles
		err := g.directory.Still(func() (err error) {
			if snapshot, err = g.store.Snapshot(); err != nil {
				return err
			}
			keys, err = readVaultFiles(g.dataDir)
			return err
		})
		if snapshot != nil {
			defer snapshot.Close()
		}
		if err != nil {
			return err
		}
		m := backup.Manifest{Gateway: version, RootKey: backup.Fingerprint(root)}
		if err := addLedger(out, snapshot, keys, &m); err != nil {
			return err
		}
		return out.Finish(m)
	}()
	if err != nil {
		out.Fail(err)
		return err
	}
	g.log.Info("a backup was made", "with_log", withLog)
	return nil
}

// rootKeyOf is the root key that a data directory holds, nil if the key-encryption key is kept elsewhere.
func rootKeyOf(dir string) ([]byte, error) {
	root, err := os.ReadFile(filepath.Join(dir, rootKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return root, err
}

// vaultFiles are what sealed keys need beside the key-encryption key, none of it secret without that, by name.
type vaultFiles map[string][]byte

func readVaultFiles(dir string) (vaultFiles, error) {
	files := vaultFiles{}
	for _, name := range []string{backup.OwnKeys, backup.Vault} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	return files, nil
}

// addLedger adds the ledger with what its sealed keys need, and notes its standing. A ledger that does not prove is not backed
// up: the copy would be no better, and might take the place of one that is.
func addLedger(out *backup.Writer, snapshot *badgerdb.Snapshot, keys vaultFiles, m *backup.Manifest) error {
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		err := out.Add(name, func(w io.Writer) error {
			_, err := w.Write(keys[name])
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := out.Add(backup.Ledger, func(w io.Writer) error { return discardCount(snapshot.Copy(w)) }); err != nil {
		return err
	}
	sum, err := snapshot.Prove()
	if err != nil {
		return fmt.Errorf("the ledger does not prove, see `pointsman ledger repair`: %w", err)
	}
	m.SetStanding(sum)
	return nil
}

func discardCount(_ uint64, err error) error { return err }

// The names of what the data directory holds beside the databases.
const (
	rootKeyFile   = "root.key"
	masterKeyFile = "master.key"
)

// ledgerHealth is what /health tells of the ledger's proofs.
func (g *gateway) ledgerHealth() engine.LedgerHealth {
	v := g.store.Verification()
	h := engine.LedgerHealth{Through: v.Through, Verifying: v.Running}
	if !v.Proven.IsZero() {
		at := v.Proven.UTC()
		h.Proven = &at
	}
	return h
}

// writeLedgerMetrics writes how the ledger and the disk under it are.
func (g *gateway) writeLedgerMetrics(w io.Writer) {
	v := g.store.Verification()
	low, free := g.store.Space()
	if !v.Proven.IsZero() {
		fmt.Fprintf(w, "pointsman_ledger_proven_timestamp_seconds %d\n", v.Proven.Unix())
	}
	fmt.Fprintf(w, "pointsman_ledger_proven_position %d\n", v.Through)
	fmt.Fprintf(w, "pointsman_ledger_verifying %d\n", oneIf(v.Running))
	fmt.Fprintf(w, "pointsman_ledger_halted %d\n", oneIf(g.store.Halted() != nil))
	fmt.Fprintf(w, "pointsman_disk_free_bytes %d\n", free)
	fmt.Fprintf(w, "pointsman_disk_low %d\n", oneIf(low))
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// problems are what keeps the gateway from serving as it should while it serves, for everybody: neither paths nor contents.
func (g *gateway) problems() (list []string) {
	list = append(g.vaultProblems(), g.reloadProblems()...)
	if p := g.certificateProblem(); p != "" {
		list = append(list, p)
	}
	if g.store.Halted() != nil {
		list = append(list, "the credit ledger is halted: what costs credits is refused")
	}
	if low, _ := g.store.Space(); low {
		list = append(list, "the disk is nearly full: what costs credits is refused until there is space")
	}
	return list
}
