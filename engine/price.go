package engine

import (
	"math"
	"sync"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/storage"
)

// Prices keeps what answers were priced by, so that a record explains its price after the prices have changed.
type Prices interface {
	AppendPrice(version string, document []byte) // never blocks
	// Price returns a document by its version. Errors: storage.ErrNotFound.
	Price(version string) (document []byte, err error)
}

// price sets what an answer costs: by its tokens, and by the units of what it did. It returns what the price list lacks.
func (e *Engine) price(c *call, a *answer) catalog.Lack {
	d, u := a.deployment, a.usage
	cost, lack := d.Price.Cost(normal(&u))
	var units catalog.Units
	if c.op != opChat {
		var sure bool
		units, sure = c.units(a)
		cost = sum(cost, d.Price.UnitCost(units))
		byTokens := c.op == opEmbeddings || d.Model.Rate > 0 || d.Price.Rate(catalog.RateIn) > 0 || d.Price.Rate(catalog.RateOut) > 0
		if !byTokens && !u.Reported {
			a.usage.Input = 0 // nobody counts them
		}
		a.estimated = byTokens && !u.Reported || !sure && (d.Model.ByUnit() || d.Price.Unit > 0)
	}
	if !a.own {
		a.credits = sum(d.Model.Charge(u.Input+u.Output), d.Model.ChargeUnits(units, cost, e.markup(c)))
	}
	if !a.simulated && !a.own { // else the operator is billed for nothing
		a.cost = costs{billed: cost, listed: cost}
		if u.CostUSD != "" { // told by the provider itself, as OpenRouter does
			if bill, err := storage.ParseNanoUSD(u.CostUSD); err == nil {
				a.cost.billed, a.cost.reported = bill, bill
			}
		}
	}
	return lack
}

// costs are what answers cost the operator.
type costs struct {
	billed   storage.NanoUSD // as their providers say, and where they say nothing by our price list
	listed   storage.NanoUSD // by our price list
	reported storage.NanoUSD // as those providers say that say anything
}

func (c *costs) add(more costs) {
	c.billed, c.listed, c.reported = sum(c.billed, more.billed), sum(c.listed, more.listed), sum(c.reported, more.reported)
}

// normal is a usage as the price function takes it.
func normal(u *dialect.Usage) catalog.Usage {
	return catalog.Usage{
		Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, CacheWrite1h: u.CacheWrite1h, CacheWrite12h: u.CacheWrite12h,
		AudioInput: u.AudioInput, ImageInput: u.ImageInput, Reasoning: u.Reasoning, AudioOutput: u.AudioOutput, ImageOutput: u.ImageOutput,
		ServiceTier: u.ServiceTier,
	}
}

// believe cuts a usage to what the model could possibly read and write in answer to the request. One that had to be cut, or that
// made no sense as it came, is flagged and counted; so is an output longer than the request allows, which is charged all the same,
// as some providers do not count everything they write against the limit.
func (e *Engine) believe(c *call, a *answer, u *dialect.Usage) {
	window, answers := int64(a.deployment.Model.ContextWindow), int64(max(c.env.N, 1))
	if window == 0 {
		window = dialect.MaxTokens
	}
	n, cut := normal(u).Clamp(window*c.windows(), window*answers)
	u.Input, u.Output, u.CacheRead, u.CacheWrite, u.CacheWrite1h, u.CacheWrite12h = n.Input, n.Output, n.CacheRead, n.CacheWrite, n.CacheWrite1h, n.CacheWrite12h
	u.AudioInput, u.ImageInput, u.Reasoning, u.AudioOutput, u.ImageOutput = n.AudioInput, n.ImageInput, n.Reasoning, n.AudioOutput, n.ImageOutput
	u.Suspect = u.Suspect || cut || !a.estimated && c.env.MaxTokens > 0 && u.Output > int64(c.env.MaxTokens)*answers
	if u.Suspect {
		e.metrics.add(key{"pointsman_suspect_usage_total", "provider", a.provider(), "model", a.deployment.Model.Name}, 1)
	}
}

