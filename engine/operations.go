package engine

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/sdk/abi"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// operation is what an endpoint asks of a model. All of them go the same way through chat.go; this file has what is
// different for those that are no conversation: they go to the one model that they name, in OpenAI's words, and are passed
// through but for its name. The zero value is a conversation, in any dialect.
type operation uint8

const (
	opChat operation = iota
	opEmbeddings
	opImages
	opSpeech
	opTranscriptions
	opTranslations
	opModerations
	opRerank
)

// operations are the facts of each.
var operations = [...]struct {
	name string        // in an endpoint's Paths, in calls of plugins and in records
	path string        // below /v1
	mode uint8         // abi.Mode* of the models that can do it
	form envelope.Form // of its requests
	verb string        // what its models can, for messages
}{
	opChat:           {"chat", "", abi.ModeChat, envelope.FormChat, "chat"},
	opEmbeddings:     {"embeddings", "/embeddings", abi.ModeEmbedding, envelope.FormEmbeddings, "make embeddings"},
	opImages:         {"images", "/images/generations", abi.ModeImage, envelope.FormImages, "make images"},
	opSpeech:         {"speech", "/audio/speech", abi.ModeSpeech, envelope.FormSpeech, "speak"},
	opTranscriptions: {"transcriptions", "/audio/transcriptions", abi.ModeTranscription, envelope.FormAudio, "transcribe"},
	opTranslations:   {"translations", "/audio/translations", abi.ModeTranscription, envelope.FormAudio, "transcribe"},
	opModerations:    {"moderations", "/moderations", abi.ModeModeration, envelope.FormModerations, "moderate"},
	opRerank:         {"rerank", "/rerank", abi.ModeRerank, envelope.FormRerank, "rerank"},
}

func (o operation) name() string { return operations[o].name }
func (o operation) mode() uint8  { return operations[o].mode }

// audioForm says that requests are forms with a file.
func (o operation) audioForm() bool { return o == opTranscriptions || o == opTranslations }

// noSuchModel refuses a name that is no model for the operation.
func (o operation) noSuchModel(asked string) *Fault {
	return notFound("model_not_found", "model", fmt.Sprintf("model %.64q does not exist or cannot %s; GET /v1/models lists what you may use", asked, operations[o].verb))
}

// unrouted refuses a request that leaves the choice of the model to the gateway.
func (o operation) unrouted() *Fault {
	why := "no power level chooses one for it"
	if o == opEmbeddings {
		why = "vectors of different models do not mix, so no power level chooses one"
	}
	return badRequest("model_required", "model", operations[o].path+" needs the exact name of a model: "+why)
}

// read parses the request's body in the form of its operation.
func (c *call) read(ctx *fasthttp.RequestCtx) *Fault {
	if c.op.audioForm() {
		c.contentType = string(ctx.Request.Header.ContentType())
		if !isMedia(c.contentType, "multipart/form-data") {
			return unsupportedMedia("the body must be multipart/form-data")
		}
		if encoding := ctx.Request.Header.Peek(fasthttp.HeaderContentEncoding); len(encoding) > 0 && string(encoding) != "identity" {
			return unsupportedMedia("compressed bodies are not accepted")
		}
		if err := c.env.ParseMultipart(c.contentType, c.body); err != nil {
			return fromEnvelope(err)
		}
		return nil
	}
	if fault := checkMedia(ctx); fault != nil {
		return fault
	}
	form, limits := operations[c.op].form, envelope.DefaultLimits()
	switch c.op {
	case opChat:
		form = formOf(c.dialect)
	case opEmbeddings:
		limits = envelope.TokenLimits()
	}
	if err := c.env.Parse(form, c.body, limits); err != nil {
		return fromEnvelope(err)
	}
	return nil
}

// endpointName is the name of the caller's endpoint in records.
func (c *call) endpointName() string {
	if c.op == opChat {
		return c.dialect.String()
	}
	return c.op.name()
}

