package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type ledgerCmd struct {
	Verify ledgerVerify `cmd:"" help:"Check every line of the ledger of a stopped gateway. Exits with 1 and one line for the first fault."`
	Show   ledgerShow   `cmd:"" help:"Show the ledger's standing and its accounts, or the lines of one, of a running gateway or a stopped one's directory."`
	Export ledgerExport `cmd:"" help:"Write every line with its hash, so that somebody else can verify them."`
	Repair ledgerRepair `cmd:"" help:"Say what of a damaged ledger can be believed and, without --dry-run, keep that in a new data directory."`
}

type ledgerVerify struct {
	Data string `help:"Data directory of the stopped gateway." default:"${data}" env:"POINTSMAN_DATA"`
}

// Run verifies the ledger.
func (l *ledgerVerify) Run(term terminal) error { return badgerdb.Verify(l.Data, term.out) }

// ledger opens the ledger in the data directory or, if a gateway has it open or it is on another machine, returns a client of that
// gateway: one of the two is nil.
func (f adminFlags) ledger() (*badgerdb.Snapshot, *client, error) {
	snapshot, err := badgerdb.OpenSnapshot(f.Data)
	if errors.Is(err, badgerdb.ErrInUse) || errors.Is(err, fs.ErrNotExist) {
		c, err := f.client()
		return nil, c, err
	}
	return snapshot, nil, err
}

type ledgerShow struct {
	adminFlags
	Account string `arg:"" optional:"" help:"Whose lines to show, newest first."`
	Limit   int    `help:"How many lines or accounts at most, 1 to 1000." default:"100"`
	From    uint64 `help:"Ledger position of the line to begin with." placeholder:"POSITION"`
	After   string `help:"Without an account: show the accounts behind this one." placeholder:"ACCOUNT"`
	JSON    bool   `name:"json" help:"Print what the admin API answers."`
}

// Run shows lines or accounts.
func (l *ledgerShow) Run(term terminal) error {
	if l.Limit < 1 || l.Limit > 1000 {
		return errors.New("--limit must be 1 to 1000")
	}
	snapshot, c, err := l.ledger()
	if err != nil {
		return err
	}
	if snapshot != nil {
		defer snapshot.Close()
	}
	if l.Account == "" {
		standing, err := l.standing(snapshot, c)
		if err != nil {
			return err
		}
		return l.print(term.out, standing, func(w io.Writer) { showStanding(w, standing) })
	}
	var page admin.LedgerLines
	if c != nil {
		err = c.call("GET", fmt.Sprintf("%s?limit=%d%s", linesPath(l.Account), l.Limit, positionQuery("from", l.From)), nil, &page)
	} else {
		var entries []storage.Entry
		entries, err = snapshot.Entries(l.Account, l.From, l.Limit)
		page = admin.ShowLines(entries)
	}
	if err != nil {
		return err
	}
	return l.print(term.out, page, func(w io.Writer) { showLines(w, page) })
}

// linesPath is where the admin API has an account's lines. The first letter is escaped, so that no account has the name of
// another path.
func linesPath(account string) string {
	return fmt.Sprintf("/api/v1/admin/ledger/%%%02X%s", account[0], url.PathEscape(account[1:]))
}

func positionQuery(name string, position uint64) string {
	if position == 0 {
		return ""
	}
	return "&" + name + "=" + strconv.FormatUint(position, 10)
}

func (l *ledgerShow) standing(snapshot *badgerdb.Snapshot, c *client) (s admin.LedgerStanding, err error) {
	if c != nil {
		return s, c.call("GET", fmt.Sprintf("/api/v1/admin/ledger?limit=%d&after=%s", l.Limit, url.QueryEscape(l.After)), nil, &s)
	}
	sum, err := snapshot.Summary()
	if err != nil {
		return s, err
	}
	s = admin.ShowStanding(sum)
	balances, err := snapshot.Balances()
	if err != nil {
		return s, fmt.Errorf("%w; see `pointsman ledger repair --dry-run`", err)
	}
	for _, b := range balances {
		switch {
		case b.Account <= l.After:
		case len(s.Data) == l.Limit:
			s.Next = &s.Data[l.Limit-1].Account
			return s, nil
		default:
			s.Data = append(s.Data, admin.ShowBalance(b))
		}
	}
	return s, nil
}

