package envelope

import (
	"fmt"
	"math"
	"strconv"
)

// Routing is what a caller wants of the models and providers that may serve a conversation, in OpenRouter's words: the members
// provider and models. It is the gateway's to honour and goes no further.
type Routing struct {
	Models              []string // by name, the first choice first; nil for no list
	Order, Only, Ignore []string // names of providers as they were written
	NoFallback          bool     // allow_fallbacks is false
	RequireParameters   bool
	DenyCollection      bool // data_collection is "deny"
	ZeroRetention       bool // zdr
	Sort                Sort
	AcrossModels        bool    // sort.partition is "none"
	MaxPrompt           int64   // pico-USD per token, NoMaxPrice for none
	MaxCompletion       int64   // likewise
	MinThroughput       float64 // tokens per second, 0 for none
	MaxLatency          float64 // seconds to the first token, 0 for none
	// Unserved are the wishes that nothing here can honour, by their paths.
	Unserved []string
}

// NoMaxPrice stands for a price without a limit.
const NoMaxPrice = -1

// Sort is what providers are put in order by.
type Sort uint8

// The orders. SortNone leaves that to the policy.
const (
	SortNone Sort = iota
	SortPrice
	SortThroughput
	SortLatency
)

// String is the order's name in requests, "" for none.
func (s Sort) String() string {
	return [...]string{"", "price", "throughput", "latency"}[s]
}

const (
	maxRoutingNames = 32
	maxProviderName = 64
	maxListPrice    = 1_000_000 // dollars
)

// routing is where the wishes are gathered.
func (p *parser) routing() *Routing {
	if p.e.Routing == nil {
		p.e.Routing = &Routing{MaxPrompt: NoMaxPrice, MaxCompletion: NoMaxPrice}
	}
	return p.e.Routing
}

// models reads the list of models.
func (p *parser) models() {
	off := p.i
	if p.peek() == 'n' {
		p.value()
		return
	}
	p.routing().Models = p.nameList(func(name []byte) bool {
		if !modelName(name) {
			p.refuse(404, CodeModelNotFound, "models", "the model %s does not exist: names are 1 to %d of A-Z a-z 0-9 . _ : / @ -", quote(name), maxModelName)
		}
		return true
	})
	if len(p.e.Routing.Models) == 0 {
		p.invalid(off, "", "must have at least one entry")
	}
}

// provider reads the routing object. It is the gateway's own, so an unknown key in it is a mistake.
func (p *parser) provider() {
	off := p.i
	if p.peek() != '{' {
		if p.peek() != 'n' {
			p.invalid(off, "", "must be an object")
		}
		p.value()
		return
	}
	r := p.routing()
	isProvider := func(name []byte) bool { return len(name) > 0 && len(name) <= maxProviderName }
	var f frame
	for p.begin(&f); p.member(&f); {
		switch string(p.key) {
		case "order":
			r.Order = p.nameList(isProvider)
		case "only":
			r.Only = p.nameList(isProvider)
		case "ignore":
			r.Ignore = p.nameList(isProvider)
		case "allow_fallbacks":
			value, present := p.flag()
			r.NoFallback = present && !value
		case "require_parameters":
			r.RequireParameters, _ = p.flag()
		case "data_collection":
			r.DenyCollection = p.choose([]choice{{"allow", 0}, {"deny", 1}}) == 1
		case "zdr":
			r.ZeroRetention, _ = p.flag()
		case "enforce_distillable_text":
			if value, _ := p.flag(); value {
				r.Unserved = append(r.Unserved, "provider.enforce_distillable_text")
			}
		case "quantizations":
			if len(p.nameList(isProvider)) > 0 {
				r.Unserved = append(r.Unserved, "provider.quantizations")
			}
		case "sort":
			p.sort(r)
		case "max_price":
			p.maxPrice(r)
		case "preferred_min_throughput":
			r.MinThroughput = p.preference()
		case "preferred_max_latency":
			r.MaxLatency = p.preference()
		default:
			p.unknownIn("provider", []string{
				"order", "only", "ignore", "allow_fallbacks", "require_parameters", "data_collection", "zdr", "enforce_distillable_text",
				"quantizations", "sort", "max_price", "preferred_min_throughput", "preferred_max_latency",
			})
		}
	}
}

