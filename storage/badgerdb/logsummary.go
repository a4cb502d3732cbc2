package badgerdb

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
)

// Summary sums up the requests that ended in a time, from the coarsest sums that have it. It sees everything that was appended
// before it. Errors: ErrInvalid (the step or a dimension is none, or sums of that step are no longer kept), ErrTooManyGroups,
// ErrClosed; damaged sums are named.
func (l *Log) Summary(q storage.SummaryQuery) (storage.Summary, error) {
	if q.Step > storage.StepDay {
		return storage.Summary{}, fmt.Errorf("step %d: %w", q.Step, storage.ErrInvalid)
	}
	for _, d := range q.Group {
		if d >= storage.Dimensions {
			return storage.Summary{}, fmt.Errorf("dimension %d: %w", d, storage.ErrInvalid)
		}
	}
	from, to := l.kept(minuteAt(q.From), minuteAt(q.To.Add(time.Minute-1)))
	if r := coarsest(q.Step); r < days && from < l.oldest(r) {
		return storage.Summary{}, fmt.Errorf("sums of each %s are kept for %s: %w", q.Step.Length(), l.config.KeepSums[r], storage.ErrInvalid)
	}
	s := newSummarizer(q)
	l.Flush()
	start, err := s.addUnder(&l.folding, from, to)
	if err != nil {
		return storage.Summary{}, err
	}
	err = l.read(func(txn *badger.Txn) error { // opened after start was read, so that it sees everything before start
		return l.addBefore(s, txn, from, min(to, start[minutes]), start)
	})
	if err != nil {
		return storage.Summary{}, err
	}
	return storage.Summary{From: timeOf(from), To: timeOf(to), Rows: s.rows}, nil
}

// addBefore adds what is on disk. The days are halved between two goroutines: this is all work of the processor.
func (l *Log) addBefore(s *summarizer, txn *badger.Txn, from, to uint32, start [resolutions]uint32) error {
	add := func(s *summarizer, from, to uint32) error {
		return eachSpan(from, to, coarsest(s.query.Step), start, func(r resolution, from, to uint32) error {
			v := viewAll
			if r > minutes {
				v = s.view()
			}
			return l.eachChunk(txn, r, v, from, to, s.addChunk)
		})
	}
	middle := days.floor(from/2 + to/2)
	if middle <= from || to <= middle {
		return add(s, from, to)
	}
	later := newSummarizer(s.query)
	failed := make(chan error, 1)
	go func() { failed <- guard("summing up", func() error { return add(later, middle, to) }) }()
	err, errLater := add(s, from, middle), <-failed
	if err = cmp.Or(err, errLater); err != nil {
		return err
	}
	return s.merge(later)
}

// coarsest is the coarsest resolution that tells the steps apart.
func coarsest(step storage.Step) resolution {
	return [...]resolution{storage.StepNone: days, storage.StepMinute: minutes, storage.StepHour: hours, storage.StepDay: days}[step]
}

// kept extends a time to whole hours or days where it begins or ends before the finer sums that are kept.
func (l *Log) kept(from, to uint32) (uint32, uint32) {
	for r := minutes; r < days; r++ {
		oldest := l.oldest(r)
		if coarser := r + 1; from < oldest {
			from = coarser.floor(from)
		}
		if coarser := r + 1; to < oldest {
			to = coarser.floor(to + coarser.length() - 1)
		}
	}
	return from, to
}

// oldest is the first minute, hour or day of which sums are kept for certain.
func (l *Log) oldest(r resolution) uint32 {
	return r.floor(minuteAt(l.config.Clock().Add(-l.config.KeepSums[r])))
}

// eachSpan splits a time into spans of the coarsest resolutions that fit, up to most, and whose sums are on disk: those before
// start.
func eachSpan(from, to uint32, most resolution, start [resolutions]uint32, visit func(r resolution, from, to uint32) error) error {
	for from < to {
		r := most
		for r > minutes && (r.floor(from) != from || from+r.length() > min(to, start[r])) {
			r--
		}
		until := from + r.length()
		for until+r.length() <= min(to, start[r]) && (r == most || (r+1).floor(until) != until) {
			until += r.length()
		}
		if err := visit(r, from, until); err != nil {
			return err
		}
		from = until
	}
	return nil
}

