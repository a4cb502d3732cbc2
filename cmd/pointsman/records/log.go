package records

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// chunkSize is how many requests are put in order at a time.
const chunkSize = 16 << 10

// Log is what a gateway keeps of requests.
type Log interface {
	WalkRecords(from, until time.Time, visit func(r *storage.LogRecord) error) (damaged int, err error)
	WalkGenerations(from, to uint64, visit func(generation uint64, data []byte) error) error
	State(policy string, number uint64) (found uint64, data []byte, err error)
}

// Filter is which requests are wanted. The zero value of a field wants all.
type Filter struct {
	Since, Until time.Time // of their beginning
	Account, Key string
	Policy       string // that decided
	Limit        int    // requests at most
}

func (f *Filter) wants(u *storage.Usage) bool {
	return (f.Account == "" || u.Account == f.Account) && (f.Key == "" || u.Key == f.Key) && (f.Policy == "" || u.Policy == f.Policy)
}

// logSource reads a log.
type logSource struct {
	log      Log
	policies string // directory of the depot
	batches  chan *Batch
	err      error // why it ended, once batches is closed
	stop     chan struct{}

	mu     sync.Mutex
	passed Passed
}

// errStopped ends the walk through a log that nobody reads any more.
var errStopped = errors.New("stopped")

// Read gives the requests of a log. Modules and configurations are those that the depot in the directory policies has seen serving.
// The log must stay open until Close.
func Read(log Log, policies string, f Filter) (Source, func()) {
	s := &logSource{log: log, policies: policies, batches: make(chan *Batch), stop: make(chan struct{})}
	if f.Until.IsZero() {
		f.Until = time.Now().Add(time.Hour)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.batches)
		c := chunk{s: s}
		err := c.walk(f)
		if !errors.Is(err, errStopped) {
			s.err = err
		}
	}()
	return s, func() {
		close(s.stop)
		<-done
	}
}

// Next implements Source.
func (s *logSource) Next() (*Batch, error) {
	b, ok := <-s.batches
	switch {
	case ok:
		return b, nil
	case s.err != nil:
		return nil, s.err
	}
	return nil, io.EOF
}

// Module implements Source.
func (s *logSource) Module(digest string) ([]byte, error) {
	wasm, err := depot.Served(s.policies, digest)
	return wasm, unknown("module", digest, err)
}

// Config implements Source.
func (s *logSource) Config(digest string) (string, error) {
	text, err := depot.ServedConfig(s.policies, digest)
	return text, unknown("configuration", digest, err)
}

// State implements Source.
func (s *logSource) State(name string, number uint64) ([]byte, error) {
	_, data, err := s.log.State(name, number)
	if errors.Is(err, storage.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return data, err
}

func unknown(what, digest string, err error) error {
	if errors.Is(err, depot.ErrUnknown) {
		return fmt.Errorf("%s %.12s: %w", what, digest, ErrUnknown)
	}
	return err
}

// Passed implements Source.
func (s *logSource) Passed() Passed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passed
}

func (s *logSource) count(add func(*Passed)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(&s.passed)
}

// chunk is requests that are put in order.
type chunk struct {
	s       *logSource
	records []Record
	order   []numbered
	arena   []byte // of the decisions

	snapshot policy.Snapshot    // of the generation that was reached last
	lists    *record.Shortlists // of its catalog, nil before they are needed
}

// numbered is a request of a chunk.
type numbered struct {
	record.Head
	index int
}

func (c *chunk) walk(f Filter) error {
	taken := 0
	damaged, err := c.s.log.WalkRecords(f.Since, f.Until, func(r *storage.LogRecord) error {
		if !f.wants(&r.Usage) {
			return nil
		}
		if len(r.Decision) == 0 {
			c.s.count(func(p *Passed) { p.NoDecision++ })
			return nil
		}
		head, err := record.HeadOf(r.Decision)
		if err != nil {
			c.s.count(func(p *Passed) { p.Damaged++ })
			return nil
		}
		c.order = append(c.order, numbered{head, len(c.records)})
		from := len(c.arena)
		c.arena = append(c.arena, r.Decision...)
		c.records = append(c.records, Record{r.Usage, c.arena[from:len(c.arena):len(c.arena)]})
		if taken++; taken == f.Limit {
			return io.EOF
		}
		if len(c.records) < chunkSize {
			return nil
		}
		return c.give()
	})
	c.s.count(func(p *Passed) { p.DamagedPage += damaged })
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return c.give()
}

// give hands the chunk out, in order, and begins the next.
func (c *chunk) give() error {
	if len(c.order) == 0 {
		return nil
	}
	slices.SortFunc(c.order, func(a, b numbered) int {
		if a.Generation != b.Generation {
			return int(min(max(int64(a.Generation-b.Generation), -1), 1))
		}
		return a.index - b.index
	})
	first, last := c.order[0].Generation, c.order[len(c.order)-1].Generation
	from, known := c.snapshot.Generation+1, c.snapshot.Generation > 0
	if !known || first < c.snapshot.Generation || first-c.snapshot.Generation > 2*record.KeyFrameEvery {
		from, known = first-min(first, record.KeyFrameEvery), false
	}
	next := 0 // of order
	if known && first == c.snapshot.Generation {
		var err error
		if next, err = c.hand(next); err != nil {
			return err
		}
	}
	err := c.s.log.WalkGenerations(from, last, func(generation uint64, data []byte) error {
		if !known && !record.IsKeyFrame(data) {
			return nil // what it builds on is gone
		}
		if record.IsKeyFrame(data) {
			c.lists = nil
		}
		if record.ApplyGeneration(&c.snapshot, generation, data) != nil {
			known, c.snapshot.Generation = false, 0 // up to the next key frame
			return nil
		}
		known = true
		next = c.pass(next, generation)
		var err error
		if next < len(c.order) && c.order[next].Generation == generation {
			next, err = c.hand(next)
		}
		return err
	})
	if err != nil {
		return err
	}
	c.pass(next, last+1)
	c.records, c.order, c.arena = nil, nil, nil // who was given them may still read
	return nil
}

// pass counts the requests from next on whose generation is before one that was reached: it is not there.
func (c *chunk) pass(next int, reached uint64) int {
	from := next
	for next < len(c.order) && c.order[next].Generation < reached {
		next++
	}
	if next > from {
		c.s.count(func(p *Passed) { p.NoSnapshot += next - from })
	}
	return next
}

// hand hands out the requests from next on that are about the current snapshot, those about the same part of it together.
func (c *chunk) hand(next int) (int, error) {
	whole := policy.Publish(record.CloneSnapshot(&c.snapshot))
	if c.lists == nil {
		c.lists = record.NewShortlists(whole.Candidates)
	}
	var batches []*Batch
	parts := map[*uint16]*Batch{} // by the first number of the list
	for ; next < len(c.order) && c.order[next].Generation == c.snapshot.Generation; next++ {
		var list *uint16
		about, head := whole, &c.order[next]
		numbers := c.lists.Numbers(head.Level, head.Model, head.Options)
		if numbers != nil {
			list = &numbers[0]
		}
		b := parts[list]
		if b == nil {
			if numbers != nil {
				about = record.Select(whole, numbers)
			}
			b = &Batch{Snapshot: about}
			parts[list] = b
			batches = append(batches, b)
		}
		b.Records = append(b.Records, c.records[head.index])
	}
	for _, b := range batches {
		select {
		case c.s.batches <- b:
		case <-c.s.stop:
			return next, errStopped
		}
	}
	return next, nil
}
