package replay

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Condition is what must not be: "cost>+5%".
type Condition struct {
	text    string
	figure  string
	above   bool    // > rather than <
	percent bool    // relative to what it was, in percent
	limit   float64 // in the figure's unit, or percent
}

var conditionForm = regexp.MustCompile(`^([a-z_]+)\s*([<>])\s*([+-]?)([0-9]+(?:\.[0-9]+)?)(%?)$`)

// figures are what a condition can be about: of what would be, and of what was.
var figures = map[string]func(r *Report) (would, was float64){
	"cost": func(r *Report) (float64, float64) {
		return both(r, func(l Line) float64 { return float64(l.Cost) / 1e9 })
	},
	"credits": func(r *Report) (float64, float64) {
		return both(r, func(l Line) float64 { return float64(l.Credits) / 1e6 })
	},
	"quality": func(r *Report) (float64, float64) { return both(r, func(l Line) float64 { return l.Quality }) },
	"ttft":    func(r *Report) (float64, float64) { return both(r, func(l Line) float64 { return l.TTFT }) },
	"latency": func(r *Report) (float64, float64) { return both(r, func(l Line) float64 { return l.Latency }) },
	"answered": func(r *Report) (float64, float64) {
		return both(r, func(l Line) float64 { return float64(l.Answered) })
	},
	"changed": func(r *Report) (float64, float64) {
		return float64(r.Comparison.Changed), float64(r.Comparison.Requests)
	},
	"failures": func(r *Report) (float64, float64) {
		return float64(r.Comparison.Undecided.Failed + r.Comparison.Undecided.Refused), float64(r.Comparison.Requests)
	},
	"violations": func(r *Report) (float64, float64) {
		return float64(r.Comparison.Undecided.Refused), float64(r.Comparison.Requests)
	},
	"breaches":   func(r *Report) (float64, float64) { return float64(len(r.Comparison.Breaches)), 0 },
	"differing":  func(r *Report) (float64, float64) { return float64(r.Differing), float64(r.Repeatable()) },
	"reproduced": func(r *Report) (float64, float64) { return float64(r.Reproduced), float64(r.Repeatable()) },
}

// shares are the figures of which a percentage without a sign is one of all requests.
var shares = []string{"changed", "failures", "violations", "differing", "reproduced"}

func both(r *Report, of func(Line) float64) (would, was float64) {
	return of(r.Comparison.Line(LineWould)), of(r.Comparison.Line(LineWas))
}

// ParseCondition reads FIGURE>LIMIT or FIGURE<LIMIT. A limit is a number in the figure's unit (USD, credits, milliseconds), +N% or -N% for
// a change of what it was, or, of changed, failures, violations, differing and reproduced, N% of all requests.
func ParseCondition(text string) (c Condition, err error) {
	m := conditionForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return c, fmt.Errorf("condition %q: want FIGURE>LIMIT or FIGURE<LIMIT, like cost>+5%%", text)
	}
	c = Condition{text: text, figure: m[1], above: m[2] == ">", percent: m[5] == "%"}
	if figures[c.figure] == nil {
		return c, fmt.Errorf("condition %q: there is no figure %q; there are %s", text, c.figure, strings.Join(FigureNames(), ", "))
	}
	share := slices.Contains(shares, c.figure)
	switch {
	case c.percent && share == (m[3] != ""):
		return c, fmt.Errorf("condition %q: a percentage of %s is written %s", text, c.figure, map[bool]string{true: "without a sign: it is one of all requests", false: "with a sign: it is a change"}[share])
	case !c.percent && m[3] != "":
		return c, fmt.Errorf("condition %q: a change is a percentage, like +5%%", text)
	case c.percent && c.figure == "breaches":
		return c, fmt.Errorf("condition %q: breaches are counted", text)
	}
	c.limit, err = strconv.ParseFloat(m[3]+m[4], 64)
	return c, err
}

// Met tells whether it is so, and says how it is.
func (c Condition) Met(r *Report) (met bool, how string) {
	proof := c.figure == "differing" || c.figure == "reproduced"
	if r.Comparison == nil && !proof {
		return false, c.text + ": nothing is compared"
	}
	would, was := figures[c.figure](r)
	value, unit := would, ""
	switch {
	case c.percent && slices.Contains(shares, c.figure):
		value, unit = 0, " %"
		if was > 0 {
			value = 100 * would / was
		}
	case c.percent:
		value, unit = 0, " %"
		if was != 0 {
			value = 100 * (would - was) / was
		} else if would > 0 {
			return c.above, fmt.Sprintf("%s: it is %g and was nothing", c.text, would)
		}
	}
	met = value < c.limit
	if c.above {
		met = value > c.limit
	}
	return met, fmt.Sprintf("%s: it is %.6g%s", c.text, value, unit)
}

// FigureNames are what conditions can be about.
func FigureNames() []string {
	return []string{"cost", "credits", "quality", "ttft", "latency", "answered", "changed", "failures", "violations", "breaches", "differing", "reproduced"}
}
