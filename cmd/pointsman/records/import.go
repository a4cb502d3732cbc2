package records

import (
	"errors"
	"fmt"
	"io"

	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// filtered is a source less what a filter does not want.
type filtered struct {
	Source
	filter Filter
	given  int
}

// Filtered gives what a filter wants of a source.
func Filtered(src Source, f Filter) Source { return &filtered{Source: src, filter: f} }

// Next implements Source.
func (f *filtered) Next() (*Batch, error) {
	for {
		if f.filter.Limit > 0 && f.given >= f.filter.Limit {
			return nil, io.EOF
		}
		b, err := f.Source.Next()
		if err != nil {
			return nil, err
		}
		kept := b.Records[:0]
		for _, r := range b.Records {
			at := r.Usage.Request.Time()
			if f.filter.wants(&r.Usage) && !at.Before(f.filter.Since) && (f.filter.Until.IsZero() || at.Before(f.filter.Until)) {
				kept = append(kept, r)
			}
		}
		if b.Records = kept; len(kept) > 0 {
			f.given += len(kept)
			return b, nil
		}
	}
}

// Store is a log that records are put into.
type Store interface {
	Find(account, requestID string) (found storage.Usage, decision []byte, err error)
	LastGeneration() (uint64, error)
	State(policy string, number uint64) (found uint64, data []byte, err error)
	StoreWriter
}

// StoreWriter takes what is appended to a log.
type StoreWriter interface {
	Append(r storage.LogRecord)
	AppendGeneration(generation uint64, data []byte)
	AppendState(policy string, number uint64, data []byte)
	Flush()
}

// Imported is what an import did.
type Imported struct {
	Tail
	Known int // requests that were there already
}

// Import puts the records of a source into a log, and the modules they refer to into the depot in the directory policies. Snapshots get
// generations after the log's last one, states numbers after its last ones; the records refer to those then.
func Import(log Store, policies string, src Source) (done Imported, err error) {
	in := importer{log: log, policies: policies, src: src, states: map[string]uint64{}, kept: map[string]bool{}}
	if in.generation, err = log.LastGeneration(); err != nil {
		return done, err
	}
	for {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			log.Flush()
			return in.done, nil
		}
		if err == nil {
			err = in.add(b)
		}
		if err != nil {
			return in.done, err
		}
	}
}

type importer struct {
	log        Store
	policies   string
	src        Source
	generation uint64           // given last
	before     *policy.Snapshot // with that number
	shown      *policy.Published
	states     map[string]uint64 // their numbers here, by name and number there
	kept       map[string]bool   // modules and configurations
	pending    int
	done       Imported
}

// flushEvery is how many records are appended before those are waited for: a log drops what it cannot write in time.
const flushEvery = 2048

func (in *importer) add(b *Batch) error {
	for i := range b.Records {
		r := &b.Records[i]
		d, err := record.DecodeDecision(r.Decision)
		if err != nil {
			continue // counted by who reads the file
		}
		if _, _, err := in.log.Find("", r.Usage.Request.String()); err == nil {
			in.done.Known++
			continue
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if in.shown != b.Snapshot {
			in.show(b.Snapshot)
		}
		if err := in.keep(d); err != nil {
			return err
		}
		d.Request.Generation = in.generation
		if err := in.state(d); err != nil {
			return err
		}
		in.log.Append(storage.LogRecord{Usage: r.Usage, Decision: record.AppendDecision(nil, d)})
		in.done.Requests++
		if in.pending++; in.pending >= flushEvery {
			in.log.Flush()
			in.pending = 0
		}
	}
	return nil
}

// show appends a snapshot under a number of the log.
func (in *importer) show(s *policy.Published) {
	in.shown = s
	next := s.Snapshot
	in.generation++
	next.Generation = in.generation
	in.log.AppendGeneration(next.Generation, record.AppendGeneration(nil, in.before, &next, policy.AppendSnapshot(nil, &next)))
	in.before = &next
	in.done.Generations++
	in.pending++
}

// keep keeps what decided, once.
func (in *importer) keep(d *record.Decision) error {
	name := d.Ran.Digest + d.Ran.Config
	if in.kept[name] {
		return nil
	}
	in.kept[name] = true
	wasm, err := in.src.Module(d.Ran.Digest)
	if err == nil {
		var text string
		if text, err = in.src.Config(d.Ran.Config); err == nil {
			err = depot.KeepServed(in.policies, wasm, text)
		}
	}
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}

// state appends the state a decision rests on, once, and has the decision refer to its number here.
func (in *importer) state(d *record.Decision) error {
	if d.Request.State == 0 {
		return nil
	}
	name := fmt.Sprintf("%d %s", d.Request.State, d.Policy)
	number, ok := in.states[name]
	if !ok {
		data, err := in.src.State(d.Policy, d.Request.State)
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		if err != nil {
			return err
		}
		in.log.Flush()
		last, _, err := in.log.State(d.Policy, 0)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		number = last + 1
		in.log.AppendState(d.Policy, number, data)
		in.states[name] = number
	}
	d.Request.State = number
	return nil
}
