package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// wishes are what a caller wants of models and providers beside the policy: OpenRouter's routing object, its list of models,
// and its suffixes on names of models. They exclude candidates before the policy is asked, and put the steps of its plan in
// another order after that; the plan itself stays as the policy made it, so that it can be repeated.
type wishes struct {
	envelope.Routing
	order, only, ignore []string // names of providers as this gateway has them
	listed              []listed // the models that may answer, the first choice first; empty: any
	tries               int      // which of them the policy was asked for last
	free                bool     // :free on the request's model
	tried               []uint16 // the candidates in the order that came of it
}

// listed is a model of the list.
type listed struct {
	catalog.Resolution
	free bool
	sort envelope.Sort
}

// readWishes takes the caller's wishes and gives the name of the model that the request is about. Without wishes that is the
// name asked for, and nothing else happens.
func (e *Engine) readWishes(c *call, asked string) (string, *Fault) {
	plain, suffix := e.cutSuffix(asked)
	if c.env.Routing == nil && suffix == "" {
		return asked, nil
	}
	w := &wishes{Routing: envelope.Routing{MaxPrompt: envelope.NoMaxPrice, MaxCompletion: envelope.NoMaxPrice}}
	if c.env.Routing != nil {
		w.Routing = *c.env.Routing
	}
	w.order, w.only, w.ignore = e.providerNames(w.Order), e.providerNames(w.Only), e.providerNames(w.Ignore)
	sort := w.Sort
	applySuffix(suffix, &w.free, &sort)
	c.env.NoFallback = c.env.NoFallback || w.NoFallback
	c.wish = w
	if len(w.Models) == 0 {
		w.Sort = sort
		return plain, nil
	}
	w.free = false // said of the one model, see list
	first, _ := e.cutSuffix(w.Models[0])
	if level, policyName, routed := e.routedName(plain, c.caller.Account.DefaultLevel); routed {
		if c.level == 0 && plain != "auto" && policyName == "" {
			c.level = level
		}
		if c.env.Policy == "" {
			c.env.Policy = policyName
		}
	} else {
		first = plain
		if fault := e.list(c, asked); fault != nil {
			fault.Param = "model"
			return "", fault
		}
	}
	for _, name := range w.Models {
		if fault := e.list(c, name); fault != nil {
			return "", fault
		}
	}
	return first, nil
}

// list adds a model to the list.
func (e *Engine) list(c *call, name string) *Fault {
	plain, suffix := e.cutSuffix(name)
	found, ok := e.Catalog.Resolve(plain)
	if !ok || found.Model.Mode != c.op.mode() {
		f := c.op.noSuchModel(name)
		f.Param = "models"
		return f
	}
	if fault := permitModel(c.caller, found.Model, "models"); fault != nil {
		return fault
	}
	l := listed{Resolution: found, sort: c.wish.Sort}
	applySuffix(suffix, &l.free, &l.sort)
	c.wish.listed = append(c.wish.listed, l)
	return nil
}

// cutSuffix takes OpenRouter's suffixes off a name. A name that exists with it keeps it.
func (e *Engine) cutSuffix(name string) (plain, suffix string) {
	at := strings.LastIndexByte(name, ':')
	if at < 0 {
		return name, ""
	}
	switch suffix = name[at:]; suffix {
	case ":nitro", ":floor", ":free":
		if _, known := e.Catalog.Resolve(name); !known {
			return name[:at], suffix
		}
	}
	return name, ""
}

// applySuffix does what a suffix asks for. It says it of one model, and so goes before what the request says of all.
func applySuffix(suffix string, free *bool, sort *envelope.Sort) {
	switch suffix {
	case ":nitro":
		*sort = envelope.SortThroughput
	case ":floor":
		*sort = envelope.SortPrice
	case ":free":
		*free = true
	}
}

// providerNames finds what this gateway calls the providers that a request names: in any case, with OpenRouter's names for
// those it has another name for, and without the variant of an endpoint ("deepinfra/turbo"). Names of providers that it does
// not have stay, and fit none.
func (e *Engine) providerNames(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		name, _, _ = strings.Cut(strings.ToLower(name), "/")
		if e.providers[name] == nil {
			name = strings.NewReplacer(" ", "-", "_", "-").Replace(name)
		}
		if e.providers[name] == nil {
			name = cmp.Or(ownName(name), name)
		}
		out = append(out, name)
	}
	return out
}

// ownName is this gateway's name of a provider that OpenRouter calls otherwise.
func ownName(slug string) string {
	switch strings.ReplaceAll(slug, "-", "") {
	case "openai":
		return "openai"
	case "together", "togetherai":
		return "together"
	case "fireworks", "fireworksai":
		return "fireworks"
	case "deepinfra":
		return "deepinfra"
	case "amazonbedrock", "awsbedrock":
		return "bedrock"
	case "azureopenai", "microsoftazure":
		return "azure"
	case "hfinference", "huggingface":
		return "huggingface"
	}
	return ""
}

