package policy

import (
	"errors"
	"strconv"
	"strings"
)

// ErrMalformed: bytes that are not an encoding of what they should be. Every decoding error wraps it and says what is wrong.
var ErrMalformed = errors.New("malformed policy record")

// ErrConfig: configuration text that does not follow the contract of sdk/abi.
var ErrConfig = errors.New("bad policy configuration")

// ErrState: the policy does not accept its state, or gave one that is too large.
var ErrState = errors.New("policy does not accept its state")

// ErrSuspended: the policy failed several times in a row and is left alone for a while.
var ErrSuspended = errors.New("policy is suspended after repeated failures")

// detailed says more about one of the errors above. The package does without fmt, which would add a third to the size of
// every Go guest and to the time its compilation takes.
type detailed struct {
	kind error
	text string
}

func (e *detailed) Error() string { return e.kind.Error() + ": " + e.text }
func (e *detailed) Unwrap() error { return e.kind }

func badConfig(text string) error { return &detailed{ErrConfig, text} }

// malformed replaces each # of the text by the next number.
func malformed(text string, numbers ...int) error {
	for _, n := range numbers {
		text = strings.Replace(text, "#", strconv.Itoa(n), 1)
	}
	return &detailed{ErrMalformed, text}
}
