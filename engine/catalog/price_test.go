package catalog

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

func TestCost(t *testing.T) {
	base := Price{In: 3_000_000, Out: 15_000_000, CacheRead: 300_000, CacheWrite: 3_750_000}
	steps := base
	steps.Threshold, steps.InAbove, steps.OutAbove, steps.CacheReadAbove = 1000, 6_000_000, 22_500_000, 600_000
	tests := []struct {
		name  string
		price Price
		usage Usage
		want  storage.NanoUSD
	}{
		{"nothing", base, Usage{}, 0},
		// Anthropic's 3 input, 12304 cache write, 550 output: the classic of a cache write charged twice.
		{"cache write once", base, Usage{Input: 12307, CacheWrite: 12304, Output: 550}, 54_399_000},
		{"cache read", base, Usage{Input: 1000, CacheRead: 400, Output: 10}, 1_800_000 + 120_000 + 150_000},
		{"reasoning is inside the output", base, Usage{Output: 100, Reasoning: 90}, 1_500_000},
		{"reasoning at its own price", Price{Out: 10_000_000, Reasoning: 1_000_000}, Usage{Output: 100, Reasoning: 90}, 100_000 + 90_000},
		{"no cache prices", Price{In: 3_000_000}, Usage{Input: 1000, CacheRead: 400, CacheWrite: 500}, 3_000_000},
		{"at the threshold", steps, Usage{Input: 1000, Output: 1}, 3_015_000},
		{"above it the whole request is dearer", steps, Usage{Input: 1001, Output: 1}, 6_006_000 + 22_500},
		{"above it cached tokens too", steps, Usage{Input: 1001, CacheRead: 1001}, 600_600},
		{"a part larger than its whole", base, Usage{Input: 10, CacheRead: 20, Output: 1, Reasoning: 5}, 6_000 + 75_000},
		{"negative counts", base, Usage{Input: -5, Output: -5, CacheRead: -5, CacheWrite: -5, Reasoning: -5}, 0},
		{"499 pico round down", Price{In: 499}, Usage{Input: 1}, 0},
		{"500 pico round up", Price{In: 500}, Usage{Input: 1}, 1},
		{"rounded once, not per part", Price{In: 400, Out: 400}, Usage{Input: 1, Output: 1}, 1},
		{"too much", Price{In: MaxPrice, Out: MaxPrice}, Usage{Input: math.MaxInt64, Output: math.MaxInt64}, math.MaxInt64},
	}
	for _, test := range tests {
		if got := test.price.Cost(test.usage); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// The closed form in big integers, written from the documentation.
func bigCost(p Price, u Usage) *big.Int {
	in, out, read, write, reasoning := p.In, p.Out, p.CacheRead, p.CacheWrite, p.Reasoning
	if read == 0 {
		read = in
	}
	if write == 0 {
		write = in
	}
	if reasoning == 0 {
		reasoning = out
	}
	sum := new(big.Int)
	for _, part := range [][2]int64{
		{u.Input - u.CacheRead - u.CacheWrite, in}, {u.CacheRead, read}, {u.CacheWrite, write}, {u.Output - u.Reasoning, out}, {u.Reasoning, reasoning},
	} {
		sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1])))
	}
	sum.Add(sum, big.NewInt(500)).Div(sum, big.NewInt(1000))
	if !sum.IsInt64() {
		sum.SetInt64(math.MaxInt64)
	}
	return sum
}

func TestCostAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		size := func(bits int) int64 { return r.Int64N(1 << r.IntN(bits)) }
		p := Price{In: size(40), Out: size(40), CacheRead: size(40), CacheWrite: size(40), Reasoning: size(40)}
		u := Usage{CacheRead: size(60), CacheWrite: size(60), Reasoning: size(60)}
		u.Input, u.Output = u.CacheRead+u.CacheWrite+size(60), u.Reasoning+size(60)
		if got, want := p.Cost(u), bigCost(p, u); int64(got) != want.Int64() {
			t.Fatalf("%+v of %+v: %d, want %s", u, p, got, want)
		}
	}
}

func TestIncomplete(t *testing.T) {
	p := Price{In: 1, CacheRead: 1}
	for usage, want := range map[Usage]bool{{Input: 1}: false, {Input: 1, CacheRead: 1}: false, {Input: 1, CacheWrite: 1}: true} {
		if p.Incomplete(usage) != want {
			t.Errorf("%+v: incomplete %v", usage, !want)
		}
	}
	if (Price{}).Incomplete(Usage{CacheRead: 1, CacheWrite: 1}) {
		t.Error("a free deployment needs no cache price")
	}
}

func TestChargeAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var last storage.Credits
	for i := range 20_000 {
		tokens, rate := r.Int64N(1<<r.IntN(63)), r.Int64N(1<<r.IntN(50))
		m := &Model{Rate: storage.Credits(rate)}
		want := new(big.Int).Mul(big.NewInt(tokens), big.NewInt(rate))
		want.Add(want, big.NewInt(999)).Div(want, big.NewInt(1000))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := m.Charge(tokens); int64(got) != want.Int64() {
			t.Fatalf("%d tokens at %d: %d, want %s", tokens, rate, got, want)
		}
		// More tokens never cost less.
		m.Rate = 1_400
		if next := m.Charge(int64(i)); next < last {
			t.Fatalf("%d tokens cost %s, fewer cost %s", i, next, last)
		} else {
			last = next
		}
	}
	for tokens, want := range map[int64]storage.Credits{0: 0, -1: 0, 1: 2, 1000: 1_400, math.MaxInt64: math.MaxInt64} {
		if got := (&Model{Rate: 1_400}).Charge(tokens); tokens != math.MaxInt64 && got != want {
			t.Errorf("%d tokens: %d, want %d", tokens, got, want)
		}
	}
	if got := (&Model{Rate: MaxRate}).Charge(math.MaxInt64); got != math.MaxInt64 {
		t.Errorf("the largest charge is %d", got)
	}
}

func TestParseUSDPerMillion(t *testing.T) {
	tests := []struct {
		text string
		want int64
		ok   bool
	}{
		{"0.15", 150_000, true},
		{"0", 0, true},
		{"10", 10_000_000, true},
		{"0.000001", 1, true},
		{"1000000", MaxPrice, true},
		{"1000000.000001", 0, false},
		{"-1", 0, false},
		{"0.0000001", 0, false},
		{"1e3", 0, false},
		{"", 0, false},
		{"NaN", 0, false},
	}
	for _, test := range tests {
		got, err := ParseUSDPerMillion(test.text)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%q: %d, %v", test.text, got, err)
		}
	}
}

func BenchmarkCost(b *testing.B) {
	p := Price{In: 3_000_000, Out: 15_000_000, CacheRead: 300_000}
	for b.Loop() {
		p.Cost(Usage{Input: 12_000, CacheRead: 8_000, Output: 900, Reasoning: 300})
	}
}