// summarizer gathers the groups of a query.
type summarizer struct {
	query   storage.SummaryQuery
	rows    []storage.SummaryRow
	index   map[groupKey]int
	names   [storage.Dimensions]map[string]uint32 // numbers of the values that were seen, from 1
	chunk   chunkReader
	targets []*storage.Sums
	places  []int32                      // of the chunk's groups in rows
	known   []int32                      // by the combined number of a group's values: its place + 1
	numbers [storage.Dimensions][]uint32 // of the chunk's texts; 0: not wanted
	step    uint32                       // in minutes, 0 for none
}

// groupKey is a group of the answer, by the numbers of its values.
type groupKey struct {
	time   uint32
	values [storage.Dimensions]uint32
}

func newSummarizer(q storage.SummaryQuery) *summarizer {
	s := &summarizer{query: q, index: map[groupKey]int{}, step: uint32(q.Step.Length() / time.Minute)}
	for d := range s.names {
		s.names[d] = map[string]uint32{}
	}
	return s
}

// wants tells whether a value passes the query's selection.
func (s *summarizer) wants(d storage.Dimension, value string) bool {
	values, selected := s.query.Where[d]
	return !selected || slices.Contains(values, value)
}

// number is the number of a value by which the query groups, 1 where it does not, 0 if it is not wanted.
func (s *summarizer) number(d storage.Dimension, value string) uint32 {
	if !s.wants(d, value) {
		return 0
	}
	if !slices.Contains(s.query.Group, d) {
		return 1
	}
	n := s.names[d][value]
	if n == 0 {
		n = uint32(len(s.names[d]) + 1)
		s.names[d][value] = n
	}
	return n
}

// numberOf is number without making a string of what was seen before.
func (s *summarizer) numberOf(d storage.Dimension, value []byte) uint32 {
	if _, selected := s.query.Where[d]; !selected {
		if n := s.names[d][string(value)]; n > 0 {
			return n
		}
	}
	return s.number(d, string(value))
}

// row is the place of a group in the answer.
func (s *summarizer) row(key groupKey, value func(d storage.Dimension) string) (int, error) {
	if i, known := s.index[key]; known {
		return i, nil
	}
	i := len(s.rows)
	if i == storage.MostSummaryGroups {
		return 0, fmt.Errorf("more than %d: %w", storage.MostSummaryGroups, storage.ErrTooManyGroups)
	}
	row := storage.SummaryRow{Values: make([]string, len(s.query.Group))}
	if s.step > 0 {
		row.Time = timeOf(key.time)
	}
	for j, d := range s.query.Group {
		row.Values[j] = value(d)
	}
	s.index[key], s.rows = i, append(s.rows, row)
	return i, nil
}

func (s *summarizer) floor(minute uint32) uint32 {
	if s.step == 0 {
		return 0
	}
	return minute - minute%s.step
}

// merge adds the groups of another summarizer of the same query.
func (s *summarizer) merge(other *summarizer) error {
	for i := range other.rows {
		from := &other.rows[i]
		key := groupKey{time: s.floor(minuteAt(from.Time))}
		for d := range key.values {
			key.values[d] = 1
		}
		for j, d := range s.query.Group {
			key.values[d] = s.number(d, from.Values[j])
		}
		to, err := s.row(key, func(d storage.Dimension) string { return from.Values[slices.Index(s.query.Group, d)] })
		if err != nil {
			return err
		}
		s.rows[to].Sums.Merge(&from.Sums)
	}
	return nil
}

