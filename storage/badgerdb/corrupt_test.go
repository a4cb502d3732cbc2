package badgerdb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// TestCorruption damages every kind of file of a closed and of a killed ledger in each of four ways, at random places. Verify
// and Open must name a fault, or find the very same ledger, whatever Badger makes of it; nothing may panic, hang, or end the
// process. That is why children do it, one case after the other.
func TestCorruption(t *testing.T) {
	times := chaos(t, 3)
	for name, source := range map[string]string{"closed": closedLedger(t), "killed": killedLedger(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := damageRange{Source: source, Times: times}
			files, err := readFiles(source)
			if err != nil {
				t.Fatal(err)
			}
			kinds := kindsOf(files)
			results := map[string]map[string]int{}
			cases := len(kinds) * len(damages) * times
			for d.From < cases {
				done := d.send(t, func(result string) {
					at, what, _ := strings.Cut(result, " ")
					kind, damage := d.what(kinds, d.From)
					if at != fmt.Sprint(d.From) {
						t.Fatalf("case %d gave %q", d.From, result)
					}
					row := kind + " " + damage
					if results[row] == nil {
						results[row] = map[string]int{}
					}
					class, detail, _ := strings.Cut(what, ":")
					results[row][class]++
					if class != "found" && class != "same" {
						t.Errorf("%s, case %d, %s: %s: %s", name, d.From, row, class, detail)
					}
					d.From++
				})
				if done != "" { // the child ended in the middle of a case
					kind, damage := d.what(kinds, d.From)
					t.Errorf("%s, case %d, %s %s: %s", name, d.From, kind, damage, done)
					d.From++
				}
			}
			sums := map[string]int{}
			for _, row := range slices.Sorted(maps.Keys(results)) {
				t.Logf("%s, %s: %v", name, row, results[row])
				for class, n := range results[row] {
					sums[class] += n
				}
			}
			t.Logf("figure: %d files of a ledger that was %s damaged: %d faults named, %d harmless", cases, name, sums["found"], sums["same"])
		})
	}
}

// damageRange is which cases a child examines: from From on, as many as there are.
type damageRange struct {
	Source string
	Times  int // each file kind is damaged in each way
	From   int
}

// damages are the ways; each changes a copy of a file whose first used bytes are not only zeros.
var damages = []string{"flipped", "zeroed", "truncated", "swapped"}

// what tells the kind of file and the damage of a case.
func (d *damageRange) what(kinds []string, at int) (kind, damage string) {
	at /= d.Times
	return kinds[at/len(damages)], damages[at%len(damages)]
}

// send runs a child and hands on its lines. It returns how the child ended, if it was not by being done.
func (d damageRange) send(t *testing.T, result func(string)) (died string) {
	t.Helper()
	child := (&errand{Damaged: &d}).command(t)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	const patience = 5 * time.Minute                                                   // on a machine that is busy
	hung := time.AfterFunc(patience, func() { child.Process.Signal(syscall.SIGQUIT) }) // it tells where
	defer hung.Stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); hung.Reset(patience) {
		result(lines.Text())
	}
	if child.Wait() == nil {
		return ""
	}
	return fmt.Sprintf("the child ended with %d: %.10000s", child.ProcessState.ExitCode(), stderr.String())
}

// files are the contents of a data directory by path, without the zeros at their end, and their sizes.
type files struct {
	content map[string][]byte
	size    map[string]int64
	credits string // what the ledger says while nothing is changed
}

func readFiles(dir string) (f *files, err error) {
	f = &files{content: map[string][]byte{}, size: map[string]int64{}}
	for _, pattern := range []string{headName, "ledger/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return f, err
		}
		for _, path := range paths {
			name, _ := filepath.Rel(dir, path)
			content, err := os.ReadFile(path)
			if err != nil || strings.HasSuffix(name, "LOCK") {
				continue
			}
			f.size[name] = int64(len(content))
			f.content[name] = bytes.Clone(bytes.TrimRight(content, "\x00"))
		}
	}
	return f, nil
}

