// Package outbox tells usage and alerts to a receiver outside: a billing system or any webhook.
//
// Every request of the usage log is delivered at least once, in the order of the log, in batches. The place up to which everything is
// delivered is kept in the log itself, together with the size of the batch that is under way, so that a batch that is sent again, also
// after a crash, has the same content and the same id. Nothing is held in memory but one batch, and no request ever waits for it: what
// the receiver does not take stays in the log, and what retention drops before it is taken is counted and told.
package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/storage"
)

// Source is the log that is told of.
type Source interface {
	Forward(after storage.Place, until time.Time, limit int) (records []storage.Usage, next storage.Place, missed uint64, err error)
	Alerts(after storage.Place, limit int) (alerts []storage.Alert, next storage.Place, err error)
	End() storage.Place
	Mark(name string) ([]byte, error)
	SaveMark(name string, value []byte) error
}

// Config says who is told, and how.
type Config struct {
	URL          string
	Secret       string
	Kind         string // lago or webhook
	Code         string // of the billable metric, for lago
	Batch        int    // events at once
	AllowPrivate bool   // the receiver may have a private address
	Timeout      time.Duration
	// After a failure it is tried again, first after RetryFirst and then after twice as long each time up to RetryMost, give or take.
	RetryFirst, RetryMost time.Duration
	Source                Source
	Logger                *slog.Logger
}

// pollEvery is how often the log is looked at for something new.
const pollEvery = time.Second

// Sender delivers until it is closed.
type Sender struct {
	cfg     Config
	kind    kind
	post    func(p *post) (reply, error)
	streams []*stream
	stop    chan struct{}
	stopped chan struct{}

	delivered, missed, refused, failures atomic.Uint64
	oldest                               atomic.Int64 // time of the oldest event that waits, in microseconds; 0: none does
	done                                 atomic.Uint64

	mu       sync.Mutex
	exchange *upstream.Exchange // under way
}

// stream is one kind of events with the place up to which they are delivered.
type stream struct {
	name  string
	read  func(after storage.Place, limit int) (batch, error)
	mark  mark
	saved mark
	batch batch // under way

	failed int       // attempts in a row
	due    time.Time // nothing is sent before
}

// mark is what is kept of a stream.
type mark struct {
	Done  storage.Place `json:"done"`
	Under int           `json:"under,omitempty"` // events of the batch behind Done that is under way
}

// batch is what is sent at once.
type batch struct {
	records []storage.Usage
	alerts  []storage.Alert
	next    storage.Place
	missed  uint64
}

func (b *batch) size() int { return len(b.records) + len(b.alerts) }

// Start begins to deliver what the log gets from now on, or, if it did before, what has not been delivered. The errors are those of
// the configuration, and of reading the log.
func Start(cfg Config) (*Sender, error) {
	s, err := newSender(cfg)
	if err != nil {
		return nil, err
	}
	target, err := upstream.New(upstream.Config{MaxBody: 1 << 20, MaxIdle: 1}).Target(cfg.URL, upstream.TargetOptions{
		AllowPrivate: cfg.AllowPrivate, Timeouts: upstream.Timeouts{Connect: cfg.Timeout, FirstByte: cfg.Timeout, Idle: cfg.Timeout, Total: cfg.Timeout},
	})
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	s.post = func(p *post) (reply, error) { return s.send(target, p) }
	go s.run()
	return s, nil
}

func newSender(cfg Config) (s *Sender, err error) {
	s = &Sender{cfg: cfg, stop: make(chan struct{}), stopped: make(chan struct{})}
	if s.kind, err = newKind(cfg); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	s.streams = []*stream{{name: "events.usage", read: s.readUsage}}
	if s.kind.alerts() {
		s.streams = append(s.streams, &stream{name: "events.alerts", read: s.readAlerts})
	}
	for _, st := range s.streams {
		if err := st.load(cfg.Source); err != nil {
			return nil, fmt.Errorf("events: reading how far they are: %w", err)
		}
	}
	s.done.Store(s.streams[0].mark.Done.Count)
	return s, nil
}

// load reads a stream's mark. A stream without one begins at the end of the log.
func (st *stream) load(source Source) error {
	value, err := source.Mark(st.name)
	if errors.Is(err, storage.ErrNotFound) {
		st.mark.Done, st.saved.Under = source.End(), -1 // kept even if that is the beginning
		return st.save(source)
	}
	if err == nil {
		err = json.Unmarshal(value, &st.mark)
	}
	st.saved = st.mark
	return err
}

// save keeps a stream's mark.
func (st *stream) save(source Source) error {
	if st.mark == st.saved {
		return nil
	}
	value, err := json.Marshal(st.mark)
	if err == nil {
		err = source.SaveMark(st.name, value)
	}
	if err == nil {
		st.saved = st.mark
	}
	return err
}