// asks tells whether the request names a candidate's model, and whether it then may be served by its provider.
func (c *call) asks(d *deployment) (named, here bool) {
	if c.wish != nil && len(c.wish.listed) > 0 {
		i := c.wish.place(d.Model)
		return i >= 0, i >= 0 && (c.wish.listed[i].Provider == "" || c.wish.listed[i].Provider == d.Provider)
	}
	named = c.model == d.model
	return named, named && (c.pinned == "" || c.pinned == d.Provider)
}

// place is a model's number in the list, -1 if it is not there.
func (w *wishes) place(m *catalog.Model) int {
	return slices.IndexFunc(w.listed, func(l listed) bool { return l.Model == m })
}

// excludes says why the caller does not want a candidate, 0 if it may serve. flags are those of its option.
func (w *wishes) excludes(d *deployment, flags uint8) uint8 {
	p, free := d.endpoint, w.free
	if len(w.listed) > 0 {
		i := w.place(d.Model)
		if i < 0 {
			return abi.ReasonNotRequested
		}
		free = free || w.listed[i].free
	}
	stays := d.Local || flags&abi.OptionSimulated != 0 // nothing leaves the operator's machines
	switch {
	case len(w.only) > 0 && !slices.Contains(w.only, d.Provider),
		slices.Contains(w.ignore, d.Provider),
		w.NoFallback && len(w.order) > 0 && !slices.Contains(w.order, d.Provider),
		w.MaxPrompt != envelope.NoMaxPrice && d.Price.Rate(catalog.RateIn) > w.MaxPrompt,
		w.MaxCompletion != envelope.NoMaxPrice && d.Price.Rate(catalog.RateOut) > w.MaxCompletion,
		w.DenyCollection && !stays && !p.NoCollection && !p.ZeroRetention,
		w.ZeroRetention && !stays && !p.ZeroRetention,
		// To a policy the reason for models that are not free says that credits are missing, which they are not here.
		free && d.Model.Charges() && flags&abi.OptionOwnKey == 0:
		return abi.ReasonNotRequested
	}
	return 0
}

// route asks the policy; with a list of models for one after the other, until it has a plan for one.
func (e *Engine) route(c *call) (ran policy.Ran, err error) {
	defer func() {
		if c.round > 0 && (ran.Digest != c.ran.Digest || ran.Config != c.ran.Config) {
			ran.Digest, ran.Config = "", "" // it was replaced between two rounds: no module made all of the decision
		}
	}()
	for {
		ran, err = e.Policies.Route(c.decider, &c.facts, &c.plan)
		if err != nil && e.withdrawn(c) {
			continue
		}
		w := c.wish
		if err != nil || c.plan.Kind != abi.KindReject || w == nil || c.round > 0 || c.env.NoFallback || w.tries+1 >= len(w.listed) {
			return ran, err
		}
		w.tries++
		c.model = w.listed[w.tries].Model
		c.req.Model = c.model.Number
	}
}

// wished puts the steps of a plan in the order that the caller wants, after those of the list's models that the plan does not
// have. Steps that nothing is said about stay in the policy's order.
func (e *Engine) wished(c *call, steps []policy.Step) []policy.Step {
	w := c.wish
	if w == nil || c.plan.Kind != abi.KindAnswer {
		return steps
	}
	if !c.env.NoFallback {
		steps = e.others(c, steps)
	}
	slices.SortStableFunc(steps, func(a, b policy.Step) int { return e.prefer(c, int(a.Candidate), int(b.Candidate)) })
	w.tried = w.tried[:0]
	for _, s := range steps {
		w.tried = append(w.tried, s.Candidate)
	}
	return steps
}

// maxWished is how many steps a list of models may come to.
const maxWished = 2 * abi.MaxSteps

// others adds the models of the list for which the policy was not asked, each with its cheapest deployment first.
func (e *Engine) others(c *call, steps []policy.Step) []policy.Step {
	planned := len(steps)
	for i := range c.wish.listed {
		m := c.wish.listed[i].Model
		if i <= c.wish.tries || m == c.model || slices.ContainsFunc(steps, func(s policy.Step) bool { return c.among[s.Candidate].Model == m }) {
			continue
		}
		from := len(steps)
		for _, d := range m.Deployments { // with wishes the candidates are all of the catalog's, in its order
			if c.req.Options[d.Index].Excluded == 0 && len(steps) < max(maxWished, planned) {
				steps = append(steps, policy.Step{Candidate: uint16(d.Index), Attempts: 1, Reason: abi.BecauseNamed})
			}
		}
		slices.SortStableFunc(steps[from:], func(a, b policy.Step) int { return c.cheaper(int(a.Candidate), int(b.Candidate)) })
	}
	return steps
}

