package catalog

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

func TestCost(t *testing.T) {
	base := Price{Rates: Rates{RateIn: 3_000_000, RateOut: 15_000_000, RateCacheRead: 300_000, RateCacheWrite: 3_750_000}}
	full := base
	full.Rates[RateCacheWrite1h], full.Rates[RateCacheWrite12h] = 6_000_000, 7_000_000
	full.Rates[RateAudioIn], full.Rates[RateAudioOut], full.Rates[RateImageIn], full.Rates[RateImageOut] = 40_000_000, 80_000_000, 5_000_000, 30_000_000
	steps := base
	steps.Sets = []Set{
		{ServiceTier: "flex", Rates: Rates{RateIn: 1_500_000, RateOut: 7_500_000}},
		{Above: 1000, Rates: Rates{RateIn: 6_000_000, RateOut: 22_500_000, RateCacheRead: 600_000}},
		{Above: 2000, Rates: Rates{RateIn: 9_000_000}},
		{ServiceTier: "flex", Above: 2000, Rates: Rates{RateIn: 4_500_000}},
	}
	in := func(n int64) Price { return Price{Rates: Rates{RateIn: n}} }
	tests := []struct {
		name  string
		price Price
		usage Usage
		want  storage.NanoUSD
		lack  string
	}{
		{"nothing", base, Usage{}, 0, ""},
		// Anthropic's 3 input, 12304 cache write, 550 output: the classic of a cache write charged twice.
		{"cache write once", base, Usage{Input: 12307, CacheWrite: 12304, Output: 550}, 54_399_000, ""},
		{"cache read", base, Usage{Input: 1000, CacheRead: 400, Output: 10}, 1_800_000 + 120_000 + 150_000, ""},
		{"cache writes of three durations", full, Usage{Input: 100, CacheWrite: 60, CacheWrite1h: 20, CacheWrite12h: 10}, 40*3_000 + 30*3_750 + 20*6_000 + 10*7_000, ""},
		{"an hour without a rate", base, Usage{Input: 100, CacheWrite: 60, CacheWrite1h: 60}, 40*3_000 + 60*3_750, "cache_write_1h"},
		{"an hour where only that is listed", Price{Rates: Rates{RateIn: 3_000_000, RateCacheWrite1h: 6_000_000}}, Usage{Input: 10, CacheWrite: 10, CacheWrite12h: 10}, 60_000, "cache_write_12h"},
		{"reasoning is inside the output", base, Usage{Output: 100, Reasoning: 90}, 1_500_000, ""},
		{"reasoning at its own price", Price{Rates: Rates{RateOut: 10_000_000, RateReasoning: 1_000_000}}, Usage{Output: 100, Reasoning: 90}, 100_000 + 90_000, ""},
		{"audio and images", full, Usage{Input: 100, AudioInput: 30, ImageInput: 20, Output: 50, AudioOutput: 10, ImageOutput: 5}, 50*3_000 + 30*40_000 + 20*5_000 + 35*15_000 + 10*80_000 + 5*30_000, ""},
		{"audio without a rate", base, Usage{Input: 100, AudioInput: 30, ImageInput: 20, Output: 50, AudioOutput: 10, ImageOutput: 5}, 100*3_000 + 50*15_000, "audio_in, audio_out, image_out"},
		{"no cache prices", in(3_000_000), Usage{Input: 1000, CacheRead: 400, CacheWrite: 500}, 3_000_000, "cache_read, cache_write"},
		{"cached tokens that cost nothing", Price{Rates: Rates{RateIn: 3_000_000, RateCacheRead: Free, RateCacheWrite: Free}}, Usage{Input: 1000, CacheRead: 400, CacheWrite: 500}, 300_000, ""},
		{"nothing is listed, nothing is lacking", Price{}, Usage{Input: 10, CacheRead: 5, AudioInput: 5, ServiceTier: "flex"}, 0, ""},
		{"at the threshold", steps, Usage{Input: 1000, Output: 1}, 3_015_000, ""},
		{"above it the whole request is dearer", steps, Usage{Input: 1001, Output: 1}, 6_006_000 + 22_500, ""},
		{"above it cached tokens too", steps, Usage{Input: 1001, CacheRead: 1001}, 600_600, ""},
		{"above the next one", steps, Usage{Input: 2001, Output: 1}, 18_009_000 + 22_500, ""},
		{"another service", steps, Usage{Input: 1001, Output: 1, ServiceTier: "flex"}, 1_501_500 + 7_500, ""},
		{"another service above its threshold", steps, Usage{Input: 2001, Output: 1, ServiceTier: "flex"}, 9_004_500 + 7_500, ""},
		{"another service stands alone", steps, Usage{Input: 10, CacheRead: 10, ServiceTier: "flex"}, 15_000, "cache_read"},
		{"a service without prices", steps, Usage{Input: 1001, Output: 1, ServiceTier: "scale"}, 6_006_000 + 22_500, "service_tier"},
		{"a part larger than its whole", base, Usage{Input: 10, CacheRead: 20, Output: 1, Reasoning: 5}, 6_000 + 75_000, ""},
		{"negative counts", base, Usage{Input: -5, Output: -5, CacheRead: -5, CacheWrite: -5, Reasoning: -5}, 0, ""},
		{"499 pico round down", in(499), Usage{Input: 1}, 0, ""},
		{"500 pico round up", in(500), Usage{Input: 1}, 1, ""},
		{"rounded once, not per part", Price{Rates: Rates{RateIn: 400, RateOut: 400}}, Usage{Input: 1, Output: 1}, 1, ""},
		{"too much", Price{Rates: Rates{RateIn: MaxPrice, RateOut: MaxPrice}}, Usage{Input: math.MaxInt64, Output: math.MaxInt64}, math.MaxInt64, ""},
	}
	for _, test := range tests {
		if got, lack := test.price.Cost(test.usage); got != test.want || lack.String() != test.lack {
			t.Errorf("%s: %d, lacking %q; want %d, %q", test.name, got, lack, test.want, test.lack)
		}
	}
	if n := testing.AllocsPerRun(100, func() { steps.Cost(Usage{Input: 2001, CacheRead: 5, Output: 1, ServiceTier: "flex"}) }); n != 0 {
		t.Errorf("Cost allocates %v times", n)
	}
}