// checkPrice counts and tells when an answer that the operator is billed for was priced by something else than a listed price, or
// its provider says something else.
func (e *Engine) checkPrice(a *answer, lack catalog.Lack) {
	d := a.deployment
	if a.simulated || a.own {
		return
	}
	if a.usage.CostUSD != "" {
		e.compareBills(d, a.cost.reported, a.cost.listed)
	}
	if d.Unpriced != "" && !d.Local {
		e.metrics.add(key{"pointsman_unpriced_answers_total", "model", d.Model.Name, "as", string(d.Unpriced)}, 1)
		e.Logger.Warn("an answer of a deployment without prices", "model", d.Model.Name, "provider", d.Provider, "priced as", d.Unpriced)
	}
	if lack == 0 {
		return
	}
	e.metrics.add(key{"pointsman_incomplete_prices_total", "model", d.Model.Name, "provider", d.Provider}, 1)
	if e.hourly("incomplete price", d.version) {
		e.Logger.Warn("the price of a deployment lacks what its answers used, which is priced as ordinary tokens", "model", d.Model.Name,
			"provider", d.Provider, "lacking", lack.String())
	}
}

const (
	billsCompared = 100 // answers of a deployment whose reported and listed costs are held together
	// largestBill is what counts of a cost at most there: a thousand of them fit into a number.
	largestBill storage.NanoUSD = math.MaxInt64 / 1000
)

// bills are the costs of a deployment's last answers, as its provider says and by our price list. The zero value is empty.
type bills struct {
	mu               sync.Mutex
	kept             [][2]storage.NanoUSD // reported and listed
	next             int
	reported, listed storage.NanoUSD // sums
}

// add takes in an answer and tells whether, over the last hundred, the two differ by more than a tenth of the listed cost.
func (b *bills) add(reported, listed storage.NanoUSD) (off bool, sumReported, sumListed storage.NanoUSD) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := [2]storage.NanoUSD{min(reported, largestBill), min(listed, largestBill)}
	if len(b.kept) < billsCompared {
		b.kept = append(b.kept, now)
	} else {
		old := b.kept[b.next]
		b.reported, b.listed = b.reported-old[0], b.listed-old[1]
		b.kept[b.next] = now
		b.next = (b.next + 1) % billsCompared
	}
	b.reported, b.listed = b.reported+now[0], b.listed+now[1]
	difference := b.reported - b.listed
	return len(b.kept) == billsCompared && max(difference, -difference) > b.listed/10, b.reported, b.listed
}

// compareBills counts by how much a provider's own cost of an answer is off our price list.
func (e *Engine) compareBills(d *deployment, reported, listed storage.NanoUSD) {
	direction, by := "above", reported-listed
	if by < 0 {
		direction, by = "below", -by
	}
	e.metrics.add(key{"pointsman_reported_cost_difference_nanodollars_total", "provider", d.Provider, "direction", direction}, int(by))
	off, sumReported, sumListed := d.bills.add(reported, listed)
	if off && e.hourly("reported cost", d.version) {
		e.Logger.Warn("a provider reports other costs than its prices in the catalog", "model", d.Model.Name, "provider", d.Provider,
			"answers", billsCompared, "reported_usd", sumReported.String(), "listed_usd", sumListed.String())
	}
}

// hourly tells whether it is time to warn of something: the first time, and then once an hour.
func (e *Engine) hourly(what, of string) bool {
	about, now := [2]string{what, of}, e.Now()
	last, seen := e.warned.LoadOrStore(about, now)
	return !seen || now.Sub(last.(time.Time)) > time.Hour && e.warned.CompareAndSwap(about, last, now)
}

// PriceOf is the prices and the tariff of a version that a usage record names, as JSON. Errors: storage.ErrNotFound.
func (e *Engine) PriceOf(version string) ([]byte, error) {
	return e.Prices.Price(version)
}
