package scenario

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMistakes lists what is wrong with a file, all of it.
func TestMistakes(t *testing.T) {
	_, err := Load("testdata/wrong.toml")
	if !errors.Is(err, ErrScenario) {
		t.Fatal(err)
	}
	got := err.Error() + "\n"
	const name = "testdata/wrong.golden"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s", Diff(string(want), got))
	}
}

// load writes a file and reads its cases.
func load(t *testing.T, name, text string) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

// TestRequest reads what a case asks, in both notations.
func TestRequest(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		check            func(f *policy.Facts) bool
	}{
		{"defaults", "a.toml", "[[case]]\nname = \"a\"\nrequest = {}\n", func(f *policy.Facts) bool {
			r := f.Request
			return r.Level == abi.LevelBalanced && r.Model == abi.NoModel && r.Credits == 1_000_000_000 && r.AccountTier == 3 && r.Messages == 1 &&
				string(r.Text) == "Hello" && len(r.Options) == 47 && len(f.Snapshot.Candidates) == 47
		}},
		{"json", "a.json", `{"case": [{"name": "a", "request": {"model": "eco", "stream": true, "max_tokens": 7, "task": "code", "input_tokens": 9, "credits": 0.5}}]}`, func(f *policy.Facts) bool {
			r := f.Request
			return r.Level == abi.LevelEco && r.Flags == abi.FlagStream && r.MaxOutput == 7 && r.Task == abi.TaskCode && r.InputTokens == 9 && r.Credits == 500_000
		}},
		{"a named model", "a.toml", "[[case]]\nname = \"a\"\nrequest = { model = \"gpt-4o\", fallback = false, needs = [\"vision\"] }\n", func(f *policy.Facts) bool {
			r := f.Request
			return r.Level == abi.LevelCustom && r.Model != abi.NoModel && r.Flags == abi.FlagNoFallback && r.Needs == abi.CapVision
		}},
		{"a pinned model", "a.toml", "[[case]]\nname = \"a\"\nrequest = { model = \"openai/gpt-4o\", power_level = \"precision\" }\n", func(f *policy.Facts) bool {
			return f.Request.Level == abi.LevelPrecision && f.Request.Model != abi.NoModel
		}},
		{"the last user message", "a.toml", "[[case]]\nname = \"a\"\nrequest.metadata = { team = \"blue\" }\nrequest.messages = [{ role = \"user\", content = \"one\" }, { role = \"assistant\", content = \"two\" }]\n", func(f *policy.Facts) bool {
			return string(f.Request.Text) == "one" && f.Request.Messages == 2 && strings.Contains(string(f.Request.Metadata), "metadata.team=blue\n")
		}},
		{"rounds and state", "a.toml", "[[case]]\nname = \"a\"\nrequest = {}\nstate_hex = \"01 ff\"\nhistory = [{ model = \"gpt-4o\", failure = \"timeout\" }, { round = 1, kind = \"ask\", model = \"gpt-4.1\", text = \"weak\", tag = 3 }]\n", func(f *policy.Facts) bool {
			h := f.History
			return len(h) == 2 && h[0].Failure == abi.FailureTimeout && h[0].Flags == 0 && h[1].Kind == abi.KindAsk && h[1].Flags == abi.OutcomeOK && h[1].Tag == 3 &&
				string(h[1].Text) == "weak" && h[1].Key == f.Snapshot.Candidates[h[1].Candidate].Key && f.State.Bytes[1] == 0xff && f.Request.State == 1
		}},
		{"a world of its own", "a.toml", "[[case]]\nname = \"a\"\nrequest = { privacy = \"local\" }\nonly = [\"gpt-4o\", \"mine\"]\nmodels.mine = { tier = 1, error_rate = 0.5, warm = true }\n", func(f *policy.Facts) bool {
			s, o := f.Snapshot.Candidates, f.Request.Options
			return len(s) == 2 && s[1].ModelName == "mine" && s[1].ErrorRate == 0.5 && o[1].Flags == abi.OptionWarm && o[1].Excluded == 0 && o[0].Excluded == abi.ReasonNotLocal && s[1].Quality > 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := load(t, c.file, c.text)
			if err != nil {
				t.Fatal(err)
			}
			if facts := f.Cases[0].Facts; !c.check(facts) {
				t.Errorf("%+v\n%q %q %+v", *facts.Request, facts.Request.Text, facts.Request.Metadata, facts.History)
			}
			if f.Cases[0].Expect != nil {
				t.Error("there is no expect")
			}
		})
	}
}

// TestCompare tells a plan from what was expected of it.
func TestCompare(t *testing.T) {
	f, err := load(t, "a.toml", `[[case]]
name = "a"
only = ["gpt-4o", "gpt-4.1"]
request = {}
models."gpt-4.1".health = "down"
[case.expect]
decision = "answer"
order = ["gpt-4o"]
first = "gpt-4o"
includes = ["gpt-4o"]
excludes = ["gpt-4.1"]
reason = "band"
why = { "gpt-4.1" = "down" }
explanation = "cheap"
max_fuel = 10
`)
	if err != nil {
		t.Fatal(err)
	}
	c := &f.Cases[0]
	at := map[string]uint16{}
	for i, k := range c.Facts.Snapshot.Candidates {
		at[k.ModelName] = uint16(i)
	}
	step := func(models ...string) (steps []policy.Step) {
		for _, m := range models {
			steps = append(steps, policy.Step{Candidate: at[m], Attempts: 1, Reason: abi.BecauseBand})
		}
		return steps
	}
	good := func() *Decision {
		return &Decision{Fuel: 10, Plan: policy.Plan{Kind: abi.KindAnswer, Reason: abi.BecauseBand, Steps: step("gpt-4o"), Explanation: []byte("it is cheap")}}
	}
	for _, x := range []struct {
		name   string
		change func(d *Decision)
		want   string
	}{
		{"as expected", func(*Decision) {}, ""},
		{"failed", func(d *Decision) { d.Err = errors.New("trap") }, "decision"},
		{"rejected", func(d *Decision) { d.Plan = policy.Plan{Kind: abi.KindReject, Reason: abi.BecauseNothing} }, "decision order first includes reason explanation"},
		{"another order", func(d *Decision) { d.Plan.Steps = step("gpt-4.1", "gpt-4o") }, "order first excludes why gpt-4.1"},
		{"another reason", func(d *Decision) { d.Plan.Reason = abi.BecauseTask }, "reason"},
		{"too dear", func(d *Decision) { d.Fuel = 11 }, "fuel"},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := good()
			x.change(d)
			var got []string
			for _, diff := range c.Compare(d) {
				got = append(got, diff.What)
			}
			if strings.Join(got, " ") != x.want {
				t.Errorf("differences %v, want %s", got, x.want)
			}
		})
	}
	if text := c.Golden(good()); text != "a\n\tanswer: band\n\t\"it is cheap\"\n\t1. gpt-4o: band\n" || Section("z\n\tx\n"+text+"b\n", "a") != text {
		t.Errorf("golden %q", text)
	}
}

func TestDiff(t *testing.T) {
	if got := Diff("a\nb\nc\n", "a\nx\nc\nd\n"); got != "  a\n- b\n+ x\n  c\n+ d\n" {
		t.Errorf("%s", got)
	}
}

// TestSituations are the same each time.
func TestSituations(t *testing.T) {
	a, err := Situations(50)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Situations(50)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if string(policy.AppendRequest(nil, a[i].Request)) != string(policy.AppendRequest(nil, b[i].Request)) {
			t.Errorf("situation %d differs", i)
		}
	}
}