// unknownIn refuses a key of an object that is the gateway's own.
func (p *parser) unknownIn(object string, names []string) {
	if p.refusal == nil {
		p.refuse(400, CodeUnknownParameter, cut(object+"."+string(p.key)),
			"unknown parameter %s in %s: did you mean %q?", quote(p.key), object, nearest(p.key, names))
	}
	p.value()
}

// nameList reads an array of names; null gives none.
func (p *parser) nameList(valid func([]byte) bool) (names []string) {
	off := p.i
	if p.peek() != '[' {
		if p.peek() != 'n' {
			p.invalid(off, "", "must be an array of names")
		}
		p.value()
		return nil
	}
	var f frame
	for p.begin(&f); p.element(&f); {
		at := p.i
		if p.peek() != '"' {
			p.invalid(at, "", "must be a name")
			p.value()
			continue
		}
		if !p.textValue() {
			return nil
		}
		name := p.decoded()
		if !valid(name) {
			p.invalid(at, "", fmt.Sprintf("must be a name of 1 to %d bytes", maxProviderName))
		}
		if f.n > maxRoutingNames {
			p.invalid(off, "", fmt.Sprintf("must have at most %d entries", maxRoutingNames))
			continue
		}
		names = append(names, string(name))
	}
	return names
}

// sort reads a word, or an object with the word in by.
func (p *parser) sort(r *Routing) {
	orders := []choice{{"price", uint8(SortPrice)}, {"throughput", uint8(SortThroughput)}, {"latency", uint8(SortLatency)}}
	if p.peek() != '{' {
		r.Sort = Sort(p.choose(orders))
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		switch string(p.key) {
		case "by":
			r.Sort = Sort(p.choose(orders))
		case "partition":
			r.AcrossModels = p.choose([]choice{{"model", 0}, {"none", 1}}) == 1
		default:
			p.unknownIn("provider.sort", []string{"by", "partition"})
		}
	}
}

// maxPrice reads the prices that a provider may ask at most, in dollars: of a million tokens, of a request, of an image. What
// is sold here by the token costs nothing by the request or the image, so those two always hold.
func (p *parser) maxPrice(r *Routing) {
	off := p.i
	if p.peek() != '{' {
		if p.peek() != 'n' {
			p.invalid(off, "", "must be an object")
		}
		p.value()
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		switch string(p.key) {
		case "prompt":
			r.MaxPrompt = p.listPrice()
		case "completion":
			r.MaxCompletion = p.listPrice()
		case "request", "image", "audio":
			p.listPrice()
		default:
			p.unknownIn("provider.max_price", []string{"prompt", "completion", "request", "image", "audio"})
		}
	}
}

// listPrice reads a price of a million tokens, a number or one as a string, as pico-dollars per token.
func (p *parser) listPrice() int64 {
	dollars, ok := p.amount(maxListPrice)
	if !ok {
		return NoMaxPrice
	}
	return int64(math.Round(dollars * 1e6))
}

// amount reads a number from 0 to most, or one as a string; false if there is none.
func (p *parser) amount(most float64) (float64, bool) {
	off, c := p.i, p.peek()
	p.value()
	if c == 'n' || p.fault != nil {
		return 0, false
	}
	text := view(p.b[off:p.i])
	if c == '"' {
		text = string(p.decoded())
	}
	v, err := strconv.ParseFloat(text, 64)
	if (c != '"' && c != '-' && c-'0' >= 10) || err != nil || !(v >= 0 && v <= most) {
		p.invalid(off, "", fmt.Sprintf("must be a number from 0 to %g", most))
		return 0, false
	}
	return v, true
}

// preference reads a threshold: a number, or an object of numbers by percentile, of which the lowest one given counts: what is
// known of providers here are averages.
func (p *parser) preference() float64 {
	const most = 1e6
	if p.peek() != '{' {
		v, _ := p.amount(most)
		return v
	}
	var at [4]float64
	var f frame
	for p.begin(&f); p.member(&f); {
		switch string(p.key) {
		case "p50":
			at[0], _ = p.amount(most)
		case "p75":
			at[1], _ = p.amount(most)
		case "p90":
			at[2], _ = p.amount(most)
		case "p99":
			at[3], _ = p.amount(most)
		default:
			p.unknownIn("provider.preferred_*", []string{"p50", "p75", "p90", "p99"})
		}
	}
	for _, v := range at {
		if v > 0 {
			return v
		}
	}
	return 0
}
