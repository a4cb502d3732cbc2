package scenario

import (
	"fmt"
	"strings"

	"github.com/pointsman/pointsman/sdk/policy"
)

// Golden is how a decision is written down: what was chosen and why, and how many were out for which reason. Fuel and
// scores are left out: they change with every build and every weight.
func (c *Case) Golden(d *Decision) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", c.Name)
	if d.Err != nil {
		fmt.Fprintf(&b, "\tfailed: %v\n", d.Err)
		return b.String()
	}
	fmt.Fprintf(&b, "\t%s: %s\n", KindName(d.Plan.Kind), policy.ReasonName(d.Plan.Reason))
	if d.Plan.Status != 0 {
		fmt.Fprintf(&b, "\tstatus %d\n", d.Plan.Status)
	}
	if len(d.Plan.Explanation) > 0 {
		fmt.Fprintf(&b, "\t%q\n", d.Plan.Explanation)
	}
	for n, label := range c.Order(&d.Plan) {
		s := d.Plan.Steps[n]
		fmt.Fprintf(&b, "\t%d. %s: %s", n+1, label, policy.ReasonName(s.Reason))
		if s.Attempts > 1 {
			fmt.Fprintf(&b, ", %d attempts", s.Attempts)
		}
		if s.TimeoutMillis > 0 {
			fmt.Fprintf(&b, ", timeout %d ms", s.TimeoutMillis)
		}
		if s.HedgeMillis > 0 {
			fmt.Fprintf(&b, ", hedge %d ms", s.HedgeMillis)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Section is the part of a golden file about a case, "" if there is none.
func Section(golden, name string) string {
	var b strings.Builder
	in := false
	for line := range strings.Lines(golden) {
		if !strings.HasPrefix(line, "\t") {
			in = strings.TrimSuffix(line, "\n") == name
		}
		if in {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Diff shows two texts line by line: those only in want with -, those only in got with +.
func Diff(want, got string) string {
	a, b := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	// length[i][j] is of the longest common part of a[i:] and b[j:]
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out strings.Builder
	show := func(mark, line string) {
		if line != "" {
			out.WriteString(mark + " " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			show(" ", a[i])
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || length[i+1][j] >= length[i][j+1]):
			show("-", a[i])
			i++
		default:
			show("+", b[j])
			j++
		}
	}
	return out.String()
}
