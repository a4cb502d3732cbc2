package outcomes

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
)

func builtin(t testing.TB) *catalog.Catalog {
	t.Helper()
	entries, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Build(entries)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func world(t testing.TB, s *Set, folds int) *World {
	t.Helper()
	parts, err := s.Folds(folds, 1)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorld(s, parts, builtin(t), abi.LevelBalanced, 1)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestFolds: folds are of one size, also within each task, and do not depend on the order of lines.
func TestFolds(t *testing.T) {
	s := Synthetic(103, 1)
	folds, err := s.Folds(5, 7)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	byID := map[string]int{}
	for i, f := range folds {
		counts[fmt.Sprint(f)]++
		counts[s.Prompts[i].Task+fmt.Sprint(f)]++
		byID[s.Prompts[i].ID] = f
	}
	for f := range 5 {
		if n := counts[fmt.Sprint(f)]; n < 20 || n > 21 {
			t.Errorf("fold %d has %d of 103 prompts", f, n)
		}
		for _, task := range s.Tasks {
			if n := counts[task+fmt.Sprint(f)]; n < 5 || n > 6 {
				t.Errorf("fold %d has %d of task %s's 26", f, n, task)
			}
		}
	}
	slices.Reverse(s.Prompts)
	again, _ := s.Folds(5, 7)
	other, _ := s.Folds(5, 8)
	differ := 0
	for i, p := range s.Prompts {
		if again[i] != byID[p.ID] {
			t.Fatalf("%s moved with the order of lines", p.ID)
		}
		if other[i] != byID[p.ID] {
			differ++
		}
	}
	if differ < 50 {
		t.Errorf("another seed moved %d of 103 prompts", differ)
	}
	for _, k := range []int{-1, 0, 1, 104} {
		if _, err := s.Folds(k, 1); err == nil {
			t.Errorf("%d folds were made", k)
		}
	}
}

func TestSplit(t *testing.T) {
	s := Synthetic(200, 1)
	taken, rest, err := s.Split(0.7, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(taken.Prompts) != 140 || len(rest.Prompts) != 60 || !reflect.DeepEqual(taken.Tasks, s.Tasks) || !reflect.DeepEqual(rest.Tasks, s.Tasks) {
		t.Errorf("%d and %d prompts, tasks %v and %v", len(taken.Prompts), len(rest.Prompts), taken.Tasks, rest.Tasks)
	}
	seen := map[string]bool{}
	for _, p := range append(slices.Clone(taken.Prompts), rest.Prompts...) {
		if seen[p.ID] {
			t.Errorf("%s is on both sides", p.ID)
		}
		seen[p.ID] = true
	}
	for _, share := range []float64{0, 1, -1, 0.001} {
		if _, _, err := s.Split(share, 1); err == nil {
			t.Errorf("a share of %v was taken", share)
		}
	}
}

// TestNothingLeaks: what a policy is told of models in a fold does not depend on the fold's own answers, but on all others.
func TestNothingLeaks(t *testing.T) {
	s := Synthetic(40, 1)
	before := world(t, s, 4)
	a := &s.Prompts[0].Answers[0]
	a.Score, a.Cost = 1-a.Score, a.Cost+1
	after := world(t, s, 4)
	for fold := range 4 {
		same := bytes.Equal(before.Snapshots[fold].Bytes, after.Snapshots[fold].Bytes)
		if own := before.Folds[0] == fold; same != own {
			t.Errorf("fold %d, whose prompt it is: %v: what is known of models is the same: %v", fold, own, same)
		}
	}
	if !reflect.DeepEqual(before.requests, after.requests) {
		t.Error("a request depends on an answer")
	}
}

// TestCandidates: quality and price come from the outcomes, the rest from the catalog where it knows the name.
func TestCandidates(t *testing.T) {
	s := &Set{Models: []string{"claude-sonnet-4.6", "nobody", "somebody"}, Tasks: []string{"t"}, Prompts: []Prompt{
		{"1", "t", "p", []Answer{{1, 100, 100, 0.004}, {0, 100, 100, 0.0002}, {1, 500, 500, 0.01}}}, {"2", "t", "q", []Answer{{0.5, 100, 100, 0.004}, {1, 100, 100, 0}, {0, 500, 500, 0}}},
	}}
	all := s.Candidates(builtin(t))
	known, nobody, somebody := all[0], all[1], all[2]
	if known.Tier != 3 || known.ProviderName != "anthropic" || known.ContextWindow == 0 || known.Quality != 0.75 || known.PriceIn != 20_000_000 || known.PriceOut != 20_000_000 || known.CreditsPer1K != 20_000 {
		t.Errorf("%+v", known)
	}
	if nobody.Tier != 1 || nobody.ProviderName != "recorded" || nobody.Quality != 0.5 || nobody.PriceIn != 500_000 || nobody.Capabilities != ^uint32(0) || nobody.Health != abi.HealthHealthy {
		t.Errorf("%+v", nobody)
	}
	if somebody.Tier != 2 || somebody.Provider != nobody.Provider || somebody.Model == nobody.Model || somebody.Key == nobody.Key {
		t.Errorf("%+v beside %+v", somebody, nobody)
	}
}

// TestSyntheticFile: the set that comes with the source is what its generator makes.
func TestSyntheticFile(t *testing.T) {
	file, err := os.ReadFile("../../../examples/outcomes/synthetic.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var made bytes.Buffer
	if err := Synthetic(480, 1).Write(&made); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, made.Bytes()) {
		t.Error("examples/outcomes/synthetic.jsonl is not what pointsman outcomes synthetic makes")
	}
	if len(file) > 300_000 {
		t.Errorf("it has %d bytes", len(file))
	}
}