// bigCost is the closed form in big integers, written from the documentation.
func bigCost(p *Price, u Usage) *big.Int {
	r := p.Rates
	stands := func(in *Rates, over *Rates) {
		for k, n := range over {
			if n != 0 {
				in[k] = n
			}
		}
	}
	listed := ""
	for _, s := range p.Sets {
		if s.ServiceTier == u.ServiceTier && u.ServiceTier != "" && s.Above == 0 {
			r, listed = s.Rates, u.ServiceTier
		}
	}
	for _, s := range p.Sets {
		if s.ServiceTier == listed && s.Above > 0 && u.Input > int64(s.Above) {
			stands(&r, &s.Rates)
		}
	}
	rate := func(k Rate, instead ...int64) *big.Int {
		n := r[k]
		if n == 0 && len(instead) > 0 {
			n = slices.Max(instead)
		}
		return big.NewInt(max(n, 0))
	}
	in, out := max(r[RateIn], 0), max(r[RateOut], 0)
	write := rate(RateCacheWrite, in).Int64()
	write1h := rate(RateCacheWrite1h, in, write).Int64()
	sum := new(big.Int)
	for _, part := range []struct {
		tokens int64
		price  *big.Int
	}{
		{u.Input - u.CacheRead - u.CacheWrite - u.AudioInput - u.ImageInput, big.NewInt(in)},
		{u.CacheRead, rate(RateCacheRead, in)},
		{u.CacheWrite - u.CacheWrite1h - u.CacheWrite12h, big.NewInt(write)},
		{u.CacheWrite1h, big.NewInt(write1h)},
		{u.CacheWrite12h, rate(RateCacheWrite12h, in, write, write1h)},
		{u.AudioInput, rate(RateAudioIn, in)},
		{u.ImageInput, rate(RateImageIn, in)},
		{u.Output - u.Reasoning - u.AudioOutput - u.ImageOutput, big.NewInt(out)},
		{u.Reasoning, rate(RateReasoning, out)},
		{u.AudioOutput, rate(RateAudioOut, out)},
		{u.ImageOutput, rate(RateImageOut, out)},
	} {
		sum.Add(sum, new(big.Int).Mul(big.NewInt(part.tokens), part.price))
	}
	sum.Add(sum, big.NewInt(500)).Div(sum, big.NewInt(1000))
	if !sum.IsInt64() {
		sum.SetInt64(math.MaxInt64)
	}
	return sum
}

