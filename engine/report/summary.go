package report

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// Query asks for a summary as a table.
type Query struct {
	storage.SummaryQuery
	Sort       string // name of a column
	Descending bool
	Limit      int // rows at most; the totals are of all

	// CreditUSD is the value of a credit, for margins; 0: there are none. Money adds what a request cost the operator beyond what its
	// account is told: margins and savings.
	CreditUSD storage.NanoUSD
	Money     bool
}

// MistakeError says what is wrong with a parameter.
type MistakeError struct{ Param, Message string }

// Error is the message.
func (e *MistakeError) Error() string { return e.Message }

func mistake(param, format string, args ...any) *MistakeError {
	return &MistakeError{param, fmt.Sprintf(format, args...)}
}

// defaultSpan is how long a summary reaches back where from is not given.
const defaultSpan = 24 * time.Hour

// Parse reads a query from the parameters group_by, from, to, sort and limit, and one with the name of each dimension that selects
// values of it. own leaves out the dimensions that are the same for all requests of an account.
func Parse(param func(name string) string, now time.Time, own bool) (Query, error) {
	q := Query{Limit: 1000}
	q.Where = map[storage.Dimension][]string{}
	var err error
	if q.To, err = parseTime(param, "to", now.Truncate(time.Minute).Add(time.Minute)); err != nil {
		return q, err
	}
	if q.From, err = parseTime(param, "from", q.To.Add(-defaultSpan)); err != nil {
		return q, err
	}
	if q.To.Before(q.From) {
		return q, mistake("to", "to must not be before from")
	}
	if err := q.group(param("group_by"), own); err != nil {
		return q, err
	}
	for d, name := range storage.DimensionNames() {
		if text := param(name); text != "" {
			if own && hidden(storage.Dimension(d)) {
				return q, mistake(name, "%s is the same for all your requests", name)
			}
			q.Where[storage.Dimension(d)] = strings.Split(text, ",")
		}
	}
	if text := param("limit"); text != "" {
		most := storage.MostSummaryGroups
		if own {
			most = q.Limit
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return q, mistake("limit", "limit must be a number from 1 to %d", most)
		}
		q.Limit = n
	}
	q.Money = !own
	return q, q.order(param("sort"))
}

func hidden(d storage.Dimension) bool { return d == storage.ByAccount || d == storage.ByTeam }

// parseTime reads a time, a day, or a number of days, hours or minutes before now.
func parseTime(param func(string) string, name string, otherwise time.Time) (time.Time, error) {
	text := param(name)
	if text == "" {
		return otherwise, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1970 && t.Year() < 10000 {
			return t.UTC(), nil
		}
	}
	return otherwise, mistake(name, "%s must be a time like 2026-11-01T00:00:00Z or a day like 2026-11-01", name)
}

// group reads group_by: names of dimensions, and one of minute, hour and day.
func (q *Query) group(text string, own bool) error {
	if text == "" {
		return nil
	}
	names := storage.DimensionNames()
	for name := range strings.SplitSeq(text, ",") {
		step := slices.Index([]string{"minute", "hour", "day"}, name) + 1
		d := storage.Dimension(max(0, slices.Index(names[:], name)))
		switch {
		case step > 0 && q.Step == 0:
			q.Step = storage.Step(step)
		case step > 0:
			return mistake("group_by", "group_by takes one of minute, hour and day, once")
		case !slices.Contains(names[:], name) || own && hidden(d):
			known := slices.DeleteFunc(slices.Clone(names[:]), func(n string) bool {
				return own && hidden(storage.Dimension(slices.Index(names[:], n)))
			})
			return mistake("group_by", "group_by takes minute, hour or day, and %s; %.40q is none of them", strings.Join(known, ", "), name)
		case slices.Contains(q.Group, d):
			return mistake("group_by", "group_by names %s twice", name)
		default:
			q.Group = append(q.Group, d)
		}
	}
	return nil
}

// order reads sort: the name of a column, with a minus before it for the largest first. Without one, rows are in the order of time,
// or by their number of requests.
func (q *Query) order(text string) error {
	if text == "" {
		if text = "time"; q.Step == storage.StepNone {
			text = "-requests"
		}
	}
	q.Sort, q.Descending = strings.CutPrefix(text, "-")
	if !slices.ContainsFunc(q.Columns(), func(c Column) bool { return c.Name == q.Sort }) {
		return mistake("sort", "sort must be the name of a column of the answer, with a minus before it for the largest first; %.40q is none", q.Sort)
	}
	return nil
}

// Columns are the columns of the summary: the time of its steps, its groups, its measures.
func (q *Query) Columns() (columns []Column) {
	if q.Step != storage.StepNone {
		columns = append(columns, Column{Name: "time", Kind: Time})
	}
	names := storage.DimensionNames()
	for _, d := range q.Group {
		columns = append(columns, Column{Name: names[d]})
	}
	return append(columns, q.measures()...)
}

// measures are the columns of values, as values fills them.
func (q *Query) measures() []Column {
	columns := []Column{
		{Name: "requests", Kind: Integer},
		{Name: "succeeded", Kind: Integer},
		{Name: "success_rate", Kind: Number, Optional: true},
		{Name: "input_tokens", Kind: Integer},
		{Name: "output_tokens", Kind: Integer},
		{Name: "cached_tokens", Kind: Integer},
		{Name: "reasoning_tokens", Kind: Integer},
		{Name: "credits", Kind: Credits},
		{Name: "cost_usd", Kind: USD},
		{Name: "tokens_per_second", Kind: Number, Optional: true},
	}
	for _, of := range []string{"latency", "ttft"} {
		for _, q := range []string{"50", "95", "99"} {
			columns = append(columns, Column{Name: of + "_ms_p" + q, Kind: Millis, Optional: true})
		}
	}
	if q.Money {
		columns = append(columns, Column{Name: "margin_usd", Kind: USD, Optional: true}, Column{Name: "saved_usd", Kind: USD})
	}
	return columns
}