func (s *Sender) readUsage(after storage.Place, limit int) (b batch, err error) {
	b.records, b.next, b.missed, err = s.cfg.Source.Forward(after, time.Time{}, limit)
	return b, err
}

func (s *Sender) readAlerts(after storage.Place, limit int) (b batch, err error) {
	b.alerts, b.next, err = s.cfg.Source.Alerts(after, limit)
	return b, err
}

// Close ends the delivery, also one that is under way: it is made again at the next start.
func (s *Sender) Close() {
	close(s.stop)
	s.mu.Lock()
	if s.exchange != nil {
		s.exchange.Cancel()
	}
	s.mu.Unlock()
	<-s.stopped
}

// run delivers until it is told to stop.
func (s *Sender) run() {
	defer close(s.stopped)
	for {
		wait := pollEvery
		for _, st := range s.streams { // each on its own: what is refused of one is no reason to hold up the others
			if left := time.Until(st.due); left > 0 {
				wait = min(wait, left)
				continue
			}
			sent, err := s.step(st)
			switch {
			case err != nil:
				wait = min(wait, s.failure(st, err))
			case sent:
				st.failed, wait = 0, 0
			}
		}
		if !s.pause(wait) {
			return
		}
	}
}

// failure notes that a stream's batch was not taken, and returns when it is due again. A receiver that says when to come again is left alone until then.
func (s *Sender) failure(st *stream, err error) time.Duration {
	again := s.backoff(st.failed, err)
	st.failed++
	s.failures.Add(1)
	s.cfg.Logger.Warn("events could not be delivered, trying again", "events", st.name, "failures", st.failed, "again_in", again.String(), "cause", err)
	due := time.Now().Add(again)
	var asked *retryError
	for _, other := range s.streams {
		if other == st || errors.As(err, &asked) && asked.after > 0 && due.After(other.due) {
			other.due = due
		}
	}
	return again
}

func (s *Sender) pause(d time.Duration) bool {
	select {
	case <-s.stop:
		return false
	default:
	}
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// backoff is how long to wait after so many failures in a row before this one: twice as long each time, somewhere in the upper half of
// it, so that many senders do not come at once; longer if the receiver asks for it.
func (s *Sender) backoff(failed int, err error) time.Duration {
	wait := s.cfg.RetryMost
	if failed < 32 && s.cfg.RetryFirst <= wait>>failed {
		wait = s.cfg.RetryFirst << failed
	}
	wait = wait/2 + rand.N(wait/2+1)
	var asked *retryError
	if errors.As(err, &asked) {
		wait = max(wait, asked.after)
	}
	return wait
}

// step delivers the next batch of a stream, if there is one. The size of a batch is kept before it is sent, and the mark that says so
// also says that the batch before it was delivered.
func (s *Sender) step(st *stream) (sent bool, err error) {
	if st.batch.size() == 0 {
		limit := s.cfg.Batch
		if st.mark.Under > 0 {
			limit = st.mark.Under
		}
		if st.batch, err = st.read(st.mark.Done, limit); err != nil {
			return false, err
		}
		if n := st.batch.missed; n > 0 {
			s.missed.Add(n)
			s.cfg.Logger.Error("requests left the log before they were delivered as events", "requests", n)
		}
		if st.mark.Under = st.batch.size(); st.mark.Under == 0 {
			s.waiting(st, 0)
			return false, st.save(s.cfg.Source)
		}
	}
	s.waiting(st, int64(st.batch.next.Page))
	if err := st.save(s.cfg.Source); err != nil {
		return false, err
	}
	if err := s.deliver(&st.batch); err != nil {
		return false, err
	}
	s.delivered.Add(uint64(st.batch.size()))
	st.mark = mark{Done: st.batch.next}
	st.batch = batch{}
	if st == s.streams[0] {
		s.done.Store(st.mark.Done.Count)
	}
	return true, nil
}

// waiting notes since when the oldest request waits.
func (s *Sender) waiting(st *stream, since int64) {
	if st == s.streams[0] {
		s.oldest.Store(since)
	}
}

// WriteMetrics writes how far the delivery is, in the Prometheus text format.
func (s *Sender) WriteMetrics(w io.Writer) {
	lag, pending := 0.0, uint64(0)
	if oldest := s.oldest.Load(); oldest > 0 {
		lag = max(0, time.Since(time.UnixMicro(oldest)).Seconds())
	}
	if end, done := s.cfg.Source.End().Count, s.done.Load(); end > done {
		pending = end - done
	}
	fmt.Fprintf(w, "pointsman_events_lag_seconds %g\npointsman_events_pending %d\n", lag, pending)
	fmt.Fprintf(w, "pointsman_events_delivered_total %d\npointsman_events_missed_total %d\n", s.delivered.Load(), s.missed.Load())
	fmt.Fprintf(w, "pointsman_events_refused_total %d\npointsman_events_failures_total %d\n", s.refused.Load(), s.failures.Load())
}