// addUnder adds what is not on disk yet, and returns the time before which everything is.
func (s *summarizer) addUnder(f *folding, from, to uint32) (start [resolutions]uint32, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := f.start[minutes]; from <= at && at < to && at > 0 {
		err = s.addTally(at, f.under[minutes])
	}
	return f.start, err
}

// addTally adds the wanted groups of a tally.
func (s *summarizer) addTally(minute uint32, t *tally) error {
	for values, sums := range t.groups {
		key, wanted := groupKey{time: s.floor(minute)}, true
		for d := range storage.Dimensions {
			key.values[d] = s.number(d, values[d])
			wanted = wanted && key.values[d] > 0
		}
		if !wanted {
			continue
		}
		i, err := s.row(key, func(d storage.Dimension) string { return values[d] })
		if err != nil {
			return err
		}
		s.rows[i].Sums.Merge(sums)
	}
	return nil
}

// addChunk adds the wanted groups of a chunk. The texts of a chunk are looked up once each, and a chunk that has no account
// that is wanted is not unpacked.
func (s *summarizer) addChunk(minute uint32, value []byte) error {
	c := &s.chunk
	if err := c.open(value); err != nil {
		return err
	}
	between := func(account string) bool { return c.first <= account && account <= c.last }
	if accounts, selected := s.query.Where[storage.ByAccount]; selected && !slices.ContainsFunc(accounts, between) {
		return nil
	}
	if err := c.unpack(); err != nil {
		return err
	}
	for d := range storage.Dimensions {
		s.numbers[d] = s.numbers[d][:0]
		wanted := false
		for _, text := range c.texts[d] {
			n := s.numberOf(d, text)
			s.numbers[d] = append(s.numbers[d], n)
			wanted = wanted || n > 0
		}
		if !wanted {
			return nil
		}
	}
	if err := s.place(s.floor(minute)); err != nil {
		return err
	}
	s.targets = s.targets[:0]
	for _, i := range s.places { // only now: rows have moved while they were added
		if i < 0 {
			s.targets = append(s.targets, nil)
			continue
		}
		s.targets = append(s.targets, &s.rows[i].Sums)
	}
	return c.sums(s.targets)
}

// place finds the row of each group of the chunk, -1 for those that are not wanted. Groups that are equal as far as the query goes are
// looked up once: the places of their values in the chunk's texts make one number.
func (s *summarizer) place(at uint32) error {
	c := &s.chunk
	size := 1
	var stride [storage.Dimensions]int // 0 where the query does not group
	for _, d := range s.query.Group {
		stride[d] = size
		if size *= len(c.texts[d]); size > mostInChunk*mostInChunk {
			break
		}
	}
	s.places = s.places[:0]
	s.known = append(s.known[:0], make([]int32, min(size, mostInChunk))...)
	for g := range c.count {
		combined, wanted := 0, true
		for d := range storage.Dimensions {
			combined += stride[d] * int(c.index[d][g])
			wanted = wanted && s.numbers[d][c.index[d][g]] > 0
		}
		if !wanted {
			s.places = append(s.places, -1)
			continue
		}
		memo := size <= mostInChunk
		if memo && s.known[combined] > 0 {
			s.places = append(s.places, s.known[combined]-1)
			continue
		}
		key := groupKey{time: at}
		for d := range storage.Dimensions {
			key.values[d] = s.numbers[d][c.index[d][g]]
		}
		i, err := s.row(key, func(d storage.Dimension) string { return string(c.texts[d][c.index[d][g]]) })
		if err != nil {
			return err
		}
		if s.places = append(s.places, int32(i)); memo {
			s.known[combined] = int32(i) + 1
		}
	}
	return nil
}

// view is the smallest view that has what the query asks for.
func (s *summarizer) view() view {
	for _, v := range []view{viewModels, viewAccounts} {
		missing := slices.ContainsFunc(s.query.Group, func(d storage.Dimension) bool { return !v.has(d) })
		for d := range s.query.Where {
			missing = missing || !v.has(d)
		}
		if !missing {
			return v
		}
	}
	return viewAll
}