// randomPrice is a price with services and thresholds, each rate of which is listed, free or missing.
func randomPrice(r *rand.Rand) Price {
	rates := func() (out Rates) {
		for k := range out {
			switch r.IntN(4) {
			case 0:
			case 1:
				out[k] = Free
			default:
				out[k] = 1 + r.Int64N(1<<r.IntN(40))
			}
		}
		return out
	}
	p := Price{Rates: rates()}
	for _, service := range []string{"", "flex", "priority"} {
		if r.IntN(2) == 0 {
			continue
		}
		if service != "" {
			p.Sets = append(p.Sets, Set{ServiceTier: service, Rates: rates()})
		}
		for above := uint32(1); r.IntN(2) == 0 && above < 1<<30; {
			above += uint32(r.Int32N(1 << r.IntN(30)))
			p.Sets = append(p.Sets, Set{ServiceTier: service, Above: above, Rates: rates()})
			above++
		}
	}
	p.Sort()
	return p
}

// randomUsage is a usage in the normal form with at most so many tokens.
func randomUsage(r *rand.Rand, input, output int64) Usage {
	part := func(of int64) int64 { return r.Int64N(of + 1) }
	u := Usage{Input: part(input), Output: part(output), ServiceTier: []string{"", "flex", "priority", "scale"}[r.IntN(4)]}
	u.CacheRead = part(u.Input)
	u.CacheWrite = part(u.Input - u.CacheRead)
	u.CacheWrite12h = part(u.CacheWrite)
	u.CacheWrite1h = part(u.CacheWrite - u.CacheWrite12h)
	u.AudioInput = part(u.Input - u.CacheRead - u.CacheWrite)
	u.ImageInput = part(u.Input - u.CacheRead - u.CacheWrite - u.AudioInput)
	u.Reasoning = part(u.Output)
	u.AudioOutput = part(u.Output - u.Reasoning)
	u.ImageOutput = part(u.Output - u.Reasoning - u.AudioOutput)
	return u
}

func TestCostAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		p, u := randomPrice(r), randomUsage(r, 1<<r.IntN(62), 1<<r.IntN(62))
		if got, _ := p.Cost(u); int64(got) != bigCost(&p, u).Int64() {
			t.Fatalf("%+v of %+v: %d, want %s", u, p, got, bigCost(&p, u))
		}
		if clamped, changed := u.Clamp(u.Input, u.Output); changed || clamped != u {
			t.Fatalf("%+v is in the normal form and became %+v", u, clamped)
		}
	}
}

