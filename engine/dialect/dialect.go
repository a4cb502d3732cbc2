package dialect

import (
	"errors"
	"fmt"
	"io"
)

// Dialect is a wire format of conversations.
type Dialect uint8

// The dialects. Chat is the middle: between two others the way leads through it.
const (
	Chat        Dialect = iota // OpenAI's chat completions
	Messages                   // Anthropic's Messages
	Responses                  // OpenAI's Responses
	Completions                // OpenAI's legacy completions; of callers only, no provider is asked in it
)

// String is the dialect's name in records, metrics and tables.
func (d Dialect) String() string {
	switch d {
	case Chat:
		return "chat"
	case Messages:
		return "messages"
	case Responses:
		return "responses"
	case Completions:
		return "completions"
	}
	return "unknown"
}

// ErrMalformed means that an answer, or an event of one, is not of its dialect.
var ErrMalformed = errors.New("not an answer of the provider's dialect")

// AnswerOptions are what the gateway decides about a translated answer.
type AnswerOptions struct {
	Model   string // the name that the caller is told
	ID      string // of the answer, in the form of the caller's dialect
	Created int64  // seconds since 1970
	// Request is the caller's body, for answers that repeat parts of it. It is not kept.
	Request []byte
	// InputTokens is an estimate, for streams that tell the input before the provider has counted it.
	InputTokens int64
}

// TranslateRequest appends the request body, translated. dropped are the paths of the fields that could not be carried over,
// each once and without indexes. An error is a [*RequestError].
func TranslateRequest(from, to Dialect, dst, body []byte, opt RequestOptions) (out []byte, dropped []string, err error) {
	if from == to {
		return append(dst, body...), nil, nil
	}
	if from != Chat && to != Chat {
		middle, first, err := TranslateRequest(from, Chat, nil, body, opt)
		if err != nil {
			return dst, nil, err
		}
		opt.Consumed = nil
		out, dropped, err = TranslateRequest(Chat, to, dst, middle, opt)
		return out, append(first, dropped...), err
	}
	switch {
	case to == Messages:
		return RequestChatToMessages(dst, body, opt)
	case from == Chat && to == Responses:
		return RequestChatToResponses(dst, body, opt)
	case from == Messages:
		return RequestMessagesToChat(dst, body, opt)
	case from == Completions:
		return RequestCompletionsToChat(dst, body, opt)
	case from == Responses && to == Chat:
		return RequestResponsesToChat(dst, body, opt)
	default:
		return dst, nil, fmt.Errorf("no translation of requests from %v to %v", from, to)
	}
}

// TranslateAnswer appends a buffered answer, translated, and returns the usage that it reports. An error matches
// [ErrMalformed].
func TranslateAnswer(from, to Dialect, dst, body []byte, opt AnswerOptions) ([]byte, Usage, error) {
	if from != Chat && to != Chat && from != to {
		middle, usage, err := TranslateAnswer(from, Chat, nil, body, opt)
		if err != nil {
			return dst, usage, err
		}
		out, _, err := TranslateAnswer(Chat, to, dst, middle, opt)
		return out, usage, err
	}
	switch {
	case from == Messages:
		return AnswerMessagesToChat(dst, body, opt)
	case from == Responses && to == Chat:
		return AnswerResponsesToChat(dst, body, opt)
	case from == Chat && to == Messages:
		return AnswerChatToMessages(dst, body, opt)
	case from == Chat && to == Completions:
		return AnswerChatToCompletions(dst, body, opt)
	case from == Chat && to == Responses:
		return AnswerChatToResponses(dst, body, opt)
	default:
		return dst, Usage{}, fmt.Errorf("%w: no translation from %v to %v", ErrMalformed, from, to)
	}
}

// TranslateStream returns src, a stream of one dialect, as one of the other. Usage of the result is what src reports.
func TranslateStream(from, to Dialect, src io.Reader, opt AnswerOptions) *Stream {
	if from != Chat && to != Chat && from != to {
		first := TranslateStream(from, Chat, src, opt)
		second := TranslateStream(Chat, to, first, opt)
		second.source = first
		return second
	}
	switch {
	case from == Messages:
		return newStream(src, newMessagesToChat(opt))
	case from == Responses && to == Chat:
		return newStream(src, newResponsesToChat(opt))
	case from == Chat && to == Messages:
		return newStream(src, newChatToMessages(opt))
	case from == Chat && to == Completions:
		return newStream(src, newChatToCompletions(opt))
	case from == Chat && to == Responses:
		return newStream(src, newChatToResponses(opt))
	}
	panic(fmt.Sprintf("dialect: no translation of streams from %v to %v", from, to))
}
