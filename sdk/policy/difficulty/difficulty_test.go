package difficulty

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

func parsed(t *testing.T, params map[string]string) (*Model, error) {
	t.Helper()
	text, err := policy.FormatConfig(params)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > abi.MaxConfig {
		t.Errorf("the parameters have %d bytes", len(text))
	}
	cfg, err := policy.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	m := new(Model)
	return m, m.Parse(cfg)
}

// TestParams: what is written is what is read.
func TestParams(t *testing.T) {
	m := &Model{Scale: 0.0125, Worth: 0.2, Heads: []Head{{"gpt-4.1", -0.5, 1.25, 300}, {"vendor/large:free", 2, 0, 12.5}}}
	for i := range m.Weights {
		m.Weights[i] = int8(i*7 - 128)
	}
	got, err := parsed(t, m.Params())
	if err != nil {
		t.Fatal(err)
	}
	if got.Weights != m.Weights || got.Scale != m.Scale || got.Worth != m.Worth || len(got.Heads) != 2 || got.Heads[0] != m.Heads[0] || got.Heads[1] != m.Heads[1] {
		t.Errorf("scale %v, worth %v, heads %v", got.Scale, got.Worth, got.Heads)
	}
}

func TestBadParams(t *testing.T) {
	for name, params := range map[string]map[string]string{
		"worth below 0":      {"worth": "-1"},
		"worth NaN":          {"worth": "NaN"},
		"scale 0":            {"scale": "0"},
		"scale infinite":     {"scale": "Inf"},
		"not base64":         {"weights": "?"},
		"too few weights":    {"weights": "AAAA"},
		"a head in pieces":   {"models": "small 1 2"},
		"a head of words":    {"models": "small one two three"},
		"a slope below 0":    {"models": "small 1 -1 100"},
		"a bias that is NaN": {"models": "small NaN 1 100"},
	} {
		if _, err := parsed(t, params); !errors.Is(err, ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parsed(t, map[string]string{"scale": "many"}); !errors.Is(err, policy.ErrConfig) {
		t.Errorf("scale that is no number: %v", err)
	}
}

// TestRateIsTheSumOfFeatures holds the guest's way and the trainer's together.
func TestRateIsTheSumOfFeatures(t *testing.T) {
	m, r := &Model{Scale: 0.01}, NewReader()
	for i := range m.Weights {
		m.Weights[i] = int8(i*31 + i>>7)
	}
	for _, text := range []string{
		"", "   ", "Word", "two words", "two  WORDS, two words 2024.", "größer als κόσμος", strings.Repeat("long text with words ", 2000), strings.Repeat("x ", 5000), strings.Repeat("word", 1000), strings.Repeat(" ", 5000),
	} {
		for task := range uint8(20) {
			want := 0.0
			for _, f := range Features([]byte(text), task) {
				want += m.Scale * float64(m.Weights[f.Slot]) * f.Value
			}
			if got := m.Rate([]byte(text), task, r); math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
				t.Errorf("%.20q, task %d: %v, the features sum up to %v", text, task, got, want)
			}
		}
	}
}

// TestWords: case and digits do not matter, order does, and of a long text the middle does not.
func TestWords(t *testing.T) {
	sum := func(text string) map[uint16]float64 {
		all := map[uint16]float64{}
		for _, f := range Features([]byte(text), 0)[2:] {
			all[f.Slot] = f.Value
		}
		return all
	}
	same := func(a, b map[uint16]float64) bool {
		for k, v := range a {
			if b[k] != v {
				return false
			}
		}
		return len(a) == len(b)
	}
	long := func(middle string) string {
		return strings.Repeat("begin ", 300) + strings.Repeat(middle+" ", 300) + strings.Repeat("end ", 300)
	}
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"case", "Sort THE list", "sort the LIST", true},
		{"digits", "add 12 and 34", "add 98 and 70", true},
		{"more digits", "add 12", "add 123", false},
		{"punctuation", "sort, the: list", "sort the list", true},
		{"order", "the dog bites", "bites the dog", false},
		{"the middle of a long text", long("middle"), long("centre"), true},
		{"the middle of a short text", "begin middle end", "begin centre end", false},
	} {
		if same(sum(c.a), sum(c.b)) != c.same {
			t.Errorf("%s: same features is not %v", c.name, c.same)
		}
	}
}

// TestOffer: the chance falls with the difficulty by the slope, a model without a head has its quality at 0, and a cost is
// taken off.
func TestOffer(t *testing.T) {
	m, r := &Model{Heads: []Head{{"small", 1, 2, 100}}}, NewReader()
	small := m.Offer(&policy.Candidate{ModelName: "small", Quality: 0.1, PriceIn: 2_000_000, PriceOut: 10_000_000})
	other := m.Offer(&policy.Candidate{ModelName: "other", Quality: 0.75})
	for _, c := range []struct{ got, want float64 }{
		{small.LogOdds(0), 1},
		{small.LogOdds(1), -1},
		{other.Gain(r, 1, 0, 1000), 0.75},
		{other.Gain(r, 1, math.Log(3), 1000), 0.5},
		{small.Gain(r, 0, 0, 1000), -0.003}, // 1,000 tokens at $2 per million, 100 at $10
		{small.Gain(r, 0.01, 0.5, 1000), 0.005 - 0.003},
	} {
		if math.Abs(c.got-c.want) > 2e-5 {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
}

// TestChance: what a reader knows by heart is what the exponential says.
func TestChance(t *testing.T) {
	r := NewReader()
	for odds := -20.0; odds <= 20; odds += 0.0137 {
		if got, want := r.Chance(odds), Chance(odds); math.Abs(got-want) > 2e-5 {
			t.Errorf("%v: %v, exactly %v", odds, got, want)
		}
	}
	for odds, want := range map[float64]float64{math.Inf(-1): 0, math.Inf(1): 1, math.NaN(): 0, 0: 0.5} {
		if got := r.Chance(odds); math.Abs(got-want) > 2e-5 {
			t.Errorf("%v: %v, want %v", odds, got, want)
		}
	}
}

// TestRateDoesNotAllocate: a guest pays for garbage with fuel.
func TestRateDoesNotAllocate(t *testing.T) {
	m, r, text := new(Model), NewReader(), []byte(strings.Repeat("some words of a long text ", 1000))
	if n := testing.AllocsPerRun(100, func() { m.Rate(text, 1, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
