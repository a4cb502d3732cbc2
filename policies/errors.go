package policies

import (
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/sdk/policy"
)

// Errors of [Host.Load].
var (
	// ErrRefused: the module breaks a limit or the contract; the text says where and how.
	ErrRefused = errors.New("policy refused")
	// ErrGrant: the module needs what the operator did not grant; the text names the grants.
	ErrGrant = errors.New("policy needs grants it does not have")
	// ErrConfigure: the module did not accept its parameters.
	ErrConfigure = errors.New("policy did not accept its parameters")
)

// Errors of [Host.Route]. In each case but ErrUnknown and ErrRequest the caller goes on with an order of its own.
var (
	// ErrUnknown: there is no policy of that name.
	ErrUnknown = errors.New("no such policy")
	// ErrRequest: the request is not about the snapshot; the policy was not asked.
	ErrRequest = errors.New("request does not fit the snapshot")
	// ErrOpen: the policy failed several times in a row and is left alone for a while.
	ErrOpen = policy.ErrSuspended
	// ErrFuel: the policy used up its fuel.
	ErrFuel = errors.New("policy ran out of fuel")
	// ErrDepth: the policy's calls went too deep.
	ErrDepth = errors.New("policy exceeded its stack")
	// ErrTrap: the policy trapped: unreachable, out of bounds, a panic, or an exit.
	ErrTrap = errors.New("policy trapped")
	// ErrBadPlan: the policy returned something that is no valid plan for the snapshot.
	ErrBadPlan = errors.New("policy returned a bad plan")
	// ErrState: the policy did not accept its state, or gave one that is too large.
	ErrState = policy.ErrState
	// ErrStatus: the policy did not accept a snapshot, or gave no buffer for the input.
	ErrStatus = errors.New("policy reported a failure")
	// ErrClosed: the host is closed.
	ErrClosed = errors.New("policy host is closed")
)

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