// FuzzCost: whatever numbers a provider reports, once clamped they cost what the closed form says, and no more than what is held.
func FuzzCost(f *testing.F) {
	f.Add(uint64(1), int64(100), int64(20), int64(40), int64(50), int64(10), int64(5), int64(5), int64(1))
	f.Add(uint64(2), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(7), int64(math.MaxInt64), int64(-7))
	f.Fuzz(func(t *testing.T, seed uint64, in, out, read, write, write1h, write12h, media, reasoning int64) {
		r := rand.New(rand.NewPCG(seed, 3))
		p := randomPrice(r)
		u := Usage{
			Input: in, Output: out, CacheRead: read, CacheWrite: write, CacheWrite1h: write1h, CacheWrite12h: write12h, AudioInput: media, ImageInput: media,
			Reasoning: reasoning, AudioOutput: media, ImageOutput: media, ServiceTier: []string{"", "flex", "priority", "x"}[r.IntN(4)],
		}
		if got, _ := p.Cost(u); got < 0 {
			t.Fatalf("%+v costs %d", u, got)
		}
		limits := [2]int64{r.Int64N(1 << 40), r.Int64N(1 << 40)}
		u, _ = u.Clamp(limits[0], limits[1])
		got, _ := p.Cost(u)
		if int64(got) != bigCost(&p, u).Int64() {
			t.Fatalf("%+v of %+v: %d, want %s", u, p, got, bigCost(&p, u))
		}
		if most := p.Most(limits[0], limits[1], Scope{true, true, true, true, UnaskedService}); got > most {
			t.Fatalf("%+v of %+v costs %d, more than the %d held", u, p, got, most)
		}
	})
}

// Whatever an answer within its limits uses of what its request could use, its charge is held.
func TestP03MostCoversEveryUsage(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		p := randomPrice(r)
		input, output := r.Int64N(1<<r.IntN(30)), r.Int64N(1<<r.IntN(30))
		s := Scope{r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0, []string{"", UnaskedService, "flex"}[r.IntN(3)]}
		u := randomUsage(r, input, output)
		if !s.AudioIn {
			u.AudioInput = 0
		}
		if !s.AudioOut {
			u.AudioOutput = 0
		}
		if !s.ImageIn {
			u.ImageInput = 0
		}
		if !s.ImageOut {
			u.ImageOutput = 0
		}
		if s.ServiceTier != UnaskedService && u.ServiceTier != s.ServiceTier {
			u.ServiceTier = ""
		}
		m := &Model{Rate: storage.Credits(r.Int64N(1 << 20)), CostRate: storage.Credits(r.Int64N(1 << 30))}
		markup := DefaultMarkups()[r.IntN(4)]
		cost, _ := p.Cost(u)
		most := p.Most(input, output, s)
		charge, held := m.Charge(u.Input+u.Output)+m.ChargeUnits(0, cost, markup), m.Charge(input+output)+m.ChargeUnits(0, most, markup)
		if cost > most || charge > held {
			t.Fatalf("%+v of %+v within %d and %d: costs %s of %s, charges %s of %s", u, p, input, output, cost, most, charge, held)
		}
	}
}

