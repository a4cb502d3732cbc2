package engine

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Budgets tells what was spent in the current period, by answers of one model tier or, with nil, of all, and what is held for
// requests under way. It is the ledger that counts. Safe for concurrent use.
type Budgets interface {
	Spent(s storage.Spender, p storage.Period, tier *uint8) (spent, held storage.Credits)
}

// capsOfHold lists the budgets that must have room for the request. One of a model tier is among them if a step that costs is of
// that tier, and also if rounds may come whose plans nobody knows yet; but not if it was found to have no room, for then no step
// of its tier is tried.
func (e *Engine) capsOfHold(c *call) []storage.Cap {
	left := func(b storage.Cap) bool {
		return b.Tier != nil && (c.isFull(*b.Tier) || !c.further() && !e.plans(c, *b.Tier))
	}
	caps := c.caller.Caps
	if slices.ContainsFunc(caps, left) {
		caps = slices.DeleteFunc(slices.Clone(caps), left)
	}
	return caps
}

// plans tells whether a step that costs is of a tier.
func (e *Engine) plans(c *call, tier uint8) bool {
	for _, s := range c.steps {
		if c.tierOf(s) == tier && e.worstCase(c.tried(), int(s.Candidate)) > 0 {
			return true
		}
	}
	return false
}

func (c *call) tierOf(s policy.Step) uint8 { return c.among[s.Candidate].Model.Tier }

// isFull tells whether a budget of a tier was found to have no room.
func (c *call) isFull(tier uint8) bool { return c.full&(1<<tier) != 0 }

// withinBudget is what the steps of this round may cost after a budget, c.short, had no room for the dearest: less than most. Of a
// tier's budget the other tiers keep what is available, as long as the plan has steps of that tier to go without.
func (e *Engine) withinBudget(c *call, available, most storage.Credits) storage.Credits {
	if tier := c.short.Tier; tier != nil && !c.isFull(*tier) {
		c.full |= 1 << *tier
		if e.plans(c, *tier) || !c.holding {
			return available
		}
	}
	return min(available, most-1, max(c.hold+c.short.Credits-c.short.Spent-c.spent, 0)) // 0: what costs nothing stays
}

// overBudget is the fault of a request that a budget has no room for.
func (e *Engine) overBudget(b *storage.BudgetError) *Fault {
	tier := ""
	if b.Tier != nil {
		tier = fmt.Sprintf(" for models of tier %d", *b.Tier)
	}
	f := &Fault{
		Status: fasthttp.StatusPaymentRequired, Type: typeCredits, Code: "budget_exceeded",
		Message: fmt.Sprintf("the %s budget of %s%s has no room for this request: %s of %s credits are spent or held", b.Period, b.Spender.Whose(), tier, b.Spent, b.Credits),
	}
	if b.Next.IsZero() {
		f.Message += "; it does not start anew"
		return f
	}
	f.Message += "; it starts anew at " + b.Next.UTC().Format(time.RFC3339)
	if wait := b.Next.Sub(e.Now()); wait < 24*time.Hour {
		f.RetryAfter = max(wait, time.Second)
	}
	return f
}

// spendable is what an answer by a model of a tier may cost: what the account had available, and its budgets with it.
func (e *Engine) spendable(c *call, tier uint8) storage.Credits {
	left := storage.Credits(c.req.Credits)
	if e.Budgets == nil {
		return left
	}
	for _, b := range c.caller.Caps {
		if b.Tier == nil || *b.Tier == tier {
			spent, held := e.Budgets.Spent(b.Spender, b.Period, b.Tier)
			left = min(left, b.Credits-spent-held+c.root().hold)
		}
	}
	return left
}

// alerts remembers what of each budget was told, so that it is told once in a period. It holds an entry a budget that was spent
// from.
type alerts struct{ told sync.Map } // toldKey -> *told

type toldKey struct {
	spender storage.Spender
	period  storage.Period
	tier    int // -1: all
}

type told struct {
	mu      sync.Mutex
	begun   time.Time       // of the period
	credits storage.Credits // of the budget
	percent int             // the highest that was told, or was reached before this gateway started
}

