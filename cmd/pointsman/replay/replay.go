// Package replay decides recorded requests again: by the policy that decided them, which proves that the records are all that a
// decision rests on, and by another one, or on a changed catalog, which tells what would have become of them.
//
// What is exact and what is not: a decision is exact, for a policy is a function of its facts and those are recorded. So are prices,
// which stand in the snapshots. What the other model would have answered is not known: how many tokens, how fast, how well. A
// figure that rests on such a thing is estimated, and [Report.Confidence] says how, and for how many requests.
//
// One goroutine reads, one a processor decides, each with a Wasm host of its own. Records are not kept: memory does not grow with
// their number.
package replay

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/policies"
)

// Candidate is the policy that is tried.
type Candidate struct {
	Name     string
	Module   []byte
	Settings policies.Settings
}

// Options are what a replay does. The zero value proves that decisions are reproduced, and no more.
type Options struct {
	Candidate *Candidate       // nil: none, unless WhatIf is given
	WhatIf    *WhatIf          // changes of the catalog; without a candidate the recorded policies decide
	Budgets   []records.Budget // that are held against what would have been spent
	Workers   int              // 0: one a processor
	CacheDir  string           // of compiled modules, "" for none
	Progress  func(done int)   // is told now and then how many requests are done; nil: nobody
	Worst     int              // of the worst cases that are listed; 0: 10
}

// Run replays all that a source gives. Errors: those of the source, and of loading the candidate.
func Run(ctx context.Context, src records.Source, o Options) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Worst == 0 {
		o.Worst = 10
	}
	names, loading := newNames(), new(sync.Mutex)
	judges := make([]*judge, o.Workers)
	for i := range judges {
		var err error
		if judges[i], err = newJudge(ctx, src, &o, names, loading); err != nil {
			return nil, err
		}
		defer judges[i].close()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan *records.Batch, 4*o.Workers)
	var deciding sync.WaitGroup
	for _, j := range judges {
		deciding.Go(func() {
			for b := range batches {
				if err := j.batch(b); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := feed(ctx, src, batches, o.Progress)
	close(batches)
	deciding.Wait()
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return nil, err
	}
	sum := judges[0].totals
	for _, j := range judges[1:] {
		sum.merge(j.totals)
	}
	return newReport(sum, src.Passed(), judges[0], &o), nil
}

// feed hands out what src gives until its end.
func feed(ctx context.Context, src records.Source, batches chan<- *records.Batch, progress func(int)) error {
	done := 0
	for {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case batches <- b:
		case <-ctx.Done():
			return nil
		}
		if done += len(b.Records); progress != nil {
			progress(done)
		}
	}
}
