package catalog

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/pointsman/pointsman/storage"
)

// Usage is the tokens of one answer in the normal form, whatever dialect reported them: Input includes the tokens read
// from and written to a cache, Output includes reasoning. (OpenAI's prompt_tokens already include cached ones;
// Anthropic's input_tokens exclude both kinds, so its adapter adds them.) The parts of Input do not overlap, and neither
// do those of Output; see [Usage.Clamp].
type Usage struct {
	Input         int64
	Output        int64
	CacheRead     int64 // part of Input
	CacheWrite    int64 // part of Input, for however long
	CacheWrite1h  int64 // part of CacheWrite, kept for an hour
	CacheWrite12h int64 // part of CacheWrite, kept for 12 hours or longer
	AudioInput    int64 // part of Input
	ImageInput    int64 // part of Input
	Reasoning     int64 // part of Output
	AudioOutput   int64 // part of Output
	ImageOutput   int64 // part of Output
	// ServiceTier is the provider's service that answered, "" for its standard one.
	ServiceTier string
}

// Clamp makes u what a request can have used that reads at most input tokens and writes at most output: no count is
// negative, none exceeds its whole, and the parts of a whole do not exceed it together. Where they do, cache reads count
// first, then writes, audio and images; of the output reasoning, then audio and images. It tells whether anything changed.
func (u Usage) Clamp(input, output int64) (Usage, bool) {
	was := u
	part := func(n *int64, of int64) int64 {
		*n = min(max(*n, 0), of)
		return of - *n
	}
	part(&u.Input, max(input, 0))
	part(&u.Output, max(output, 0))
	rest := u.Input
	for _, n := range []*int64{&u.CacheRead, &u.CacheWrite, &u.AudioInput, &u.ImageInput} {
		rest = part(n, rest)
	}
	part(&u.CacheWrite1h, part(&u.CacheWrite12h, u.CacheWrite))
	rest = u.Output
	for _, n := range []*int64{&u.Reasoning, &u.AudioOutput, &u.ImageOutput} {
		rest = part(n, rest)
	}
	return u, u != was
}

// A Rate is a kind of token with a price of its own.
type Rate uint8

// The rates, in the order in which one that is not listed is replaced by one before it.
const (
	RateIn Rate = iota
	RateOut
	RateCacheRead
	RateCacheWrite // for minutes: 5 at Anthropic, 30 at OpenAI
	RateCacheWrite1h
	RateCacheWrite12h // 12 hours or longer
	RateReasoning
	RateAudioIn
	RateAudioOut
	RateImageIn
	RateImageOut
	rateCount
)

// RateNames are the names of the rates, by their numbers. In tables and files they stand in "usd_NAME_per_1m".
func RateNames() []string {
	return []string{
		"in", "out", "cache_read", "cache_write", "cache_write_1h", "cache_write_12h", "reasoning", "audio_in", "audio_out", "image_in", "image_out",
	}
}

// Free is a rate that is listed as nothing.
const Free = -1

// Rates are what a provider charges for each kind of token, in pico-USD: 1 USD per million tokens is 1,000,000.
//
// 0 means that the provider lists none, and the tokens are priced as others, on the dear side: those read from or written
// to a cache as input, or as those that are written for a shorter time if these are dearer; audio and images as text;
// reasoning as output. [Lack] says when that is a guess. A rate of nothing is [Free].
type Rates [rateCount]int64

// fill puts in what stands for each rate that is not listed, and returns which were not.
func (r *Rates) fill() (missing Lack) {
	for i := range r {
		switch k := Rate(i); {
		case r[k] == Free:
			r[k] = 0
		case r[k] != 0:
		default:
			missing |= 1 << k
			switch k {
			case RateIn, RateOut:
			case RateCacheWrite1h:
				r[k] = max(r[RateIn], r[RateCacheWrite])
			case RateCacheWrite12h:
				r[k] = max(r[RateIn], r[RateCacheWrite], r[RateCacheWrite1h])
			case RateReasoning, RateAudioOut, RateImageOut:
				r[k] = r[RateOut]
			default:
				r[k] = r[RateIn]
			}
		}
	}
	return missing
}

// Price is what a provider charges for a deployment. Its Rates are those of the standard service; Sets has those of other
// services, and of requests whose Input exceeds a threshold, which are priced as a whole by them.
type Price struct {
	Rates
	Sets []Set // ascending by Above
	Unit int64 // nano-USD for a unit of the model's mode, beside the tokens; see [UnitName]
}

