//go:build !linux

package bench

import (
	"errors"
	"time"
)

// alarm wakes one goroutine at a time that is kept.
type alarm struct{}

func newAlarm() (*alarm, error) { return &alarm{}, nil }

// wait returns after d.
func (*alarm) wait(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func (*alarm) close() {}

// cpuTimeOf is for Linux; the benchmark does not run elsewhere.
func cpuTimeOf(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