// prefer compares two candidates by the caller's wishes: the list of models, the order of providers, the thresholds, the sort.
func (e *Engine) prefer(c *call, a, b int) int {
	w := c.wish
	rank := func(i int) int {
		m := c.among[i].Model
		if len(w.listed) > 0 {
			return w.place(m)
		}
		if c.model != nil && m != c.model { // what a policy falls back to stays behind the model that was named
			return 1
		}
		return 0
	}
	provider := func(i int) int {
		if at := slices.Index(w.order, c.among[i].Provider); at >= 0 {
			return at
		}
		return len(w.order)
	}
	models := cmp.Compare(rank(a), rank(b))
	if w.AcrossModels && w.Sort != envelope.SortNone {
		return cmp.Or(cmp.Compare(provider(a), provider(b)), cmp.Compare(e.misses(c, a), e.misses(c, b)), e.sorted(c, w.Sort, a, b), models)
	}
	sort := w.Sort
	if i := w.place(c.among[a].Model); i >= 0 {
		sort = w.listed[i].sort
	}
	return cmp.Or(models, cmp.Compare(provider(a), provider(b)), cmp.Compare(e.misses(c, a), e.misses(c, b)), e.sorted(c, sort, a, b))
}

// misses is 1 for a candidate that is known to be slower than the caller prefers.
func (e *Engine) misses(c *call, i int) int {
	live := &c.snap.Candidates[i]
	if c.wish.MinThroughput > 0 && live.TokensPerSec > 0 && float64(live.TokensPerSec) < c.wish.MinThroughput ||
		c.wish.MaxLatency > 0 && float64(live.TTFT) > 1000*c.wish.MaxLatency {
		return 1
	}
	return 0
}

// sorted compares two candidates; one of which nothing is known comes after those of which something is.
func (e *Engine) sorted(c *call, by envelope.Sort, a, b int) int {
	x, y := &c.snap.Candidates[a], &c.snap.Candidates[b]
	switch by {
	case envelope.SortPrice:
		return c.cheaper(a, b)
	case envelope.SortThroughput:
		return cmp.Compare(y.TokensPerSec, x.TokensPerSec)
	case envelope.SortLatency:
		return cmp.Or(cmp.Compare(unknown(x.TTFT), unknown(y.TTFT)), cmp.Compare(x.TTFT, y.TTFT))
	}
	return 0
}

func unknown(f float32) int {
	if f <= 0 {
		return 1
	}
	return 0
}

// cheaper compares what two deployments ask for a token of input and one of output. A deployment without prices whose model is
// not free has a price that nobody knows.
func (c *call) cheaper(a, b int) int {
	price := func(i int) (hidden int, sum int64) {
		d := c.among[i]
		sum = d.Price.Rate(catalog.RateIn) + d.Price.Rate(catalog.RateOut)
		if sum == 0 && d.Model.Charges() && !d.Local {
			hidden = 1
		}
		return hidden, sum
	}
	hiddenA, sumA := price(a)
	hiddenB, sumB := price(b)
	return cmp.Or(cmp.Compare(hiddenA, hiddenB), cmp.Compare(sumA, sumB))
}

// text says the wishes in a line, for the record of the decision.
func (w *wishes) text() string {
	var parts []string
	add := func(name string, given bool, value string) {
		if given {
			parts = append(parts, strings.TrimSuffix(name+" "+value, " "))
		}
	}
	add("models", len(w.Models) > 0, strings.Join(w.Models, ", "))
	add("order", len(w.order) > 0, strings.Join(w.order, ", "))
	add("only", len(w.only) > 0, strings.Join(w.only, ", "))
	add("ignore", len(w.ignore) > 0, strings.Join(w.ignore, ", "))
	add("no fallbacks", w.NoFallback, "")
	add("required parameters", w.RequireParameters, "")
	add("no data collection", w.DenyCollection, "")
	add("zero retention", w.ZeroRetention, "")
	add("sort", w.Sort != envelope.SortNone, w.Sort.String())
	add("max prompt price", w.MaxPrompt != envelope.NoMaxPrice, dollars(w.MaxPrompt))
	add("max completion price", w.MaxCompletion != envelope.NoMaxPrice, dollars(w.MaxCompletion))
	add("throughput", w.MinThroughput > 0, fmt.Sprintf("from %g", w.MinThroughput))
	add("latency", w.MaxLatency > 0, fmt.Sprintf("up to %g s", w.MaxLatency))
	add("free", w.free, "")
	return clip(strings.Join(parts, "; "), 500)
}

// dollars prints a price of pico-dollars per token as dollars per million tokens.
func dollars(pico int64) string { return fmt.Sprintf("%g", float64(pico)/1e6) }