// Set is the rates of a service and of a threshold. Those of another service stand alone, and it has a set without a
// threshold: what that does not list is not taken from the standard service. One above a threshold changes only what it
// lists. A service without any set is priced as the standard one, see [Lack].
type Set struct {
	ServiceTier string // "": the standard service
	Above       uint32 // input tokens; 0: no threshold
	Rates
}

// Given says whether there are any prices. Prices of nothing count.
func (p *Price) Given() bool { return p.Rates[RateIn] != 0 || p.Rates[RateOut] != 0 || p.Unit != 0 }

// Covers tells that no answer of the standard service costs less by p than by other, as far as that can be told without thresholds.
func (p *Price) Covers(other *Price) bool {
	if len(p.Sets)+len(other.Sets) > 0 {
		return false
	}
	for k := range rateCount {
		if p.Rate(k) < other.Rate(k) {
			return false
		}
	}
	return true
}

// Rate is a rate of the standard service below all thresholds, or what stands for it.
func (p *Price) Rate(k Rate) int64 {
	r := p.Rates
	r.fill()
	return r[k]
}

// of is the rates of a request of so many input tokens that a service has answered.
func (p *Price) of(service string, input int64) (r Rates, missing Lack) {
	r = p.Rates
	if service != "" {
		missing = lackService
		for i := range p.Sets {
			if s := &p.Sets[i]; s.ServiceTier == service && s.Above == 0 {
				r, missing = s.Rates, 0
			}
		}
		if missing != 0 {
			service = ""
		}
	}
	for i := range p.Sets {
		if s := &p.Sets[i]; s.Above > 0 && s.ServiceTier == service && input > int64(s.Above) {
			for k, n := range s.Rates {
				if n != 0 {
					r[k] = n
				}
			}
		}
	}
	return r, missing | r.fill()
}

// Cost is what the provider charges for u, rounded once, half up, to the nano-dollar, and what its price list lacks for
// that. Negative counts are taken as zero; parts that exceed their whole are priced in full, and the rest of the whole as
// zero. A cost beyond int64 gives the largest amount. It does not allocate.
func (p *Price) Cost(u Usage) (storage.NanoUSD, Lack) {
	r, missing := p.of(u.ServiceTier, u.Input)
	long := remainder(remainder(u.CacheWrite, u.CacheWrite1h), u.CacheWrite12h)
	in := u.Input
	for _, part := range [...]int64{u.CacheRead, u.CacheWrite1h, u.CacheWrite12h, long, u.AudioInput, u.ImageInput} {
		in = remainder(in, part)
	}
	counts := Rates{
		RateIn: in, RateOut: remainder(remainder(remainder(u.Output, u.Reasoning), u.AudioOutput), u.ImageOutput),
		RateCacheRead: u.CacheRead, RateCacheWrite: long, RateCacheWrite1h: u.CacheWrite1h, RateCacheWrite12h: u.CacheWrite12h,
		RateReasoning: u.Reasoning, RateAudioIn: u.AudioInput, RateAudioOut: u.AudioOutput, RateImageIn: u.ImageInput, RateImageOut: u.ImageOutput,
	}
	var sum pico
	guessed := Lack(0)
	for k, n := range counts {
		sum.add(n, r[k])
		if n > 0 && r[k] > 0 {
			guessed |= 1 << k
		}
	}
	if guessed != 0 {
		guessed |= lackService
	}
	return storage.NanoUSD(sum.nano()), missing & guessed & loud
}

// Lack is what a price list lacks to price a usage exactly: a set of rates for the service that answered, or rates for
// kinds of tokens that usually cost something else than what they were priced as.
type Lack uint16

const (
	lackService Lack = 1 << rateCount
	// loud is what is worth a warning. Reasoning is output and an image is input at most providers, which list nothing then.
	loud = lackService | 1<<RateCacheRead | 1<<RateCacheWrite | 1<<RateCacheWrite1h | 1<<RateCacheWrite12h | 1<<RateAudioIn | 1<<RateAudioOut | 1<<RateImageOut
)

