// Package provider is what a vendor implements to add a provider to the gateway. It imports the standard library only;
// sdk/provider/rpc carries it over go-plugin.
//
// An adapter is a provider's control plane: it says how to reach the provider, how to authenticate and what its errors
// mean. In the direct mode the gateway then speaks HTTP to the provider itself, and the adapter is not on the path of
// the bytes. In the proxied mode the adapter makes the call and streams the answer back ([Caller]).
//
// Methods are called concurrently. An adapter gets a credential only in the call that needs it and must not keep it.
package provider

import (
	"context"
	"time"
)

// Adapter is what every provider plugin implements.
type Adapter interface {
	// Describe says what the adapter is. It is called once after the start.
	Describe(ctx context.Context) (*Description, error)
	// Prepare turns the operator's settings for one provider into an endpoint the gateway can use until it expires.
	// It does no I/O towards the provider. A settings error should name the setting.
	Prepare(ctx context.Context, req *PrepareRequest) (*Endpoint, error)
}

// Caller is implemented by adapters whose endpoints are proxied.
type Caller interface {
	// Call performs one request. It sends the head first, then body parts in order; for a streamed answer each part is
	// the payload of one event in the endpoint's dialect (the end marker "[DONE]" is not one), otherwise, and for every
	// status but 200, the parts concatenate to the body. It returns when the answer is complete; cancelling ctx must end
	// it promptly. An error of the provider is an answer with its status, not a Go error; a Go error means that no
	// answer could be had.
	Call(ctx context.Context, req *CallRequest, answer AnswerWriter) error
}

// AnswerWriter receives the answer of a proxied call. It is not safe for concurrent use. An error of its methods means
// that nobody reads the answer any more: the call should end.
type AnswerWriter interface {
	// Head sends the status, 200 to 599, and the header. It is called once.
	Head(status int, header map[string]string) error
	// Part sends data, which may be used again afterwards. It blocks while the reader is slow.
	Part(data []byte) error
}

// Lister is implemented by adapters that can ask the provider what it offers.
type Lister interface {
	// Models lists the provider's models, in any order. It makes free calls only. An error of the provider is an *[Error]
	// with its class; any other error means that the provider could not be asked.
	Models(ctx context.Context, req *ModelsRequest) ([]Model, error)
}

// Prober is implemented by adapters whose endpoints are proxied, for what [Probe] says of direct ones.
type Prober interface {
	// Probe asks, at no cost, whether the provider and the credential work; nil means that they do. An error of the
	// provider is an *[Error] with its class; any other error means that the provider could not be asked.
	Probe(ctx context.Context, req *ProbeRequest) error
}

// Dialect is the wire format of an endpoint.
type Dialect string

// The dialects the gateway can translate.
const (
	DialectOpenAI    Dialect = "openai"    // Chat Completions
	DialectAnthropic Dialect = "anthropic" // Messages
	DialectResponses Dialect = "responses" // OpenAI Responses
)

// Mode says who performs the calls.
type Mode string

// The modes.
const (
	ModeDirect  Mode = "direct"
	ModeProxied Mode = "proxied"
)

// Description identifies an adapter.
type Description struct {
	Name    string // as in `adapter = "…"` of the configuration: [a-z0-9-]{1,32}
	Version string // semantic version
	Summary string // one line
}

// PrepareRequest carries the operator's settings of one provider. It holds no credential.
type PrepareRequest struct {
	Provider string            // name in the configuration
	BaseURL  string            // "" for the adapter's default
	Settings map[string]string // further keys of the provider's table
}

// Endpoint is an endpoint descriptor: everything the gateway needs to call a provider.
type Endpoint struct {
	Mode    Mode
	Dialect Dialect
	BaseURL string // scheme, host, optional path prefix, no trailing slash; empty when proxied
	// Paths are appended to BaseURL, one an operation ("chat", "embeddings", "models", "images", "speech", "transcriptions",
	// "translations", "moderations", "rerank"). {model} in one stands for the model's id at the provider, and a query may
	// follow "?". An operation without a path is one that the provider does not have; when proxied only the names count.
	Paths   map[string]string
	Headers map[string]string // sent with every request; never a credential
	Auth    Auth
	Body    BodyRules
	Errors  []ErrorRule
	Expires time.Time // zero: valid until the settings change
	// Probe is how to ask, for free, whether the provider and a key work.
	Probe Probe
	// RateLimits are the headers of every answer that tell what is left.
	RateLimits []RateLimit
}

