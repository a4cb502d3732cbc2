package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/cmd/pointsman/outcomes"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
)

const syntheticOutcomes = "examples/outcomes/synthetic.jsonl"

// scored runs a replay of outcomes and reads its report.
func scored(t *testing.T, args ...string) *outcomes.Report {
	t.Helper()
	r := new(outcomes.Report)
	if err := json.Unmarshal([]byte(ok(t, append([]string{"replay", "--json"}, args...)...)), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOutcomes goes the way of the tutorial: split, train on one part, score the real module on the other. Every setting
// lies above the random mix, and so does the curve between them.
func TestOutcomes(t *testing.T) {
	module := examplePolicy(t, "difficulty")
	t.Chdir(t.TempDir())
	ok(t, "outcomes", "synthetic", "--prompts", "4000", "-o", "all.jsonl")
	contains(t, ok(t, "outcomes", "split", "all.jsonl", "-o", "train.jsonl", "--rest", "test.jsonl"), "train.jsonl: 2000 prompts", "test.jsonl: 2000 prompts")
	contains(t, ok(t, "policy", "train", "difficulty", "--outcomes", "train.jsonl", "-o", "config.toml"), "HELD-OUT FOLD", "always syn-large, best single", "bytes of at most 65,536")
	contains(t, ok(t, "policy", "check", module, "--config", "config.toml", "--grants", "text"), "4 parameters accepted", "ok  conformance", "ok  purity")
	contains(t, ok(t, "policy", "train", "difficulty", "--outcomes", "train.jsonl", "-o", "served.toml", "--module", module, "--resamples", "0"), "served.toml")
	contains(t, ok(t, "config", "check", "served.toml"), "[policies.difficulty]") // as a gateway takes it

	sweep := "worth=0"
	for worth := 0.0005; worth < 2; worth *= 1.3 {
		sweep += fmt.Sprintf(",%.4g", worth)
	}
	r := scored(t, "--policy", module, "--config", "config.toml", "--outcomes", "test.jsonl", "--sweep", sweep, "--resamples", "200")
	if r.Prompts != 2000 || r.Folds != 5 || r.Cheapest != "syn-mini" || r.Best != "syn-large" || len(r.Settings) != 34 {
		t.Errorf("%+v", r)
	}
	for _, s := range r.Settings {
		if s.Gain.Value < 0 || s.Failed+s.Rejected+s.Asked > 0 {
			t.Errorf("%s: accuracy %.4f at USD %.4f per 1,000, the random mix has %.4f", s.Value, s.Accuracy.Value, s.CostPer1000.Value, s.Random.Value)
		}
	}
	for _, p := range r.Curve.Points {
		if p.Accuracy < p.Random-1e-9 { // the ends are the same
			t.Errorf("at USD %.4f per 1,000: %.4f, the random mix has %.4f", p.CostPer1000, p.Accuracy, p.Random)
		}
	}
	if r.Curve.Gain.Low < 0.02 {
		t.Errorf("areas: %+v", r.Curve.Gain)
	}
	if again := scored(t, "--policy", module, "--config", "config.toml", "--outcomes", "test.jsonl", "--resamples", "200"); again.Settings[0].Accuracy != r.Settings[0].Accuracy {
		t.Errorf("the same replay came to %+v and %+v", r.Settings[0].Accuracy, again.Settings[0].Accuracy)
	}
	sameAsTrained(t, module)
}

// sameAsTrained lets the module and the trainer's arithmetic decide about the same facts.
func sameAsTrained(t *testing.T, path string) {
	t.Helper()
	params, err := readParams([]string{"config.toml"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := policy.FormatConfig(params)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := policy.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	var model difficulty.Model
	if err := model.Parse(cfg); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := &module{name: "difficulty", path: path, wasm: wasm, settings: policies.Settings{Params: params, Grants: abi.GrantText}}
	host, _, err := m.load(policies.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close() //nolint:errcheck // it never served
	w, err := worldFlags{Folds: 5, Seed: 1, Level: "balanced"}.world("test.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	reader := difficulty.NewReader()
	differ := 0
	w.Play(func(f *policy.Facts, plan *policy.Plan) error {
		if _, err := host.Route(m.name, f, plan); err != nil {
			return err
		}
		best, most := 0, math.Inf(-1)
		z := model.Rate(f.Request.Text, f.Request.Task, reader)
		for c := range f.Snapshot.Candidates {
			offer := model.Offer(&f.Snapshot.Candidates[c])
			if gain := offer.Gain(reader, model.Worth, z, float64(f.Request.InputTokens)); gain > most {
				best, most = c, gain
			}
		}
		if len(plan.Steps) == 0 || int(plan.Steps[0].Candidate) != best {
			differ++
		}
		return nil
	})
	if differ > 0 {
		t.Errorf("the module decides %d of %d prompts otherwise than the trainer", differ, len(w.Set.Prompts))
	}
}

// independent is what scripts/score-outcomes.py prints; pairs are accuracy and cost.
type independent struct {
	Prompts          int
	Settings         map[string]struct{ Accuracy, Cost, Random float64 }
	Tasks            map[string][2]float64
	Singles          map[string][2]float64
	Cheapest         string
	Best             string `json:"best_single"`
	Oracle           [2]float64
	Area             float64
	RandomArea       float64 `json:"random_area"`
	APGR             float64
	CPT50, CPT80     float64
	AccuracyInterval [2]float64 `json:"accuracy_interval"`
	CostInterval     [2]float64 `json:"cost_interval"`
	GainInterval     [2]float64 `json:"gain_interval"`
}

// TestScoresEqualAnIndependentComputation lets a program that has nothing of ours score the same choices, of four models and
// of two.
func TestScoresEqualAnIndependentComputation(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3")
	}
	script, err := filepath.Abs("../../scripts/score-outcomes.py")
	if err != nil {
		t.Fatal(err)
	}
	module := examplePolicy(t, "difficulty")
	all, err := os.ReadFile("../../" + syntheticOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var two []string // the prompts' texts stand in the lines of syn-large
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, `"syn-large"`) || strings.Contains(line, `"syn-small"`) {
			two = append(two, line)
		}
	}
	for name, text := range map[string]string{"four.jsonl": string(all), "two.jsonl": strings.Join(two, "")} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ok(t, "policy", "train", "difficulty", "--outcomes", name, "-o", "config.toml", "--resamples", "0", "--worth", "0.03")
		r := scored(t, "--policy", module, "--config", "config.toml", "--outcomes", name, "--sweep", "worth=0,0.001,0.003,0.01,0.1,1000", "--choices", "choices.jsonl", "--resamples", "2000")
		out, err := exec.Command(python, script, name, "choices.jsonl", "2000").Output()
		if err != nil {
			t.Fatal(err)
		}
		var want independent
		if err := json.Unmarshal(out, &want); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { compareScores(t, r, &want) })
	}
}

func compareScores(t *testing.T, r *outcomes.Report, want *independent) {
	t.Helper()
	same := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-9*max(1, math.Abs(want))) {
			t.Errorf("%s: %v, the other computation has %v", what, got, want)
		}
	}
	if r.Prompts != want.Prompts || r.Cheapest != want.Cheapest || r.Best != want.Best || len(r.Settings) != len(want.Settings) || len(r.Tasks) != len(want.Tasks) || len(r.Models) != len(want.Singles) {
		t.Errorf("%+v\nand %+v", r, want)
	}
	for _, m := range r.Models {
		same("accuracy of "+m.Model, m.Accuracy.Value, want.Singles[m.Model][0])
		same("cost of "+m.Model, m.CostPer1000.Value, 1000*want.Singles[m.Model][1])
	}
	same("accuracy of the oracle", r.Oracle.Accuracy.Value, want.Oracle[0])
	same("cost of the oracle", r.Oracle.CostPer1000.Value, 1000*want.Oracle[1])
	for _, s := range r.Settings {
		same(s.Value+": accuracy", s.Accuracy.Value, want.Settings[s.Value].Accuracy)
		same(s.Value+": cost", s.CostPer1000.Value, 1000*want.Settings[s.Value].Cost)
		same(s.Value+": random mix", s.Random.Value, want.Settings[s.Value].Random)
		same(s.Value+": gain", s.Gain.Value, want.Settings[s.Value].Accuracy-want.Settings[s.Value].Random)
	}
	for _, task := range r.Tasks {
		same("accuracy of "+task.Task, task.Accuracy.Value, want.Tasks[task.Task][0])
		same("cost of "+task.Task, task.CostPer1000.Value, 1000*want.Tasks[task.Task][1])
	}
	same("area", r.Curve.Area.Value, want.Area)
	same("area of the random mix", r.Curve.RandomArea.Value, want.RandomArea)
	if len(r.Models) == 2 {
		same("APGR", r.Pair.APGR.Value, want.APGR)
		same("CPT50", r.Pair.CPT50.Value, want.CPT50)
		same("CPT80", r.Pair.CPT80.Value, want.CPT80)
	}
	// Two bootstraps of 2,000 resamples differ by about a thirtieth of an interval at each end.
	near := func(what string, got outcomes.Interval, scale float64, want [2]float64) {
		t.Helper()
		if width := want[1] - want[0]; math.Abs(got.Low/scale-want[0]) > width/6 || math.Abs(got.High/scale-want[1]) > width/6 {
			t.Errorf("%s: from %v to %v, the other computation has %v", what, got.Low/scale, got.High/scale, want)
		}
	}
	near("interval of accuracy", r.Settings[0].Accuracy, 1, want.AccuracyInterval)
	near("interval of cost", r.Settings[0].CostPer1000, 1000, want.CostInterval)
	near("interval of gain", r.Settings[0].Gain, 1, want.GainInterval)
}