// values appends the measures of a group.
func (q *Query) values(values []Value, s *storage.Sums) []Value {
	requests, micros := s.Of[storage.SumRequests], s.Of[storage.SumTimedMicros]
	values = append(values, Value{N: requests}, Value{N: s.Of[storage.SumSucceeded]},
		ratio(s.Of[storage.SumSucceeded], requests, 1e4, 1))
	for m := storage.SumInputTokens; m <= storage.SumCostUSD; m++ {
		values = append(values, Value{N: s.Of[m]})
	}
	values = append(values, ratio(s.Of[storage.SumTimedTokens], micros, 10, 1e6))
	for _, h := range []*storage.Histogram{&s.Latency, &s.TTFT} {
		none := h.Count() == 0
		for _, share := range []float64{0.5, 0.95, 0.99} {
			values = append(values, Value{N: h.Quantile(share).Microseconds(), Null: none})
		}
	}
	if q.Money {
		margin, known := q.margin(s)
		values = append(values, Value{N: int64(margin), Null: !known}, Value{N: s.Of[storage.SumSavedUSD]})
	}
	return values
}

// ratio is a/b times scale, rounded to 1/digits; null if b is 0.
func ratio(a, b int64, digits, scale float64) Value {
	if b == 0 {
		return Value{Null: true}
	}
	return Value{F: math.Round(float64(a)/float64(b)*scale*digits) / digits}
}

// margin is what the credits are worth less what the provider charges.
func (q *Query) margin(s *storage.Sums) (storage.NanoUSD, bool) {
	if q.CreditUSD == 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(max(0, s.Of[storage.SumCredits])), uint64(q.CreditUSD))
	if hi >= uint64(storage.CreditsPerCredit) {
		return math.MaxInt64, true
	}
	worth, _ := bits.Div64(hi, lo, uint64(storage.CreditsPerCredit))
	return storage.NanoUSD(min(worth, math.MaxInt64)) - storage.NanoUSD(s.Of[storage.SumCostUSD]), true
}

// Result is a summary in the order and to the limit that a query wants.
type Result struct {
	From, To time.Time
	Rows     []storage.SummaryRow
	Groups   int // before the limit
	Totals   storage.Sums

	query *Query
}

// Arrange makes a summary the result of a query.
func (q *Query) Arrange(s storage.Summary) *Result {
	r := &Result{From: s.From, To: s.To, Groups: len(s.Rows), query: q}
	for i := range s.Rows {
		r.Totals.Merge(&s.Rows[i].Sums)
	}
	at := slices.IndexFunc(q.Columns(), func(c Column) bool { return c.Name == q.Sort })
	type keyed struct {
		by  Value
		row int
	}
	keys := make([]keyed, len(s.Rows))
	var values []Value
	for i := range s.Rows {
		values = q.Values(values[:0], &s.Rows[i])
		keys[i] = keyed{values[at], i}
	}
	slices.SortFunc(keys, func(a, b keyed) int {
		c := compare(a.by, b.by)
		if q.Descending {
			c = -c
		}
		x, y := &s.Rows[a.row], &s.Rows[b.row]
		return cmp.Or(c, x.Time.Compare(y.Time), slices.Compare(x.Values, y.Values))
	})
	for _, k := range keys[:min(len(keys), q.Limit)] {
		r.Rows = append(r.Rows, s.Rows[k.row])
	}
	return r
}

func compare(a, b Value) int {
	order := func(null bool) int {
		if null {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(order(a.Null), order(b.Null)), cmp.Compare(a.N, b.N), cmp.Compare(a.F, b.F), strings.Compare(a.Text, b.Text))
}

// Values appends the values of a row, in the order of [Query.Columns].
func (q *Query) Values(values []Value, row *storage.SummaryRow) []Value {
	if q.Step != storage.StepNone {
		values = append(values, Value{N: row.Time.UnixMicro()})
	}
	for _, text := range row.Values {
		values = append(values, Value{Text: text})
	}
	return q.values(values, &row.Sums)
}

// WriteTable writes the rows to a table.
func (r *Result) WriteTable(t Table) error {
	var values []Value
	for i := range r.Rows {
		values = r.query.Values(values[:0], &r.Rows[i])
		if err := t.Row(values); err != nil {
			return err
		}
	}
	return t.Close()
}

// AppendHead, AppendRow and AppendTail append the parts of the result as one JSON object, with a row for each number from 0 on.
func (r *Result) AppendHead(b []byte) []byte {
	b = append(b, `{"from":"`...)
	b = append(r.From.AppendFormat(b, time.RFC3339), `","to":"`...)
	b = append(r.To.AppendFormat(b, time.RFC3339), `","groups":`...)
	return append(strconv.AppendInt(b, int64(r.Groups), 10), `,"data":[`...)
}

// AppendRow appends a row and what comes before it.
func (r *Result) AppendRow(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return AppendObject(b, r.query.Columns(), r.query.Values(nil, &r.Rows[i]))
}

// AppendTail appends the totals of all groups.
func (r *Result) AppendTail(b []byte) []byte {
	b = append(b, `],"totals":`...)
	return append(AppendObject(b, r.query.measures(), r.query.values(nil, &r.Totals)), '}')
}
