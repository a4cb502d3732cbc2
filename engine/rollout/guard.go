package rollout

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrPlan: a plan or a guard cannot be right; the text says why.
var ErrPlan = errors.New("not a valid rollout")

// Measure is what a guard watches.
type Measure string

// The measures.
const (
	Cost      Measure = "cost"      // dollars a request, as providers charge them; relative
	Credits   Measure = "credits"   // credits a request, as accounts are charged; relative
	Errors    Measure = "errors"    // share of requests that got no answer; in points
	Fallbacks Measure = "fallbacks" // share of requests of which an attempt or the decision failed; in points
	TTFT      Measure = "ttft_p95"  // 95th percentile of the time to the first content; relative
)

func measures() []Measure { return []Measure{Cost, Credits, Errors, Fallbacks, TTFT} }

// relative tells that the margin is a part of the control's value, and not to be added to it.
func (m Measure) relative() bool { return m == Cost || m == Credits || m == TTFT }

// Guard says by how much the candidate may be worse than the control: "cost>+10%" is broken by a cost that is more than a
// tenth above the control's, "errors>+1%" by an error rate that is more than one point above it.
type Guard struct {
	Measure Measure
	Margin  float64 // 0.1 for 10 %
}

// maxMargin is the largest relative margin; a share may be worse by less than 1.
const maxMargin = 10

// ParseGuard reads "MEASURE>+N%". Errors: ErrPlan.
func ParseGuard(text string) (Guard, error) {
	name, rest, _ := strings.Cut(strings.ReplaceAll(text, " ", ""), ">")
	g := Guard{Measure: Measure(name)}
	if !slices.Contains(measures(), g.Measure) {
		return g, fmt.Errorf("%w: guard %.40q is not about cost, credits, errors, fallbacks or ttft_p95", ErrPlan, text)
	}
	number, percent := strings.CutSuffix(strings.TrimPrefix(rest, "+"), "%")
	value, err := strconv.ParseFloat(number, 64)
	if g.Margin = value / 100; err != nil || !percent || !(g.Margin >= 0) || g.Margin > maxMargin || !g.Measure.relative() && g.Margin >= 1 {
		return g, fmt.Errorf("%w: guard %.40q must end in >+N%%, as in cost>+10%%", ErrPlan, text)
	}
	return g, nil
}

// String is the form that ParseGuard reads.
func (g Guard) String() string {
	return string(g.Measure) + ">+" + strconv.FormatFloat(g.Margin*100, 'g', 12, 64) + "%"
}

// MarshalText writes the guard as String does.
func (g Guard) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (g *Guard) UnmarshalText(text []byte) (err error) {
	*g, err = ParseGuard(string(text))
	return err
}

// DefaultGuards are those of a plan that names none.
func DefaultGuards() []Guard {
	return []Guard{{Cost, 0.1}, {Errors, 0.01}, {TTFT, 0.2}, {Fallbacks, 0.02}}
}