// TestReplayRounds: policies of several rounds are played with the recorded answers, and side calls cannot be had.
func TestReplayRounds(t *testing.T) {
	set, err := filepath.Abs("../../" + syntheticOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	module := examplePolicy(t, "cascade")
	t.Chdir(t.TempDir())
	args := []string{"replay", "--policy", module, "--config", "cheap=syn-small", "--config", "judge=syn-medium", "--config", "strong=syn-large", "--outcomes", set, "--resamples", "0"}
	contains(t, ok(t, args...), "syn-small 100 %", "480 answered in several rounds", "480 side calls that could not be had")
}

// TestOutcomesFaults: what is wrong with a command line or a file is said.
func TestOutcomesFaults(t *testing.T) {
	set, err := filepath.Abs("../../" + syntheticOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"bad.jsonl": `{"id":"1"}`, "none.toml": "a = 1\n", "two.toml": "[policies.a.config]\nx = 1\n[policies.b.config]\nx = 1\n", "broken.toml": "[", "deep.toml": "[config]\nx = 1979-05-27\n",
		"table.csv": "prompt,m,n\nx,True,False\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, want string
		status     int
		args       []string
	}{
		{"no policy", "--outcomes scores the policy that --policy names", 1, []string{"replay", "--outcomes", set}},
		{"no such policy", "did you mean the built-in policy", 1, []string{"replay", "--policy", "ecco", "--outcomes", set}},
		{"a bad file", "bad.jsonl:1: model: missing", 1, []string{"replay", "--policy", "eco", "--outcomes", "bad.jsonl"}},
		{"one fold", "1 folds of 480 prompts", 1, []string{"replay", "--policy", "eco", "--outcomes", set, "--folds", "1"}},
		{"a bad level", `--level "cheap" is not`, 1, []string{"replay", "--policy", "eco", "--outcomes", set, "--level", "cheap"}},
		{"a bad sweep", `--sweep "worth" is not`, 1, []string{"replay", "--policy", "eco", "--outcomes", set, "--sweep", "worth"}},
		{"too many resamples", "--resamples must be", 1, []string{"replay", "--policy", "eco", "--outcomes", set, "--resamples", "1000000"}},
		{"a parameter that the policy refuses", "did not accept its parameters", 1, []string{"replay", "--policy", "eco", "--outcomes", set, "--config", "min_quality=much"}},
		{"no file of parameters", "neither KEY=VALUE nor a file", 1, []string{"replay", "--policy", "eco", "--outcomes", set, "--config", "missing.toml"}},
		{"a broken file of parameters", "broken.toml:1:", 1, []string{"policy", "run", "eco", "--config", "broken.toml"}},
		{"a file without parameters", "found 0", 1, []string{"policy", "run", "eco", "--config", "none.toml"}},
		{"a file with those of two policies", "found 2: policies.a.config, policies.b.config", 1, []string{"policy", "run", "eco", "--config", "two.toml"}},
		{"a worth below 0", "neither a worth", 1, []string{"policy", "train", "difficulty", "--outcomes", set, "-o", "c.toml", "--worth=-1"}},
		{"a format that there is not", `format "csv" is not known`, 1, []string{"outcomes", "convert", "csv", "table.csv", "-o", "x.jsonl"}},
		{"no price", "give --price m=IN/OUT", 1, []string{"outcomes", "convert", "routellm", "table.csv", "-o", "x.jsonl"}},
		{"a bad price", `--price "m=1" is not MODEL=IN/OUT`, 1, []string{"outcomes", "convert", "routellm", "table.csv", "-o", "x.jsonl", "--price", "m=1"}},
		{"a share of everything", "the share must be", 1, []string{"outcomes", "split", set, "-o", "a", "--rest", "b", "--share", "1"}},
	} {
		if out, status := command(t, c.args...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s: status %d, %s, want %q", c.name, status, out, c.want)
		}
	}
	contains(t, ok(t, "outcomes", "convert", "routellm", "table.csv", "-o", "x.jsonl", "--price", "m=1/2", "--price", "n=3/4"), "2 answers whose text is not in the file", "x.jsonl: 2 answers to 1 prompts")
}

// TestParamsFile: a file of parameters is either kind of table, and what comes later counts.
func TestParamsFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"gateway.toml": "[server]\nport = 1\n[policies]\ntrusted_keys = [\"k\"]\n[policies.mine]\nfile = \"x\"\n[policies.mine.config]\na = 1\nlist = [\"x y\", 2]\nb.c = true\n",
		"policy.toml":  "name = \"mine\"\n[config]\na = 0.5\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	params, err := readParams([]string{"gateway.toml", "policy.toml", "d=e=f"})
	if err != nil || len(params) != 4 || params["a"] != "0.5" || params["list"] != "x y,2" || params["b.c"] != "true" || params["d"] != "e=f" {
		t.Errorf("%v, %v", params, err)
	}
}
