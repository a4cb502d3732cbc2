package catalog

import (
	"fmt"
	"math/bits"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// Units is a number of units of a mode, in millionths: of images, of a million characters (so that one is a character), of
// minutes, of requests or of searches.
type Units int64

// UnitMicros is how many Units make one unit.
const UnitMicros = 1_000_000

// UnitName is what models of a mode are priced by beside tokens, "" for modes that are priced by tokens alone.
func UnitName(mode uint8) string {
	switch mode {
	case abi.ModeImage:
		return "image"
	case abi.ModeSpeech:
		return "1m_characters"
	case abi.ModeTranscription:
		return "minute"
	case abi.ModeModeration:
		return "request"
	case abi.ModeRerank:
		return "search"
	}
	return ""
}

const (
	// MaxUnitPrice is the highest price of a unit, in nano-dollars: 1,000,000 dollars.
	MaxUnitPrice = 1_000_000 * 1_000_000_000
	// MaxUnitRate is the highest rate of a unit, and of a dollar, in micro-credits: 1,000,000 credits.
	MaxUnitRate = MaxRate
)

// UnitCost is what the provider charges for so many units, rounded half up to the nano-dollar. A negative number costs
// nothing, a cost beyond int64 is the largest amount.
func (p *Price) UnitCost(n Units) storage.NanoUSD {
	if n <= 0 || p.Unit <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(p.Unit))
	lo, carry := bits.Add64(lo, UnitMicros/2, 0)
	return storage.NanoUSD(quotient(hi+carry, lo, UnitMicros))
}

// ChargeUnits is what a user is charged for so many units and for what the answer cost the operator: by the model's rate for
// a unit, and by its rate for a dollar with the markup in percent, each rounded up once to the next micro-credit. It does not
// count tokens: see [Model.Charge].
func (m *Model) ChargeUnits(n Units, cost storage.NanoUSD, markup Markup) storage.Credits {
	byUnit := roundUp(int64(n), int64(m.UnitRate), UnitMicros)
	byCost := roundUp(int64(cost), int64(m.CostRate)*int64(100+markup), 100*1_000_000_000)
	if sum := byUnit + byCost; sum >= byUnit {
		return sum
	}
	return maxCredits
}

// ByUnit says that users are charged for something other than tokens.
func (m *Model) ByUnit() bool { return m.UnitRate > 0 || m.CostRate > 0 }

// Charges says that users are charged at all.
func (m *Model) Charges() bool { return m.Rate > 0 || m.ByUnit() }

const maxCredits = storage.Credits(1<<63 - 1)

// roundUp is a*b/d, rounded up and saturating; 0 if a or b is not positive.
func roundUp(a, b int64, d uint64) storage.Credits {
	if a <= 0 || b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	lo, carry := bits.Add64(lo, d-1, 0)
	return storage.Credits(quotient(hi+carry, lo, d))
}

// checkUnits reports prices by the unit that a model cannot have.
func (b *builder) checkUnits(e Entry) {
	mode, _ := ParseMode(e.Mode)
	for _, rate := range []storage.Credits{e.CreditsPerUnit, e.CreditsPerUSD} {
		if rate < 0 || rate > MaxUnitRate {
			b.fault(e.Name, "credits per unit or dollar: %s is not between 0 and %s", rate, storage.Credits(MaxUnitRate))
		}
	}
	if e.CreditsPerUnit > 0 && UnitName(mode) == "" {
		b.fault(e.Name, "credits per unit: a model of mode %s has no unit", ModeName(mode))
	}
	for _, d := range e.Deployments {
		if d.Price.Unit < 0 || d.Price.Unit > MaxUnitPrice {
			b.fault(e.Name, "deployment at %.40q: price %d of a unit is not between 0 and %d nano-dollars", d.Provider, d.Price.Unit, int64(MaxUnitPrice))
		}
		if d.Price.Unit > 0 && UnitName(mode) == "" {
			b.fault(e.Name, "deployment at %.40q: a model of mode %s has no price by the unit", d.Provider, ModeName(mode))
		}
	}
}

// ParseUSD reads a decimal price in US dollars, such as "0.04", into nano-dollars. A negative price, more than nine fractional
// digits, or more than [MaxUnitPrice] is an error that names the text.
func ParseUSD(text string) (int64, error) {
	n, err := storage.ParseNanoUSD(text)
	if err != nil {
		return 0, fmt.Errorf("price: %w", err)
	}
	if n < 0 || int64(n) > MaxUnitPrice {
		return 0, fmt.Errorf("price %.40q is not between 0 and %d dollars", text, int64(MaxUnitPrice)/1_000_000_000)
	}
	return int64(n), nil
}