func TestP36Clamp(t *testing.T) {
	const big = math.MaxInt64
	for name, c := range map[string]struct{ have, want Usage }{
		"negative":               {Usage{Input: -1, Output: -1, CacheRead: -1, CacheWrite: -1, Reasoning: -1}, Usage{}},
		"beyond the window":      {Usage{Input: big, Output: big}, Usage{Input: 100, Output: 50}},
		"parts of what was cut":  {Usage{Input: big, CacheRead: 80, CacheWrite: 80, AudioInput: 80, Output: big, Reasoning: 40, AudioOutput: 40}, Usage{Input: 100, CacheRead: 80, CacheWrite: 20, Output: 50, Reasoning: 40, AudioOutput: 10}},
		"more writes than there": {Usage{Input: 100, CacheWrite: 50, CacheWrite1h: big, CacheWrite12h: 30}, Usage{Input: 100, CacheWrite: 50, CacheWrite1h: 20, CacheWrite12h: 30}},
	} {
		if got, changed := c.have.Clamp(100, 50); got != c.want || !changed {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// The prices of the built-in table, at which the vectors beside it were worked out by hand.
func TestBuiltinPrices(t *testing.T) {
	r, _ := builtin(t).Resolve("gpt-6-luna")
	p := &r.Model.Deployments[0].Price
	for _, c := range []struct {
		usage Usage
		want  storage.NanoUSD
	}{
		{Usage{Input: 272_000, CacheRead: 100_000, CacheWrite: 50_000, CacheWrite12h: 20_000, Output: 1_000}, 122_000*100 + 100_000*10 + 30_000*125 + 20_000*250 + 1_000*500},
		{Usage{Input: 272_001, Output: 1_000}, 272_001*200 + 1_000*750},
		{Usage{Input: 272_001, Output: 1_000, ServiceTier: "priority"}, 272_001*400 + 1_000*1_500},
		{Usage{Input: 1_000, Output: 1_000, ServiceTier: "flex"}, 1_000*50 + 1_000*250},
	} {
		if got, lack := p.Cost(c.usage); got != c.want || lack != 0 {
			t.Errorf("%+v: %d, want %d; lacking %q", c.usage, got, c.want, lack)
		}
	}
	for _, d := range builtin(t).Deployments {
		if !d.Price.Given() {
			t.Errorf("%s has no price", d.Model.Name)
		}
	}
}

func TestReadPriceTable(t *testing.T) {
	rows, err := ReadPriceTable("# prices\nnote\tname\tusd_out_per_1m\tservice_tier\tprice_above\tusd_in_per_1m\n\nx\ta\t2\tflex\t\t0\ny\tb\t\t\t1000\t0.5\n")
	want := []PriceRow{{"a", Set{"flex", 0, Rates{RateIn: Free, RateOut: 2_000_000}}}, {"b", Set{"", 1000, Rates{RateIn: 500_000}}}}
	if err != nil || !slices.Equal(rows, want) {
		t.Fatalf("%+v, %v", rows, err)
	}
	for table, want := range map[string]string{
		"usd_in_per_1m\n1\n": "line 1: the table has no column called name", "name\tprice_above\na\t-1\n": "line 2: price_above:",
		"name\na\tb\n": "line 2 has 2 columns, not 1", "name\tusd_in_per_1m\na\t1e-6\n": "line 2: usd_in_per_1m:",
	} {
		if _, err := ReadPriceTable(table); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", table, err)
		}
	}
}

func TestSheet(t *testing.T) {
	d := &Deployment{
		Model: &Model{Name: "m", CostRate: 5_000_000}, Provider: "p", Upstream: "u",
		Price: Price{Rates: Rates{RateIn: 1_500_000, RateOut: Free}, Sets: []Set{{ServiceTier: "flex", Above: 7, Rates: Rates{RateIn: 1}}}},
	}
	version, document := d.Sheet(DefaultMarkups())
	want := `{"model":"m","provider":"p","upstream":"u","credits_per_1k":"0","credits_per_usd":"5","markup_percent":{"enterprise":80,"free":0,"professional":60,"starter":40},` +
		`"usd_per_1m":{"in":"1.5","out":"0"},"sets":[{"service_tier":"flex","price_above":7,"usd_per_1m":{"in":"0.000001"}}]}`
	if string(document) != want || len(version) != 16 {
		t.Errorf("%s %s\nwant %s", version, document, want)
	}
	if other, _ := d.Sheet(Markups{}); other == version {
		t.Error("another markup has the same version")
	}
	if again, _ := d.Sheet(DefaultMarkups()); again != version {
		t.Error("the version is not stable")
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
	r, _ := builtin(b).Resolve("gpt-6-luna") // one with most that there can be
	p := &r.Model.Deployments[0].Price
	b.ReportAllocs()
	for b.Loop() {
		p.Cost(Usage{Input: 300_000, CacheRead: 8_000, Output: 900, Reasoning: 300, ServiceTier: "priority"})
	}
}
