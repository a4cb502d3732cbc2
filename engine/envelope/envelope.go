// Package envelope reads a request of an inference API in one strict pass and rewrites it by splicing.
//
// The gateway never builds the request as Go values. It reads the few fields that routing, limits and prices depend on,
// remembers where the top-level members lie, and forwards the client's own bytes with the members that must change
// spliced in. Everything unknown survives byte for byte.
//
// # Strictness
//
// The pass accepts exactly the JSON texts that jsontext accepts (duplicate names, invalid UTF-8, lone surrogates and
// trailing data are refused; a differential fuzz test holds the two together), and then refuses more: nesting and value
// counts above Limits, numbers no float64 holds, case variants of known fields, fields that would point the gateway at
// another host, and values outside what the API documents. A syntax fault is reported before a value fault, wherever
// the two lie; limits yield to a value fault found earlier. A null where a value is optional means absent.
//
// # Caveats
//
// An Envelope holds offsets into the body it was read from: Splice needs those same bytes. Its strings are copies and
// may outlive the body. InputTokens is an estimate, not a count.
package envelope

// Limits bounds what Parse is willing to walk through.
type Limits struct {
	MaxDepth int // nested objects and arrays
	MaxNodes int // values of any kind, keys not counted
}

// DefaultLimits returns the limits of a gateway that is not told otherwise: depth 64, 100,000 values.
func DefaultLimits() Limits { return Limits{MaxDepth: 64, MaxNodes: 100_000} }

// TokenLimits returns the limits of forms whose texts may come as tokens, a value each: depth 64, 1,000,000 values.
func TokenLimits() Limits { return Limits{MaxDepth: 64, MaxNodes: 1_000_000} }

// Envelope is what the gateway knows of a request. The zero value is ready for Parse and may be reused for request
// after request by one goroutine at a time; reuse keeps its buffers, so that a parse usually allocates nothing.
type Envelope struct {
	Model      string // the model asked for, or ""
	HasModel   bool
	PowerLevel string // the power level asked for, well formed but not looked up, or ""
	HasLevel   bool

	Stream       bool
	IncludeUsage bool   // the client itself asked for stream_options.include_usage
	MaxTokens    uint32 // max_completion_tokens, else max_tokens, else 0
	N            int    // answers asked for, 1 if absent; of an embeddings request the texts, each of which gets a vector
	Units        int    // what a request of another form asks for: images, characters of speech, searches of a reranking

	Messages    int
	TextBytes   int // bytes of prompt text: message strings unescaped, tools and response schema as JSON
	WideBytes   int // those of TextBytes that are not ASCII
	Images      int
	InputTokens uint32 // estimated, see estimate
	Needs       uint32 // abi.Cap* bits the answer needs
	Task        uint8  // abi.Task*: pointsman.task, else detected, see DetectTask

	Policy     string // pointsman.policy, well formed but not looked up, or ""
	Privacy    uint8  // abi.Privacy*
	Latency    uint8  // abi.Latency*
	Session    uint64 // FNV-1a of pointsman.session, 0 if none
	NoFallback bool   // pointsman.fallback is false
	// KeyFallback: own keys and the platform's may follow each other in one request (pointsman.key_fallback).
	KeyFallback bool
	Routing     *Routing // wishes about providers and models, nil if there are none
	// Besides is the path of the first thing that a provider would sell beside tokens at their listed prices, "" for nothing.
	Besides   string
	WantsJSON bool // response_format asks for a JSON object or follows a schema

	form     Form
	members  []member
	limit    field // which member MaxTokens came from, or fieldOther
	usage    span  // value of stream_options.include_usage
	prompt   span  // raw text of the last user message
	user     span  // raw text of user
	notes    span  // value of metadata
	thinking bool  // there are blocks of thinking, or reasoning that is encrypted
	opening  span  // the messages up to the first one of a user
	later    bool  // a message of the assistant follows it
	model    span  // value of a form's model
	widths   uint64
	file     span // value of a form's file
	names    []name
	scratch  []byte
}

// span is a range of the body.
type span struct{ off, end uint32 }

// member is one top-level member: `"key": value`, from the key's quote to the value's end.
type member struct {
	off, keyEnd, val, end uint32
	field                 field
}

// field tells the members that Splice treats specially.
type field uint8

const (
	fieldOther field = iota
	fieldModel
	fieldPowerLevel
	fieldPointsman
	fieldStreamOptions
	fieldMaxTokens
	fieldMaxCompletionTokens
	fieldRouting // provider or models
)

// Parse reads the body of a chat completion request into a new Envelope. See (*Envelope).Parse.
func Parse(body []byte, lim Limits) (*Envelope, *Error) {
	e := new(Envelope)
	if err := e.Parse(FormChat, body, lim); err != nil {
		return nil, err
	}
	return e, nil
}

// Parse reads body, a request of the given form, into e, replacing what e held. It neither changes nor keeps body. After an
// error e holds nothing to rely on, but may be used for the next Parse.
func (e *Envelope) Parse(form Form, body []byte, lim Limits) *Error {
	p := parser{scanner: scanner{b: body, lim: lim, names: e.names, scratch: e.scratch}, e: e, old: texts{e.Model, e.PowerLevel, e.Policy}}
	*e = Envelope{N: 1, form: form, members: e.members[:0]}
	p.body()
	e.names, e.scratch, e.widths = p.names[:0], p.scratch[:0], p.widths
	switch {
	case p.fault != nil && (p.refusal == nil || !p.limited):
		return p.fault
	case p.refusal != nil:
		return p.refusal
	}
	e.InputTokens = p.estimate()
	e.prompt = p.lastUser
	if e.Task == 0 && p.lastUser.end > p.lastUser.off {
		e.Task = DetectTask(body[p.lastUser.off:p.lastUser.end])
	}
	return nil
}

// What things are taken to cost in tokens, chosen to err on the high side for common tokenizers.
const (
	tokensPerMessage = 4
	tokensPriming    = 3
	tokensPerImage   = 1000
	tokensPerFile    = 1000
	bytesPerToken16  = 16  // encoded bytes of a file for each token beyond tokensPerFile
	bytesPerToken512 = 512 // encoded bytes of audio for each token: compressed speech, the dearest common kind
)

// estimate gives the input tokens: ASCII at 3.5 bytes a token, other text at 2 bytes a token (Chinese is 3 bytes and
// seldom above 1.5 tokens a character), and what is not for text.
//
// It costs nothing and errs on the high side of o200k_base: pieces of 4 KB are estimated at 1.20 times their tokens for
// Markdown and for the texts of engine/tokens' corpus, 1.21 for Python, 1.04 for Go and 1.02 for JSON. One in a hundred is
// below 0.87, 0.44, 0.63, 0.75 and 0.88 of its tokens, one above 1.3, 18, 1.6, 1.2 and 1.1 (long runs of one character).
// What is too low throughout are hashes, at 0.51, and tables of numbers, at 0.78.
func (p *parser) estimate() uint32 {
	e := p.e
	ascii := e.TextBytes - e.WideBytes
	return uint32(min((ascii*2+6)/7+(e.WideBytes+1)/2+p.besideText(), 1<<31-1))
}

// besideText gives the input tokens that are not for text: 4 a message, 1,000 an image or file, encoded media by length, and
// the prompt that came as tokens.
func (p *parser) besideText() int {
	t := p.e.Messages*tokensPerMessage + tokensPriming
	t += p.e.Images*tokensPerImage + p.files*tokensPerFile
	return t + p.fileBytes/bytesPerToken16 + p.audioBytes/bytesPerToken512 + p.tokens
}
