package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Expect is what should come out. What is not given may be anything.
type Expect struct {
	Decision    string            // answer, ask, reject or accept
	Order       []string          // models of the plan, all of them
	First       string            // model
	Includes    []string          // models that are in the plan
	Excludes    []string          // models that are not
	Reason      string            // of the plan
	Why         map[string]string // reason by model
	Status      uint64            // of a reject
	Explanation string            // a part of it
	MaxFuel     uint64
	hasStatus   bool
}

func (w *world) expect(t *fields) *Expect {
	e := &Expect{
		Decision: t.text("decision", ""), Order: t.list("order"), First: t.text("first", ""), Includes: t.list("includes"), Excludes: t.list("excludes"),
		Reason: t.text("reason", ""), Explanation: t.text("explanation", ""), MaxFuel: t.whole("max_fuel", 0, 1<<53),
		Status: t.whole("status", 0, 599), hasStatus: t.has("status"), Why: map[string]string{},
	}
	if kinds := []string{"answer", "ask", "reject", "accept"}; e.Decision != "" && !slices.Contains(kinds, e.Decision) {
		t.fault("decision %q is not known%s", e.Decision, instead(e.Decision, kinds))
	}
	reason := func(key, name string) {
		if _, ok := parseReason(name); !ok && name != "" && name != "policy" {
			t.fault("%s %q is not known%s", key, name, instead(name, reasonNames(256)))
		}
	}
	reason("reason", e.Reason)
	for _, names := range [][]string{e.Order, e.Includes, e.Excludes, {e.First}} {
		for _, name := range names {
			if name != "" {
				w.find(t, "", name)
			}
		}
	}
	why := t.table("why")
	for _, name := range slices.Sorted(maps.Keys(why.values)) {
		w.find(why, "", name)
		e.Why[name] = why.text(name, "")
		reason("why", e.Why[name])
	}
	t.done()
	return e
}

// Decision is what a policy did with a case.
type Decision struct {
	Plan policy.Plan
	Fuel int64
	Err  error
}

// Difference is one thing that is not as expected.
type Difference struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Compare lists what is not as expected.
func (c *Case) Compare(d *Decision) []Difference {
	var all []Difference
	differ := func(what, want, got string) {
		if want != got {
			all = append(all, Difference{what, want, got})
		}
	}
	if d.Err != nil {
		return []Difference{{"decision", "a plan", d.Err.Error()}}
	}
	e, order := c.Expect, c.Order(&d.Plan)
	if e.Decision != "" {
		differ("decision", e.Decision, KindName(d.Plan.Kind))
	}
	if e.Order != nil {
		differ("order", strings.Join(c.canonical(e.Order), ", "), strings.Join(order, ", "))
	}
	if e.First != "" {
		first := "nothing"
		if len(order) > 0 {
			first = order[0]
		}
		if !c.is(e.First, d.Plan.Steps[:min(1, len(d.Plan.Steps))]) {
			differ("first", e.First, first)
		}
	}
	for _, name := range e.Includes {
		if !c.is(name, d.Plan.Steps) {
			differ("includes", name, strings.Join(order, ", "))
		}
	}
	for _, name := range e.Excludes {
		if c.is(name, d.Plan.Steps) {
			differ("excludes", "no "+name, strings.Join(order, ", "))
		}
	}
	if e.Reason != "" {
		differ("reason", e.Reason, policy.ReasonName(d.Plan.Reason))
	}
	if e.hasStatus {
		differ("status", fmt.Sprint(e.Status), fmt.Sprint(d.Plan.Status))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Why)) {
		for _, i := range c.world.find(&fields{faults: &[]string{}}, "", name) {
			differ("why "+name, e.Why[name], policy.ReasonName(c.reason(&d.Plan, i)))
		}
	}
	if !strings.Contains(string(d.Plan.Explanation), e.Explanation) {
		differ("explanation", "…"+e.Explanation+"…", string(d.Plan.Explanation))
	}
	if e.MaxFuel > 0 && uint64(d.Fuel) > e.MaxFuel {
		differ("fuel", fmt.Sprintf("at most %d", e.MaxFuel), fmt.Sprint(d.Fuel))
	}
	return all
}

// canonical are names as Order gives them.
func (c *Case) canonical(names []string) []string {
	out := make([]string, len(names))
	for n, name := range names {
		out[n] = name
		if found := c.world.find(&fields{faults: &[]string{}}, "", name); len(found) == 1 {
			out[n] = c.world.label(found[0])
		}
	}
	return out
}

// is tells whether one of the steps is a model.
func (c *Case) is(name string, steps []policy.Step) bool {
	found := c.world.find(&fields{faults: &[]string{}}, "", name)
	return slices.ContainsFunc(steps, func(s policy.Step) bool { return slices.Contains(found, int(s.Candidate)) })
}

// Order is the plan's models, in order.
func (c *Case) Order(plan *policy.Plan) []string {
	var out []string
	for _, s := range plan.Steps {
		out = append(out, c.world.label(int(s.Candidate)))
	}
	return out
}

// reason says why a candidate is in or out.
func (c *Case) reason(plan *policy.Plan, i int) uint16 {
	for _, s := range plan.Steps {
		if int(s.Candidate) == i {
			return s.Reason
		}
	}
	if why := c.Facts.Request.Options[i].Excluded; why != 0 {
		return uint16(why)
	}
	if i < len(plan.Verdicts) {
		return plan.Verdicts[i].Reason
	}
	return abi.ReasonNone
}

// KindName is the name of an abi.Kind* code.
func KindName(kind uint8) string {
	switch kind {
	case abi.KindAnswer:
		return "answer"
	case abi.KindAsk:
		return "ask"
	case abi.KindReject:
		return "reject"
	case abi.KindAccept:
		return "accept"
	}
	return fmt.Sprintf("kind %d", kind)
}