// Probe is a GET request that costs nothing. It is sent with the endpoint's headers and the credential: 200 means that
// both work, and every other status is classified by the endpoint's rules. The body is not read for meaning.
type Probe struct {
	Path string // below BaseURL, "" if there is none
}

// RateLimit names the headers of one limit; "" for those that a provider does not send.
type RateLimit struct {
	Unit      string // "requests" or "tokens"
	Limit     string // what is allowed, a number
	Remaining string // what is left, a number
	Reset     string // when it is whole again: seconds, an RFC 3339 time, or text like Go's durations ("1m30s", "120ms")
}

// Auth says where the credential goes. The gateway puts it there; the adapter never sees it.
type Auth struct {
	Header string // "Authorization", "x-api-key"; empty: no credential is sent
	Prefix string // "Bearer "
}

// BodyRules are the request fields the provider treats in its own way.
type BodyRules struct {
	// StreamUsage: the provider sends token usage in a stream when asked by stream_options.include_usage.
	StreamUsage bool
	// MaxTokensField is the name of the output limit if it is not the dialect's own, e.g. "max_completion_tokens".
	MaxTokensField string
	// DefaultMaxTokens is sent when the dialect demands a limit and the caller gave none (Anthropic), in tokens.
	DefaultMaxTokens int
	// Drop lists top-level request fields the provider refuses; they are removed and named to the caller.
	Drop []string
	// Refuse lists top-level request fields that cannot be served, where leaving one out would change what the caller
	// asked for: instead of removing it, this provider is passed over, and if none serves the field the caller gets 400
	// with its name. A field that is null counts as absent.
	Refuse []string
	// KeepInMessages are those of the members that messages of chat completions may have beyond OpenAI's own, cache_control,
	// reasoning_content and thinking_blocks, that the provider takes. The others are removed, and named to the caller, for
	// many providers refuse what they do not know.
	KeepInMessages []string
	// Set are top-level request fields with the JSON texts that are sent in them. A caller's own value is replaced, and the
	// field named to the caller.
	Set map[string]string
}

// ErrorClass says what an error means for routing.
type ErrorClass string

// The classes. Only Auth, RateLimited, Quota, Overloaded, Server and NotFound let the gateway try the next candidate;
// ContextLength lets it try one with a larger window; the others are the caller's to mend.
const (
	ClassAuth          ErrorClass = "auth"
	ClassRateLimited   ErrorClass = "rate_limited"
	ClassQuota         ErrorClass = "quota"
	ClassOverloaded    ErrorClass = "overloaded"
	ClassServer        ErrorClass = "server"
	ClassNotFound      ErrorClass = "not_found" // the provider does not know the model
	ClassContextLength ErrorClass = "context_length"
	ClassContentFilter ErrorClass = "content_filter"
	ClassBadRequest    ErrorClass = "bad_request"
)

// ErrorRule maps an error answer to its class. Rules are tried in order; the first whose every given part matches wins.
// Without a match the status decides: 401 and 403 auth, 402 quota, 404 not_found, 408 and 5xx server, 429 rate_limited,
// 503 and 529 overloaded, other 4xx bad_request.
type ErrorRule struct {
	Status   int    // 0 matches any
	Contains string // bytes that occur in the body, "" matches any
	Class    ErrorClass
}

// CallRequest is one proxied call.
type CallRequest struct {
	Provider   string
	Operation  string // "chat", or another of those in [Endpoint] that take and give JSON
	Model      string // upstream model id; Body carries it too
	Stream     bool
	Body       []byte // in the endpoint's dialect
	Credential Secret // for this call only
	BaseURL    string
	Settings   map[string]string
	RequestID  string
	// AllowPrivate: the operator lets the provider be at a private or loopback address. Otherwise the adapter must
	// connect to none, whatever BaseURL or a name in it says.
	AllowPrivate bool
}

// ModelsRequest asks for a provider's models.
type ModelsRequest struct {
	Provider     string
	BaseURL      string
	Credential   Secret // for this call only, not set if there is none
	Settings     map[string]string
	AllowPrivate bool // as in [CallRequest]
}

// Model is one model of a provider, as far as the provider tells.
type Model struct {
	ID            string   // as requests name it
	ContextWindow uint32   // tokens, 0: unknown
	MaxOutput     uint32   // tokens, 0: unknown
	Capabilities  []string // "tools", "vision", "reasoning", "json_schema"; empty: none, or unknown
}

// ProbeRequest asks whether a provider and a credential work.
type ProbeRequest struct {
	Provider     string
	BaseURL      string
	Credential   Secret // for this call only, not set if there is none
	Settings     map[string]string
	AllowPrivate bool // as in [CallRequest]
}
