package provider

import "errors"

// Errors that cross the process boundary: an adapter may return them (wrapped), and the gateway recognises them with
// errors.Is whatever language the plugin is written in.
var (
	// ErrUnavailable means that the adapter cannot answer now (its process is gone or restarting): try another one.
	ErrUnavailable = errors.New("provider adapter unavailable")
	// ErrTooLarge means that a message exceeds the limit between the gateway and a plugin (32 MiB).
	ErrTooLarge = errors.New("message too large for a provider plugin")
	// ErrUnknownAdapter means that no plugin holds an adapter of that name.
	ErrUnknownAdapter = errors.New("unknown provider adapter")
	// ErrNotProxied means that the adapter makes no calls itself: its endpoints are direct.
	ErrNotProxied = errors.New("provider adapter does not make calls")
	// ErrSetting means that a setting of the provider is wrong; the message names it.
	ErrSetting = errors.New("wrong provider setting")
)

// CodeInexpressible is the code in the error object of an answer of status 400 that an adapter gives itself, for it cannot put the request into the words of its
// provider: another candidate may serve it.
const CodeInexpressible = "inexpressible_request"

// Error is a provider's answer to a call of [Lister] or [Prober] that did not work.
type Error struct {
	Class   ErrorClass
	Message string // without the credential
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }
