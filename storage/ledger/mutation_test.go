package ledger

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mutated = flag.Bool("mutated", false, "TestMutations runs this very package with a bug in it")

// mutation is a bug: a piece of a file that stands there once, and what would stand there if somebody had been careless.
type mutation struct{ file, right, wrong string }

func mutations() map[string]mutation {
	return map[string]mutation{
		"a request is settled twice":                   {"machine.go", "if r.state == settled {", "if r.state == settled && x.Charge < 0 {"},
		"a late charge is taken again":                 {"machine.go", "r.state, r.charged, r.loss = settled,", "r.state, r.charged, r.loss = max(r.state, settled-1),"},
		"a void is lost":                               {"machine.go", "		e.Amount = r.amount\n		m.release(r)", "		e.Amount = r.amount\n		if x.Charge > 0 {\n			m.release(r)\n		}"},
		"what is available is not looked at":           {"machine.go", "if h.Amount > 0 && a.available() < h.Amount {", "if h.Amount > 0 && a.posted < h.Amount {"},
		"an extension is not held":                     {"machine.go", "	r.amount += more\n	m.hold(r, more)", "	r.amount += more"},
		"what a charge exceeds the account by is lost": {"machine.go", "e.Loss = x.Charge - e.Charged", "e.Loss = max(0, r.amount-e.Charged)"},
		"a charge makes a balance negative":            {"machine.go", "min(x.Charge, max(r.account.available(), 0))", "x.Charge"},
		"an ended request is held for again":           {"machine.go", "	if bytes.Compare(id[:], m.forgotten[:]) > 0 || m.fresh.is(id) {\n		return nil, nil\n	}\n	return m.ended(id)", "	return nil, nil"},
		"what was forgotten is not noted":              {"machine.go", "	m.fresh.note(old.ID)\n", ""},
		"a restart takes all ids for fresh":            {"audit.go", "	m.fresh.since = spanOf(forgotten)\n", ""},
		"a span's ids are forgotten with its place":    {"fresh.go", "f.since = max(f.since, s.number); s.lines == nil", "s.lines == nil"},
		"a request is used again while it is in use":   {"machine.go", "if old.endings--; old.endings > 0 {", "if old.endings--; old.endings > 1 {"},
		"a late charge on its way counts as on disk":   {"machine.go", "final == (l.Request.state == settled) {", "final || !final {"},
		"a reference grants again after a restart":     {"machine.go", "	case err != nil || before == nil:\n		return nil, false, err", "	case err != nil || before == nil || *before == amount:\n		return nil, false, err"},
		"a transfer may be cut in two":                 {"machine.go", "Reason: t.To}}, true)", "Reason: t.To}}, false)"},
		"a grant takes back what is held":              {"machine.go", "if g.Amount < 0 && a.posted-a.held+g.Amount < 0 {", "if g.Amount < 0 && a.posted+g.Amount < 0 {"},
		"a hold is expired before its time":            {"machine.go", "if now.After(r.expires) {", "if !now.Before(r.expires) {"},
		"a restart forgets open holds":                 {"audit.go", "		m.requests[r.ID] = r\n		m.opened(r)", "		_ = r"},
		"a budget ignores what is held":                {"spending.go", "spent > math.MaxInt64-held-amount || spent+held+amount > c.Credits", "spent > math.MaxInt64-held-amount || spent+amount > c.Credits"},
		"a budget never begins anew":                   {"spending.go", "if over(p, s.starts[p], c.starts[p]) {", "if s.starts[p] == 0 {"},
		"a budget forgets what was spent at a restart": {"audit.go", "		s.exact, err = s.decode(record)\n", "		s.exact, err = new(spending).decode(record)\n"},
		"spending is not counted for the team":         {"machine.go", "key: h.Key, team: h.Team,", "key: h.Key,"},
		"a line is hashed without the one before it":   {"entry.go", "scratch = append(append(scratch, before[:]...), accountBefore[:]...)\n", "scratch = append(scratch, accountBefore[:]...)\n"},
		"records are written before their lines count": {"spending.go", "		s.dirtySince = 0\n		m.dirty = m.dirty[1:]", "		m.dirty = m.dirty[1:]"},
	}
}

// TestMutations puts one bug at a time into the package and runs the simulation with it, which must find it.
func TestMutations(t *testing.T) {
	if testing.Short() || *mutated {
		t.Skip("compiles the package for each of the bugs")
	}
	for name, m := range mutations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.right); n != 1 {
				t.Fatalf("%s holds %q %d times", m.file, m.right, n)
			}
			dir := t.TempDir()
			wrong, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
			original, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(wrong, []byte(strings.Replace(string(source), m.right, m.wrong, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: wrong}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, replace, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("go", "test", "-overlay", overlay, "-run", "^TestSimulation$", "-seeds", "1000", "-mutated", ".").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "seed ") {
				t.Fatalf("the simulation did not find it: %v\n%s", err, out)
			}
			t.Log(firstLine(string(out), "seed "))
		})
	}
}

// firstLine is the first line that holds a text.
func firstLine(text, with string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