// print writes the value as JSON, or as table does.
func (l *ledgerShow) print(to io.Writer, value any, table func(w io.Writer)) error {
	if l.JSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	}
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func showStanding(w io.Writer, s admin.LedgerStanding) {
	fmt.Fprintf(w, "ledger\tposition %d, head %.16s…\n", s.Position, s.Hash)
	fmt.Fprintf(w, "accounts\t%d, %d open holds\n", s.Accounts, s.OpenHolds)
	fmt.Fprintf(w, "credits\tposted %s, issued %s, revenue %s, loss %s\n", s.Posted, s.Issued, s.Revenue, s.Loss)
	if v := s.Verification; v != nil {
		switch {
		case v.Fault != "":
			fmt.Fprintf(w, "proof\tfailed: %s\n", v.Fault)
		case v.Proven != nil:
			fmt.Fprintf(w, "proof\tup to position %d, of %s\n", v.Through, v.Proven.Format(time.RFC3339))
		}
		if v.Running {
			fmt.Fprintf(w, "proving\t%d of %d lines\n", v.Checked, v.Of)
		}
	}
	fmt.Fprintln(w, "\nACCOUNT\tREMAINING\tPOSTED\tHELD\tOVERDRAFT")
	for _, b := range s.Data {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", b.Account, b.Remaining, b.Posted, b.Held, b.Overdraft)
	}
	if s.Next != nil {
		fmt.Fprintf(w, "more:\t--after %s\n", *s.Next)
	}
}

func showLines(w io.Writer, page admin.LedgerLines) {
	fmt.Fprintln(w, "POSITION\tSEQ\tTIME\tKIND\tREQUEST OR REFERENCE\tREASON\tAMOUNT\tCHARGED\tLOSS\tPOSTED\tHELD")
	for _, e := range page.Data {
		what := e.Request
		if what == "" {
			what = strconv.Quote(e.Reference)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Position, e.Seq, e.Time, e.Kind, what, e.Reason, e.Amount, e.Charged, e.Loss, e.Posted, e.Held)
	}
	if page.Next != 0 {
		fmt.Fprintf(w, "more:\t--from %d\n", page.Next)
	}
}

type ledgerExport struct {
	adminFlags
	Format string `help:"jsonl or csv." enum:"jsonl,csv" default:"jsonl"`
	Output string `short:"o" help:"File to write, which must not exist yet; - for standard output." required:""`
	From   uint64 `help:"Position of the first line." placeholder:"POSITION"`
	To     uint64 `help:"Position of the last line." placeholder:"POSITION"`
}

// Run exports the lines.
func (l *ledgerExport) Run(term terminal) (err error) {
	snapshot, c, err := l.ledger()
	if err != nil {
		return err
	}
	if snapshot != nil {
		defer snapshot.Close()
	}
	out := term.out
	if l.Output != "-" {
		file, err := createPartial(l.Output)
		if err != nil {
			return err
		}
		defer file.discard()
		if err := l.write(file, snapshot, c); err != nil {
			return err
		}
		return file.finish()
	}
	return l.write(out, snapshot, c)
}

