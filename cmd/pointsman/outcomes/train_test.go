package outcomes

import (
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
)

// TestTrainingBeatsChance: on prompts that were held out, every setting of the policy lies above the random mix of all models
// at the same cost, and the probabilities tell more than the means.
func TestTrainingBeatsChance(t *testing.T) {
	for seed := range uint64(3) {
		tr, err := Train(world(t, Synthetic(3000, seed), 5), Fitting{}, 0.98, Options{Seed: 1, Resamples: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tr.Report.Settings {
			if s.Gain.Value < 0 {
				t.Errorf("seed %d, %s: accuracy %.4f, the random mix has %.4f", seed, s.Value, s.Accuracy.Value, s.Random.Value)
			}
		}
		if g := tr.Report.Curve.Gain; g.Low < 0.02 {
			t.Errorf("seed %d: the areas differ by %+v", seed, g)
		}
		for _, f := range tr.Folds {
			if f.Prompts != 600 || f.Area < f.Random+0.01 || f.Loss > 0.8*f.Blind {
				t.Errorf("seed %d: %+v", seed, f)
			}
		}
		if kept := tr.Report.Settings[0]; kept.Accuracy.Value < 0.98*tr.Report.best().Accuracy.Value || kept.CostPer1000.Value > 0.8*tr.Report.best().CostPer1000.Value {
			t.Errorf("seed %d: 98 %% were to be kept at a lower price: %+v", seed, kept)
		}
	}
}

// TestNothingToLearn: where words tell nothing, held-out results do not pretend that they do.
func TestNothingToLearn(t *testing.T) {
	s, other := Synthetic(2000, 1), Synthetic(2000, 2)
	for i := range s.Prompts {
		s.Prompts[i].Text = other.Prompts[mix(1, s.Prompts[i].ID)%2000].Text
	}
	tr, err := Train(world(t, s, 5), Fitting{}, 0, Options{Resamples: 200})
	if err != nil {
		t.Fatal(err)
	}
	if g := tr.Report.Curve.Gain; g.Value > 0.01 {
		t.Errorf("a gain of %+v over the random mix", g)
	}
}

// TestTrainingIsDeterministic: the same set and seed make the same parameters, another seed others.
func TestTrainingIsDeterministic(t *testing.T) {
	text := func(seed uint64) string {
		tr, err := Train(world(t, Synthetic(200, 1), 4), Fitting{Seed: seed, Worth: 0.01}, 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := tr.TOML("difficulty.wasm")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one, again, two := text(1), text(1), text(2)
	if one != again || one == two {
		t.Errorf("the same seed made the same: %v; another seed did: %v", one == again, one == two)
	}
}

// TestTOML: what is written is the model.
func TestTOML(t *testing.T) {
	tr, err := Train(world(t, Synthetic(200, 1), 4), Fitting{}, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := tr.TOML("x/difficulty.wasm")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Policies map[string]struct {
			File   string
			Grants []string
			Config struct {
				Worth, Scale float64
				Weights      string
				Models       []string
			}
		}
	}
	if _, err := toml.Decode(text, &file); err != nil {
		t.Fatal(err)
	}
	p := file.Policies["difficulty"]
	params := tr.Model.Params()
	if p.File != "x/difficulty.wasm" || len(p.Grants) != 1 || strings.Join(p.Config.Models, ",") != params["models"] || p.Config.Weights != params["weights"] || p.Config.Worth != tr.Model.Worth {
		t.Errorf("%s", text)
	}
	lines, err := policy.FormatConfig(params)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := policy.ParseConfig(lines)
	if err != nil {
		t.Fatal(err)
	}
	var read difficulty.Model
	if err := read.Parse(cfg); err != nil || !reflect.DeepEqual(read.Weights, tr.Model.Weights) {
		t.Errorf("%v", err)
	}
}
