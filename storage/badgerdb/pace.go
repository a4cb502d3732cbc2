package badgerdb

import (
	"time"

	"github.com/pointsman/pointsman/storage"
)

// pace keeps work that nobody waits for from taking more than its share of a processor: after every few milliseconds of it, it
// rests as long as the share asks for. It belongs to one goroutine.
type pace struct {
	percent int // of one processor; 100 never rests
	stop    <-chan struct{}
	began   time.Time
	steps   int
}

const (
	paceEvery = 64                   // steps between looks at the clock
	paceWork  = 2 * time.Millisecond // at least, before a rest: shorter ones would cost more than they spare
)

// step is called for every small piece of the work. It returns ErrClosed when the work must end.
func (p *pace) step() error {
	if p.steps++; p.steps%paceEvery != 0 {
		return nil
	}
	select {
	case <-p.stop:
		return storage.ErrClosed
	default:
	}
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	worked := now.Sub(p.began)
	if worked < paceWork {
		return nil
	}
	if pause := rest(worked, p.percent); pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.stop:
			return storage.ErrClosed
		}
	}
	p.began = time.Now()
	return nil
}

// rest is how long work must pause so that it takes a percentage of the time.
func rest(worked time.Duration, percent int) time.Duration {
	return worked * time.Duration(100-percent) / time.Duration(percent)
}