// write makes a data directory of the files, with one of them changed.
func (f *files) write(dir, changed string, content []byte, size int64) error {
	if err := os.MkdirAll(filepath.Join(dir, "ledger"), 0o700); err != nil {
		return err
	}
	for name, own := range f.content {
		n := f.size[name]
		if name == changed {
			own, n = content, size
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, own, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(path, n); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(name string) string {
	if ext := filepath.Ext(name); ext != "" && name != headName {
		return ext
	}
	return filepath.Base(name)
}

// kindsOf are the kinds of files that there are.
func kindsOf(f *files) []string {
	kinds := map[string]bool{}
	for name := range f.content {
		kinds[kindOf(name)] = true
	}
	return slices.Sorted(maps.Keys(kinds))
}

// damage returns the content of a file after damage, and its size.
func (f *files) damage(name, how string, r *rand.Rand) (content []byte, size int64) {
	original := f.content[name]
	size = f.size[name]
	for tries := 0; ; tries++ {
		content = bytes.Clone(original)
		used := len(content)
		if used == 0 || tries > 50 { // a file of zeros: what a stray write leaves
			content = append(content, make([]byte, min(512, size-int64(used)))...)
			content[r.IntN(len(content))]++
			return content, size
		}
		at := r.IntN(used)
		switch how {
		case "flipped":
			for i := at; i < min(at+1+r.IntN(8), used); i++ {
				content[i] ^= byte(1 + r.IntN(255))
			}
		case "zeroed":
			clear(content[at:min(at+1<<r.IntN(13), used)])
		case "truncated":
			if at = r.IntN(used + 1); int64(at) < size {
				return content[:at], int64(at)
			}
		case "swapped":
			block := min([]int{16, 128, 512, 4096}[r.IntN(4)], max(1, used/2))
			other := r.IntN(used-block+1) / block * block
			at = min(at, used-block) / block * block
			copy(content[at:], original[other:other+block])
			copy(content[other:], original[at:at+block])
		}
		if !bytes.Equal(content, original) {
			return content, size
		}
	}
}

// examine is the child: it prints "number class: detail" for every case.
func (d *damageRange) examine() {
	f, err := readFiles(d.Source)
	if err != nil {
		panic(err)
	}
	kinds := kindsOf(f)
	intact, err := stateOf(f, "", nil, 0)
	if err != nil {
		panic(err)
	}
	for at := d.From; at < len(kinds)*len(damages)*d.Times; at++ {
		kind, how := d.what(kinds, at)
		r := rand.New(rand.NewPCG(uint64(at), uint64(d.Times)))
		names := slices.Sorted(maps.Keys(f.content))
		names = slices.DeleteFunc(names, func(name string) bool { return kindOf(name) != kind })
		name := names[r.IntN(len(names))]
		content, size := f.damage(name, how, r)
		state, err := stateOf(f, name, content, size)
		switch {
		case err != nil && strings.ContainsAny(err.Error(), "\n\r"):
			fmt.Printf("%d lines: %q\n", at, err)
		case err != nil:
			fmt.Printf("%d found: %v\n", at, err)
		case state != intact:
			fmt.Printf("%d other: %q instead of %q\n", at, state, intact)
		default:
			fmt.Printf("%d same:\n", at)
		}
	}
}

// stateOf is what Verify and Open make of a copy of the ledger with one file changed: its whole content as text, or the fault
// that one of them named. If Verify finds no fault, it and Open must find the same.
func stateOf(f *files, changed string, content []byte, size int64) (string, error) {
	dir, err := os.MkdirTemp("", "pointsman-damaged-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := f.write(dir, changed, content, size); err != nil {
		panic(err)
	}
	var verdict strings.Builder
	verifyErr := Verify(dir, &verdict)
	s, err := Open(Config{Dir: dir, MemoryMB: 16})
	if err != nil {
		return "", err
	}
	defer s.Close()
	if err := s.Halted(); err != nil {
		return "", err
	}
	credits, other := contentOf(s)
	if verifyErr != nil { // Open does not read all that Verify reads; credits must be right all the same
		if changed != "" && credits != f.credits {
			return credits, nil
		}
		return "", verifyErr
	}
	f.credits = credits
	return credits + other + headOf(verdict.String()), nil
}

// contentOf is everything in a store, as text: the ledger, and the rest.
func contentOf(s *Store) (credits, other string) {
	var b strings.Builder
	accounts, err := s.Accounts()
	other = fmt.Sprintln(accounts, err)
	keys, err := s.VirtualKeys()
	other += fmt.Sprintln(keys, err)
	for _, a := range accounts {
		balance, err := s.Balance(a.ID)
		fmt.Fprintln(&b, balance, err)
		lines, err := s.Entries(a.ID, 0, 1<<20)
		for _, e := range lines {
			if e.Kind != storage.EntryInterrupt { // the restart itself ends the holds
				fmt.Fprintf(&b, "%x\n", e.Hash)
			}
		}
		fmt.Fprintln(&b, err)
	}
	spent, _ := s.Spent(storage.SpenderKey+"key_1", storage.PeriodTotal, nil)
	fmt.Fprintln(&b, spent)
	return b.String(), other
}

// headOf is the part of Verify's line that does not change from run to run.
func headOf(line string) string { return line[:strings.Index(line, ", checked in")] }

// closedLedger is the directory of a ledger that was opened, used and closed three times, so that it has several tables.
func closedLedger(t *testing.T) string {
	t.Helper()
	dir := populated(t)
	for range 2 {
		s := openStore(t, Config{Dir: dir, MemoryMB: 16, headEvery: 8})
		useAll(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// killedLedger is a copy of a ledger's directory taken while it was open, as a kill would leave it.
func killedLedger(t *testing.T) string {
	t.Helper()
	source := closedLedger(t)
	s := openStore(t, Config{Dir: source, Logger: slog.New(slog.DiscardHandler), MemoryMB: 16, headEvery: 8})
	useAll(t, s)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir, io.Discard); err != nil {
		t.Fatal(err)
	}
	return dir
}

// useAll does something of every kind.
func useAll(t *testing.T, s *Store) {
	t.Helper()
	if err := s.PutVirtualKey(storage.VirtualKey{ID: "key_1", Account: "alice", Name: fmt.Sprint(rand.Int())}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Transfer(storage.Transfer{From: "carol", To: "bob", Amount: 5, Reference: fmt.Sprint(rand.Int())}); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		id := storagetest.NewRequest()
		h := storage.Hold{Request: id, Account: "alice", Amount: 5, Expires: time.Now().Add(time.Hour), Key: "key_1", Team: "team"}
		_, err := s.Reserve(h)
		if err == nil && i%5 == 0 {
			_, err = s.Extend(id, 1)
		}
		if err == nil && i%7 != 0 {
			var done *storage.Batch
			if _, done, err = s.Settle(storage.Settlement{Request: id, Charge: 3, Reason: "ok"}); err == nil {
				err = done.Wait()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Grant(storage.Grant{Account: "carol", Amount: 7, Reference: fmt.Sprint(rand.Int())}); err != nil {
		t.Fatal(err)
	}
}