func (l *ledgerExport) write(w io.Writer, snapshot *badgerdb.Snapshot, c *client) error {
	if snapshot != nil {
		return snapshot.Export(w, l.Format, l.From, l.To)
	}
	body, err := c.stream(fmt.Sprintf("/api/v1/admin/ledger/export?format=%s%s%s", l.Format, positionQuery("from", l.From), positionQuery("to", l.To)))
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

type ledgerRepair struct {
	Data   string `help:"Data directory of the stopped gateway." default:"${data}" env:"POINTSMAN_DATA"`
	DryRun bool   `name:"dry-run" help:"Only say what is damaged and what a repair would keep."`
	To     string `help:"New data directory to make; the old one stays as it is." placeholder:"DIR"`
	JSON   bool   `name:"json" help:"Print the lines that are lost as JSON, one a line, instead of a table."`
}

// Run assesses the damage and repairs it elsewhere.
func (l *ledgerRepair) Run(term terminal) error {
	if l.DryRun == (l.To != "") {
		return errors.New("give --dry-run, or --to with the new data directory")
	}
	snapshot, err := badgerdb.OpenSnapshot(l.Data)
	if err != nil {
		return fmt.Errorf("%w; if Badger cannot open the database at all, restore a backup", err)
	}
	defer snapshot.Close()
	table := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	encoder := json.NewEncoder(term.out)
	began := false
	d, err := snapshot.Assess(func(e *storage.Entry) error {
		line := admin.ShowLine(e)
		if l.JSON {
			return encoder.Encode(line)
		}
		if !began {
			began = true
			fmt.Fprintln(table, "lines that can be read and not be believed, which are lost:")
			fmt.Fprintln(table, "POSITION\tACCOUNT\tTIME\tKIND\tREQUEST OR REFERENCE\tAMOUNT\tCHARGED")
		}
		what := line.Request
		if what == "" {
			what = strconv.Quote(line.Reference)
		}
		_, err := fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", line.Position, e.Account, line.Time, line.Kind, what, line.Amount, line.Charged)
		return err
	})
	if err == nil {
		err = table.Flush()
	}
	if err != nil {
		return err
	}
	if d.Fault == "" {
		fmt.Fprintln(term.out, "the ledger proves: there is nothing to repair")
		return nil
	}
	if !l.JSON {
		showDamage(term.out, d)
	}
	if l.DryRun {
		return nil
	}
	return l.repair(term, snapshot)
}

func showDamage(to io.Writer, d *badgerdb.Damage) {
	fmt.Fprintf(to, "damage: %s\n", d.Fault)
	fmt.Fprintf(to, "lines 1 to %d are proven; none behind them can be believed: %d can be read, %d cannot, the ledger ended at %d\n", d.Through, d.Unproven, d.Unreadable, d.Last)
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nACCOUNT\tPROVEN POSTED\tPROVEN HELD\tLAST READABLE LINE SAYS")
	for _, b := range d.Standing {
		said := "no line behind the proven ones"
		if e, ok := d.Said[b.Account]; ok {
			said = fmt.Sprintf("posted %s at position %d", e.Posted, e.Position)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Account, b.Posted, b.Held, said)
	}
	w.Flush() //nolint:errcheck // a terminal that is gone
	for _, id := range d.LostAccounts {
		fmt.Fprintf(to, "account %s is lost: no line of it is proven\n", id)
	}
	for _, id := range d.Nameless {
		fmt.Fprintf(to, "account %s has lost its record: it becomes one of the tier free\n", id)
	}
	fmt.Fprintf(to, "\na repair keeps lines 1 to %d as they are, so the accounts stand as proven, and references that were used stay used; holds are released at the start\n", d.Through)
}

// repair makes the new data directory: the ledger of the proven lines, and whatever else the old one has but the log.
func (l *ledgerRepair) repair(term terminal, snapshot *badgerdb.Snapshot) error {
	if err := errors.Join(mustBeNew(l.To), mustBeBeside(l.To, l.Data)); err != nil {
		return err
	}
	if _, err := snapshot.Repair(l.To); err != nil {
		return err
	}
	if err := badgerdb.Verify(l.To, term.out); err != nil {
		return fmt.Errorf("the repaired ledger: %w", err)
	}
	if err := copyBeside(l.Data, l.To); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "repaired into %s; %s is as it was\nnext: move %s to keep the usage log, start with --data %s, and make good what is lost by `pointsman accounts grant --kind adjustment`\n",
		l.To, l.Data, filepath.Join(l.Data, "log"), l.To)
	return nil
}

// mustBeNew makes sure that a directory does not exist, or is empty.
func mustBeNew(dir string) error {
	if files, err := os.ReadDir(dir); err == nil && len(files) > 0 {
		return fmt.Errorf("%s holds something already: a new directory is needed", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mustBeBeside makes sure that a directory that is to be made is not in another one, which would be copied into itself.
func mustBeBeside(dir, other string) error {
	whole := func(path string) (string, error) { // as far as it exists
		path, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		rest := ""
		for {
			real, err := filepath.EvalSymlinks(path)
			if !errors.Is(err, fs.ErrNotExist) {
				return filepath.Join(real, rest), err
			}
			path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
		}
	}
	in, err := whole(dir)
	of, otherErr := whole(other)
	if err = errors.Join(err, otherErr); err != nil {
		return err
	}
	if name, err := filepath.Rel(of, in); err == nil && filepath.IsLocal(name) {
		return fmt.Errorf("%s is in %s: a directory beside it is needed", dir, other)
	}
	return nil
}

// copyBeside copies what a data directory has beside its databases: keys, policies.
func copyBeside(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if filepath.Dir(name) == "." {
			switch base := entry.Name(); {
			case base == "ledger", base == "log":
				return fs.SkipDir
			case base == "ledger.head", base == "ballast":
				return nil
			case base[0] == '.' && entry.IsDir(): // of a verification
				return fs.SkipDir
			}
		}
		target := filepath.Join(to, name)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writeSynced(target, content)
	})
}
