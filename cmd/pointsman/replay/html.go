package replay

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
)

//go:embed report.html
var page string

var pageTemplate = sync.OnceValue(func() *template.Template { // not at the start of a gateway
	return template.Must(template.New("report").Funcs(template.FuncMap{
		"usd":      usd,
		"credits":  credits,
		"signed":   func(now, before USD) string { return signed(float64(now), float64(before)) },
		"percent":  func(n, of int) string { return fmt.Sprintf("%.1f %%", percent(n, of)) },
		"known":    known,
		"name":     name,
		"shade":    func(n, of int) string { return fmt.Sprintf("%.2f", 0.08+0.8*float64(n)/float64(max(1, of))) },
		"first":    func(n int, rows []Row) []Row { return rows[:min(n, len(rows))] },
		"costs":    costPlot,
		"frontier": frontierPlot,
	}).Parse(page))
})

// WriteHTML writes the report as a page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error { return pageTemplate().Execute(w, r) }

// Sizes of the plots, in pixels.
const (
	plotWidth, plotHeight = 720.0, 200.0
	plotLeft, plotBottom  = 70.0, 24.0
)

// costPlot draws what was spent and what would have been, summed up over time.
func costPlot(slots []Slot) template.HTML {
	var was, would USD
	top := 1.0
	for _, s := range slots {
		was, would = was+s.Cost, would+s.Would
		top = max(top, float64(was), float64(would))
	}
	if len(slots) < 2 {
		return ""
	}
	from, span := slots[0].From, slots[len(slots)-1].From.Sub(slots[0].From).Seconds()
	line := func(of func(*Slot) USD) string {
		var path strings.Builder
		var sum USD
		for i := range slots {
			sum += of(&slots[i])
			x := plotLeft + (plotWidth-plotLeft)*slots[i].From.Sub(from).Seconds()/span
			fmt.Fprintf(&path, "%.1f,%.1f ", x, y(float64(sum)/top))
		}
		return path.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="cost over time">`, plotWidth, plotHeight)
	axes(&b, usd(USD(top))+" USD", from.Format("2006-01-02 15:04"), slots[len(slots)-1].From.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, `<polyline class="was" points="%s"/><polyline class="would" points="%s"/></svg>`,
		line(func(s *Slot) USD { return s.Cost }), line(func(s *Slot) USD { return s.Would }))
	return template.HTML(b.String()) //nolint:gosec // numbers and times alone
}

func y(share float64) float64 { return plotHeight - plotBottom - (plotHeight-plotBottom-8)*share }

func axes(b *strings.Builder, top, left, right string) {
	fmt.Fprintf(b, `<path class="axis" d="M%g 8V%gH%g"/>`, plotLeft, plotHeight-plotBottom, plotWidth)
	fmt.Fprintf(b, `<text x="%g" y="14" text-anchor="end">%s</text><text x="%g" y="%g" text-anchor="end">0</text>`, plotLeft-4, top, plotLeft-4, plotHeight-plotBottom)
	fmt.Fprintf(b, `<text x="%g" y="%g">%s</text><text x="%g" y="%g" text-anchor="end">%s</text>`, plotLeft, plotHeight-6, left, plotWidth, plotHeight-6, right)
}

// frontierPlot draws quality over cost of each line of the comparison, with the mixes between the cheapest and the best as a stroke.
func frontierPlot(c *Comparison) template.HTML {
	top := 1.0
	for _, l := range c.Lines {
		top = max(top, float64(l.Cost))
	}
	at := func(l Line) (float64, float64) {
		return plotLeft + (plotWidth-plotLeft-120)*float64(l.Cost)/top, y(l.Quality)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="quality over cost">`, plotWidth, plotHeight)
	axes(&b, "quality 1", "0", usd(USD(top))+" USD")
	x1, y1 := at(c.Line(LineCheapest))
	x2, y2 := at(c.Line(LineSingle))
	fmt.Fprintf(&b, `<path class="mix" d="M%.1f %.1fL%.1f %.1f"/>`, x1, y1, x2, y2)
	for _, l := range c.Lines {
		if l.Name == LineMix {
			continue
		}
		cx, cy := at(l)
		class := "other"
		if l.Name == LineWould {
			class = "would"
		} else if l.Name == LineWas {
			class = "was"
		}
		fmt.Fprintf(&b, `<circle class=%q cx="%.1f" cy="%.1f" r="5"/><text x="%.1f" y="%.1f">%s</text>`, class, cx, cy, cx+9, cy+4, l.Name)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // numbers and the names of lines alone
}
