package catalog

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/pointsman/pointsman/storage"
)

// Usage is the tokens of one answer in the normal form, whatever dialect reported them: Input includes the tokens read
// from and written to a cache, Output includes reasoning. (OpenAI's prompt_tokens already include cached ones;
// Anthropic's input_tokens exclude both kinds, so its adapter adds them.)
type Usage struct {
	Input      int64
	Output     int64
	CacheRead  int64 // part of Input
	CacheWrite int64 // part of Input
	Reasoning  int64 // part of Output
}

// Price is what a provider charges, in pico-USD per token: 1 USD per million tokens is 1,000,000.
//
// A zero CacheRead or CacheWrite means that the provider lists none: such tokens are priced as ordinary input, which
// errs on the dear side, and [Price.Incomplete] says so. A zero Reasoning means the output price. With a Threshold, a
// request whose Input exceeds it is priced as a whole at the Above prices; a zero one keeps the base price.
type Price struct {
	In, Out                         int64
	CacheRead, CacheWrite           int64
	Reasoning                       int64
	Threshold                       uint32 // input tokens; 0: none
	InAbove, OutAbove               int64
	CacheReadAbove, CacheWriteAbove int64
	Unit                            int64 // nano-USD for a unit of the model's mode, beside the tokens; see [UnitName]
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

// MaxPrice is the highest price a deployment may have, in pico-USD per token: 1,000,000 USD per million tokens.
const MaxPrice = 1_000_000 * 1_000_000

// Cost is what the provider charges for u, rounded once, half up, to the nano-dollar. Negative counts are taken as zero;
// parts that exceed their whole are priced in full, and the rest of the whole as zero. A cost beyond int64 gives the
// largest amount. It does not allocate.
func (p Price) Cost(u Usage) storage.NanoUSD {
	in, out, read, write := p.In, p.Out, p.CacheRead, p.CacheWrite
	if p.Threshold > 0 && u.Input > int64(p.Threshold) {
		in, out = orElse(p.InAbove, in), orElse(p.OutAbove, out)
		read, write = orElse(p.CacheReadAbove, read), orElse(p.CacheWriteAbove, write)
	}
	cacheRead, cacheWrite, reasoning := max(u.CacheRead, 0), max(u.CacheWrite, 0), max(u.Reasoning, 0)
	var sum pico
	sum.add(remainder(remainder(max(u.Input, 0), cacheRead), cacheWrite), in)
	sum.add(cacheRead, orElse(read, in))
	sum.add(cacheWrite, orElse(write, in))
	sum.add(remainder(max(u.Output, 0), reasoning), out)
	sum.add(reasoning, orElse(p.Reasoning, out))
	return storage.NanoUSD(sum.nano())
}

// Incomplete says that u holds cached tokens for which the price has no rate, so that Cost priced them as plain input.
func (p Price) Incomplete(u Usage) bool {
	return u.CacheRead > 0 && p.CacheRead == 0 && p.In > 0 || u.CacheWrite > 0 && p.CacheWrite == 0 && p.In > 0
}

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

func remainder(whole, part int64) int64 {
	if part >= whole {
		return 0
	}
	return whole - part
}

func orElse(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}