// String names what is lacking.
func (l Lack) String() string {
	var names []string
	for k, name := range append(RateNames(), "service_tier") {
		if l&(1<<k) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Scope is what a request could use beside text, and which services could answer it.
type Scope struct {
	AudioIn, AudioOut, ImageIn, ImageOut bool
	// ServiceTier is the one service that may answer in the standard one's place, "" for none, and UnaskedService for those that a
	// provider may choose where the request leaves it open.
	ServiceTier string
}

// UnaskedService is the services that providers use unasked: flex, priority and batch.
const UnaskedService = "*"

func (s *Scope) allows(service string) bool {
	return s.ServiceTier == service || s.ServiceTier == UnaskedService && (service == "flex" || service == "priority" || service == "batch")
}

// Most is the most that a request can cost that reads at most input tokens and writes at most output, however they are
// split: written to a cache for the longest time, above every threshold in reach, by the dearest service.
func (p *Price) Most(input, output int64, s Scope) storage.NanoUSD {
	most := p.mostOf("", input, output, s)
	for i := range p.Sets {
		if service := p.Sets[i].ServiceTier; service != "" && p.Sets[i].Above == 0 && s.allows(service) {
			most = max(most, p.mostOf(service, input, output, s))
		}
	}
	return storage.NanoUSD(most)
}

func (p *Price) mostOf(service string, input, output int64, s Scope) (most int64) {
	try := func(at int64) {
		r, _ := p.of(service, at)
		in, out := max(r[RateIn], r[RateCacheRead], r[RateCacheWrite], r[RateCacheWrite1h], r[RateCacheWrite12h]), max(r[RateOut], r[RateReasoning])
		for _, other := range [...]struct {
			of   *int64
			rate int64
			may  bool
		}{{&in, r[RateAudioIn], s.AudioIn}, {&in, r[RateImageIn], s.ImageIn}, {&out, r[RateAudioOut], s.AudioOut}, {&out, r[RateImageOut], s.ImageOut}} {
			if other.may {
				*other.of = max(*other.of, other.rate)
			}
		}
		var sum pico
		sum.add(input, in)
		sum.add(output, out)
		most = max(most, sum.nano())
	}
	try(0)
	for i := range p.Sets {
		if above := int64(p.Sets[i].Above); above > 0 && above < input {
			try(above + 1)
		}
	}
	return most
}

// ParseUSDPerMillion reads a decimal price in US dollars per million tokens, such as "0.15", into pico-USD per token.
// A negative price, more than six fractional digits, or more than [MaxPrice] is an error that names the text.
func ParseUSDPerMillion(text string) (int64, error) {
	// A millionth of a dollar per million tokens is a pico-dollar per token, as a micro-credit is of a credit.
	n, err := storage.ParseCredits(text)
	if err != nil {
		return 0, fmt.Errorf("price: %w", err)
	}
	if n < 0 || int64(n) > MaxPrice {
		return 0, fmt.Errorf("price %.40q is not between 0 and %d dollars per million tokens", text, MaxPrice/1_000_000)
	}
	return int64(n), nil
}

// ParseRate is [ParseUSDPerMillion] of a rate that is listed: one of nothing is [Free].
func ParseRate(text string) (int64, error) {
	n, err := ParseUSDPerMillion(text)
	if n == 0 && err == nil {
		n = Free
	}
	return n, err
}

// RateText is a rate as [ParseRate] reads it, "" for one that is not listed.
func RateText(rate int64) string {
	if rate == 0 {
		return ""
	}
	return storage.Credits(max(rate, 0)).String() // pico-dollars a token have six digits below dollars per million
}

// MaxPrice is the highest price a deployment may have, in pico-USD per token: 1,000,000 USD per million tokens.
const MaxPrice = 1_000_000 * 1_000_000

// pico is a 128-bit sum of non-negative pico-dollars: with prices up to MaxPrice, which Build enforces, it cannot overflow.
type pico struct{ hi, lo uint64 }

func (s *pico) add(tokens, price int64) {
	if tokens <= 0 || price <= 0 {
		return
	}
	hi, lo := bits.Mul64(uint64(tokens), uint64(price))
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi += hi + carry
}

// nano rounds half up to nano-dollars, saturating.
func (s pico) nano() int64 {
	lo, carry := bits.Add64(s.lo, 500, 0)
	return quotient(s.hi+carry, lo, 1000)
}

// quotient divides hi:lo by d, rounding down and saturating at the largest int64.
func quotient(hi, lo, d uint64) int64 {
	if hi >= d {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, d)
	return int64(min(q, math.MaxInt64))
}

// remainder is what a part leaves of a whole, neither of which counts if it is negative.
func remainder(whole, part int64) int64 {
	if part >= whole {
		return 0
	}
	return whole - max(part, 0)
}