// way is the dialect and the path in which a provider is asked; false if it lacks the operation.
func (c *call) way(desc *adapter.Endpoint) (d dialect.Dialect, path string, ok bool) {
	if c.op == opChat {
		return spoken(c.dialect, desc)
	}
	path, ok = desc.Paths[c.op.name()]
	if desc.Mode == adapter.ModeProxied && c.op.audioForm() { // a call of a plugin has no place for the form's boundary
		return dialect.Chat, "", false
	}
	return dialect.Chat, path, ok
}

// lacking is the failure of an attempt at a provider that does not have the operation. Nothing is wrong with it.
func (c *call) lacking() *failure {
	return &failure{class: adapter.ClassNotFound, lacks: c.op.name(), message: "the provider does not offer this operation"}
}

// isMedia tells whether a content type is of a kind, whatever its parameters.
func isMedia(contentType, kind string) bool {
	given, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(given), kind)
}

// takeResult makes a buffered answer of a provider's body. It is passed on as it is, once it has been seen to be one.
func (a *answer) takeResult(body []byte, contentType string, c *call) *failure {
	none := &failure{class: adapter.ClassServer, message: "the provider's answer holds no answer"}
	if (c.op.audioForm() || c.op == opSpeech) && !isMedia(contentType, "application/json") { // plain text, subtitles or sound
		if len(body) == 0 || isMedia(contentType, "text/html") {
			a.close(false)
			return none
		}
		a.body, a.contentType = body, contentType
		return nil
	}
	r := dialect.ReadResult(body)
	switch {
	case r.Error: // some providers find out after they have sent 200
		f := a.failure(errorStatus(body), body)
		a.close(false)
		return f
	case r.Malformed, c.op == opSpeech, c.op.audioForm() && !r.HasText, !c.op.audioForm() && !r.HasItems:
		a.close(false)
		return none
	}
	a.result, a.usage, a.body = r, r.Usage, body
	return nil
}

// worstUnits is how many units an answer may be charged at most.
func (c *call) worstUnits() catalog.Units {
	if c.op.audioForm() {
		return minutes(longestAudio(c.env.File(c.body)))
	}
	if c.op == opSpeech { // whose unit is a million characters
		return catalog.Units(c.env.Units)
	}
	return catalog.Units(c.env.Units) * catalog.UnitMicros
}

// units is how many units an answer is charged; sure is false where that is our own estimate. What the provider tells is not
// believed beyond what the request could come to.
func (c *call) units(a *answer) (n catalog.Units, sure bool) {
	worst := c.worstUnits()
	switch {
	case c.op == opImages:
		return min(catalog.Units(a.result.Items)*catalog.UnitMicros, worst), true
	case c.op.audioForm() && a.result.Seconds > 0:
		return min(minutes(a.result.Seconds), worst), true
	case c.op.audioForm():
		return min(minutes(likelyAudio(c.env.File(c.body))), worst), false
	case c.op == opRerank && a.result.Searches > 0:
		return min(catalog.Units(a.result.Searches)*catalog.UnitMicros, worst), true
	}
	return worst, c.op != opRerank || c.env.Units == 1
}

// windows is how many times the input may fill the model's context window: each text of an embeddings request and each document
// of a reranking has it to itself.
func (c *call) windows() int64 {
	switch c.op {
	case opEmbeddings:
		return int64(max(c.env.N, 1))
	case opRerank:
		return int64(c.env.Units) * envelope.SearchDocuments
	}
	return 1
}

func minutes(seconds float64) catalog.Units { return catalog.Units(seconds * catalog.UnitMicros / 60) }

// setContentType gives an answer that is passed through the provider's own content type.
func (a *answer) setContentType(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType(cmp.Or(a.contentType, "application/json"))
}

// priceRoom is by how many bytes an answer's body is longer with its price, at most.
const priceRoom = 1 << 10

// priced appends the body of a buffered answer, with its price where its form has a place for that.
func (a *answer) priced(dst []byte, c *call) []byte {
	extra := c.extra()
	if spliced, ok := a.inspected.SpliceUsage(dst, a.body, extra); ok {
		return spliced
	}
	switch c.op {
	case opChat:
		return c.dialect.SpliceUsage(dst, a.body, a.usage, extra)
	case opEmbeddings:
		return dialect.SpliceInput(dst, a.body, a.usage.Input, extra)
	}
	return append(dst, a.body...)
}
