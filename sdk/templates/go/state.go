package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const (
	maxTallies = 256
	tallySize  = 16
	halveAt    = 256
)

// tally is what became of a candidate's attempts.
type tally struct {
	key                 uint64
	successes, failures uint32
}

func byKey(t tally, key uint64) int { return cmp.Compare(t.key, key) }

func (r *reference) remember(state []byte) (err error) {
	r.history, err = decode(r.history[:0], state)
	if err == nil && r.snapshot != nil {
		r.rate()
	}
	return err
}

// decode appends the entries of a state.
func decode(dst []tally, state []byte) ([]tally, error) {
	if len(state)%tallySize != 0 || len(state) > maxTallies*tallySize {
		return dst, errors.New("the state has a wrong length")
	}
	for ; len(state) > 0; state = state[tallySize:] {
		t := tally{
			key:       binary.LittleEndian.Uint64(state),
			successes: binary.LittleEndian.Uint32(state[8:]),
			failures:  binary.LittleEndian.Uint32(state[12:]),
		}
		if n := len(dst); t.successes >= halveAt || t.failures >= halveAt || t.successes+t.failures == 0 || n > 0 && dst[n-1].key >= t.key {
			return dst, errors.New("the state is not one of this policy")
		}
		dst = append(dst, t)
	}
	return dst, nil
}

func (r *reference) observe(_ policy.Config, dst, state []byte, outcomes []policy.Outcome) []byte {
	tallies, err := decode(nil, state)
	if err != nil {
		tallies = nil
	}
	for i := range outcomes {
		tallies = count(tallies, &outcomes[i])
	}
	for _, t := range tallies {
		dst = binary.LittleEndian.AppendUint64(dst, t.key)
		dst = binary.LittleEndian.AppendUint32(dst, t.successes)
		dst = binary.LittleEndian.AppendUint32(dst, t.failures)
	}
	return dst
}

func count(tallies []tally, o *policy.Outcome) []tally {
	succeeded := o.Flags&abi.OutcomeOK != 0
	if !succeeded && (o.Failure == abi.FailureNone || o.Failure > abi.FailureNotFound) {
		return tallies
	}
	at, found := slices.BinarySearchFunc(tallies, o.Key, byKey)
	if !found {
		if len(tallies) == maxTallies {
			return tallies
		}
		tallies = slices.Insert(tallies, at, tally{key: o.Key})
	}
	t := &tallies[at]
	if succeeded {
		t.successes++
	} else {
		t.failures++
	}
	if t.successes+t.failures == halveAt {
		t.successes /= 2
		t.failures /= 2
	}
	return tallies
}