// watchBudgets tells the operator when a charge brought a budget of the caller's to one of the parts that are to be told, and
// disables who has used up a budget that says so.
func (e *Engine) watchBudgets(caller *directory.Caller, tier uint8, charged storage.Credits) {
	if e.Budgets == nil || charged == 0 || len(caller.Caps) == 0 {
		return
	}
	now := e.Now()
	for _, b := range caller.Caps {
		if b.Tier != nil && *b.Tier != tier {
			continue
		}
		spent, _ := e.Budgets.Spent(b.Spender, b.Period, b.Tier)
		percent := e.alerts.reached(&b, e.AlertAt, b.Period.Start(now), spent, charged)
		suspended := b.Suspend && spent >= b.Credits && e.suspend(b, spent)
		if suspended {
			percent = 100
		}
		if percent > 0 {
			e.tell(storage.Alert{Cap: b, Time: now, Percent: percent, Spent: spent, Next: b.Period.Next(b.Period.Start(now)), Suspended: suspended})
		}
	}
}

// reached is the highest part of a budget, in percent, that has just been reached; 0 if none was.
func (a *alerts) reached(b *storage.Cap, parts []int, begun time.Time, spent, charged storage.Credits) int {
	part := func(amount storage.Credits) (highest int) {
		for _, percent := range parts {
			if amount >= percentOf(b.Credits, percent) {
				highest = max(highest, percent)
			}
		}
		return highest
	}
	k := toldKey{b.Spender, b.Period, -1}
	if b.Tier != nil {
		k.tier = int(*b.Tier)
	}
	found, known := a.told.Load(k)
	if !known {
		found, _ = a.told.LoadOrStore(k, &told{begun: begun, credits: b.Credits, percent: part(spent - charged)})
	}
	t := found.(*told)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.begun.Equal(begun) || t.credits != b.Credits {
		t.begun, t.credits, t.percent = begun, b.Credits, part(spent-charged)
	}
	now := part(spent)
	if now <= t.percent {
		return 0
	}
	t.percent = now
	return now
}

// percentOf is a part of an amount, without ever leaving its range.
func percentOf(amount storage.Credits, percent int) storage.Credits {
	p := storage.Credits(percent)
	return amount/100*p + amount%100*p/100
}

// suspend disables who has used up a budget, and tells whether that was still to be done.
func (e *Engine) suspend(b storage.Cap, spent storage.Credits) bool {
	still := func(budgets []storage.Budget) bool { // the request may have begun under another one
		return slices.ContainsFunc(budgets, func(now storage.Budget) bool {
			return now.Suspend && now.Period == b.Period && (now.Tier == nil) == (b.Tier == nil) && (b.Tier == nil || *now.Tier == *b.Tier) && spent >= now.Credits
		})
	}
	done, err := e.Directory.Suspend(b.Spender, still, fmt.Sprintf("budget of %s used up", b.Period))
	if err != nil {
		e.Logger.Error("disabling who has used up a budget", "whose", b.Spender.Whose(), "error", err)
		return false
	}
	return done
}

// tell makes an alert known.
func (e *Engine) tell(a storage.Alert) {
	tier := any("all")
	if a.Tier != nil {
		tier = *a.Tier
	}
	e.Logger.Warn("a budget is being used up", "whose", a.Spender.Whose(), "period", a.Period, "tier", tier, "percent", a.Percent, "spent", a.Spent, "budget", a.Credits, "disabled", a.Suspended)
	e.metrics.budgetAlert(a)
	if e.Alert != nil {
		e.Alert(a)
	}
}

// budgetAlert counts a budget that was told of.
func (m *metricSet) budgetAlert(a storage.Alert) {
	m.add(key{"pointsman_budget_alerts_total", "period", a.Period.String(), "percent", fmt.Sprint(a.Percent)}, 1)
	if a.Suspended {
		m.add(key{"pointsman_budget_suspensions_total", "period", a.Period.String(), "", ""}, 1)
	}
}
