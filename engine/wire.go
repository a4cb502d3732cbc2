package engine

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// wording is the request in one dialect.
type wording struct {
	env     *envelope.Envelope
	body    []byte
	dropped []string // fields of the client's that it could not take over
}

// formOf is the form of requests in a dialect.
func formOf(d dialect.Dialect) envelope.Form {
	switch d {
	case dialect.Messages:
		return envelope.FormMessages
	case dialect.Responses:
		return envelope.FormResponses
	case dialect.Completions:
		return envelope.FormCompletions
	}
	return envelope.FormChat
}

// spoken is the dialect in which a provider is asked, and the path. A provider that has the client's own dialect is asked in
// it, so that nothing has to be translated.
func spoken(client dialect.Dialect, desc *adapter.Endpoint) (d dialect.Dialect, path string, ok bool) {
	switch desc.Dialect {
	case adapter.DialectAnthropic:
		d = dialect.Messages
	case adapter.DialectResponses:
		d = dialect.Responses
	}
	path, ok = desc.Paths["chat"]
	if desc.Mode == adapter.ModeProxied {
		return d, "", true
	}
	if d != client && client != dialect.Chat {
		if own := desc.Paths[client.String()]; own != "" {
			return client, own, true
		}
	}
	return d, path, ok
}

// asked is the request in the dialect that an upstream request is made of: the client's own if the provider speaks it, else
// chat completions, from which every other one is translated. It is translated once for all attempts.
func (c *call) asked(upstream dialect.Dialect) (wording, *failure) {
	if upstream == c.dialect || c.dialect == dialect.Chat {
		return wording{env: &c.env, body: c.body}, nil
	}
	if c.chat.env == nil {
		body, dropped, err := dialect.TranslateRequest(c.dialect, dialect.Chat, nil, c.body, dialect.RequestOptions{
			Model:    cmp.Or(c.env.Model, "auto"), // a request need not have one, a translation must; the provider's own name for it takes its place
			Consumed: []string{"power_level", "pointsman", "provider", "models"},
		})
		if err != nil {
			return wording{}, untranslated(err)
		}
		env := new(envelope.Envelope)
		if err := env.Parse(envelope.FormChat, body, envelope.DefaultLimits()); err != nil {
			return wording{}, untranslated(err)
		}
		c.chat = wording{env: env, body: body, dropped: dropped}
	}
	return c.chat, nil
}

// untranslated is the failure of a request that means something no translation can express. Another provider may need none.
func untranslated(err error) *failure {
	f := &failure{class: adapter.ClassBadRequest, status: fasthttp.StatusBadRequest, message: err.Error(), inexpressible: true}
	var request *dialect.RequestError
	if errors.As(err, &request) {
		f.param, f.message = request.Param, request.Message
	}
	return f
}

// editRoom is how much longer a request may become by what is edited, mostly, in bytes.
const editRoom = 512

// upstreamBody is the request body for a provider. What stays the same of a large one is the client's own memory.
func (e *Engine) upstreamBody(c *call, a *answer, desc *adapter.Endpoint, upstream dialect.Dialect) (envelope.Parts, *failure) {
	if c.op.audioForm() {
		return c.env.EditForm(c.body, a.deployment.Upstream), nil
	}
	w, f := c.asked(upstream)
	if f != nil {
		return envelope.Parts{}, f
	}
	if a.dropped = append(a.dropped, w.dropped...); refuses(a) && len(w.dropped) > 0 {
		return envelope.Parts{}, unserved(w.dropped[0])
	}
	speaks := dialect.Chat
	if upstream == c.dialect {
		speaks = upstream
	}
	if f := covered(a, desc, w, speaks == upstream); f != nil {
		return envelope.Parts{}, f
	}
	edits, f := e.edits(c, a, desc, w, speaks)
	if f != nil {
		return envelope.Parts{}, f
	}
	foreign := c.foreignMembers(w.env, desc, upstream)
	if speaks == upstream && len(foreign) == 0 && !w.env.HasThinking() {
		parts := w.env.Edit(c.room(w.env.EditRoom(w.body)+editRoom), w.body, edits)
		c.scratch = parts[0][:0]
		return parts, c.mustServe(a)
	}
	c.scratch = w.env.Splice(c.room(len(w.body)+editRoom), w.body, edits)
	e.ownThinking(c, a, w, speaks, desc.Dialect == adapter.DialectAnthropic)
	body, dropped := c.scratch, []string(nil)
	switch {
	case speaks != upstream:
		var err error
		body, dropped, err = dialect.TranslateRequest(dialect.Chat, upstream, nil, c.scratch, dialect.RequestOptions{
			Model: a.deployment.Upstream, DefaultMaxTokens: desc.Body.DefaultMaxTokens,
			Thinking: a.deployment.thinking,
		})
		if err != nil {
			return envelope.Parts{}, untranslated(err)
		}
		if refuses(a) && len(dropped) > 0 {
			return envelope.Parts{}, unserved(dropped[0])
		}
	case len(foreign) > 0:
		body, dropped = dialect.StripMessages(c.scratch, foreign)
	}
	a.dropped = append(a.dropped, dropped...)
	return envelope.Parts{body}, c.mustServe(a)
}

// refuses tells that a provider is rather not asked than asked without a field.
func refuses(a *answer) bool { return a.deployment.endpoint.Settings["unsupported"] == "refuse" }

// mustServe passes over a provider that does not take every field, if that is what the caller wants.
func (c *call) mustServe(a *answer) *failure {
	if c.wish == nil || !c.wish.RequireParameters || len(a.dropped) == 0 {
		return nil
	}
	return unserved(a.dropped[0])
}

// foreignMembers are those members of the messages that the provider does not take.
func (c *call) foreignMembers(env *envelope.Envelope, desc *adapter.Endpoint, upstream dialect.Dialect) (names []string) {
	if upstream != dialect.Chat || c.op != opChat {
		return nil
	}
	for _, name := range [...]string{"cache_control", "reasoning_content", "thinking_blocks"} {
		if env.MayHold(name) && !slices.Contains(desc.Body.KeepInMessages, name) {
			names = append(names, name)
		}
	}
	return names
}

// covered fails a request that would buy something beside tokens at their listed prices with the platform's key, for credits pay for
// nothing else. What is translated has lost it: no translation takes such things over.
func covered(a *answer, desc *adapter.Endpoint, w wording, native bool) *failure {
	p := a.deployment.endpoint
	if !native || a.own || a.simulated || a.deployment.local || p.ProviderTools {
		return nil
	}
	path := w.env.Besides
	if path == "" {
		const search = "web_search_options"
		if slices.Contains(desc.Body.Drop, search) || len(w.env.Given(nil, w.body, []string{search})) == 0 {
			return nil
		}
		path = search
	}
	return &failure{
		class: adapter.ClassBadRequest, status: fasthttp.StatusBadRequest, inexpressible: true, param: path,
		message: path + " has the provider sell something beside tokens at their listed prices, which is all that credits pay for; it takes a provider key of your own",
	}
}

// unserved is the failure of a request with a field that the provider must not be asked without.
func unserved(field string) *failure {
	return &failure{class: adapter.ClassBadRequest, status: fasthttp.StatusBadRequest, unserved: field}
}

// edits make the request as the provider takes it, in the dialect of the wording. What is left out or replaced is noted, to be
// named to the client; a field that the provider must not be asked without is a failure.
func (e *Engine) edits(c *call, a *answer, desc *adapter.Endpoint, w wording, speaks dialect.Dialect) (envelope.Edits, *failure) {
	rules := &desc.Body
	drop, named := rules.Drop, rules.Drop
	if len(rules.Refuse) > 0 {
		if refused := w.env.Given(nil, w.body, rules.Refuse); len(refused) > 0 {
			return envelope.Edits{}, unserved(refused[0])
		}
		drop = slices.Concat(drop, rules.Refuse) // those that are null
	}
	translated := speaks == dialect.Chat && desc.Dialect == adapter.DialectAnthropic // which leaves out by itself what is refused
	if chosen := speaks == dialect.Chat || c.root().model == nil; chosen && !translated && a.deployment.thinking >= dialect.ThinkingEffort {
		sampling := []string{"temperature", "top_p", "top_k"} // which the model refuses wherever it is
		if given := w.env.Given(nil, w.body, sampling); len(given) > 0 && refuses(a) {
			return envelope.Edits{}, unserved(given[0])
		}
		named = slices.Concat(named, sampling)
		slices.Sort(named)
		named = slices.Compact(named)
		drop = slices.Concat(drop, named)
	}
	a.dropped = w.env.Given(a.dropped, w.body, named)
	var set []envelope.Member
	if len(rules.Set) > 0 {
		for _, name := range slices.Sorted(maps.Keys(rules.Set)) {
			set = append(set, envelope.Member{Name: name, Value: rules.Set[name]})
			a.dropped = w.env.Given(a.dropped, w.body, []string{name})
		}
	}
	if speaks == dialect.Responses { // whose providers store answers unless they are told not to
		set = append(set, envelope.Member{Name: "store", Value: "false"})
	}
	edits := envelope.Edits{Model: a.deployment.Upstream, MaxTokens: e.outputLimit(c, a), Drop: drop, Set: set}
	if speaks == dialect.Chat || speaks == dialect.Completions {
		edits.IncludeUsage = c.env.Stream && rules.StreamUsage
	}
	if speaks == dialect.Chat {
		edits.MaxTokensField = rules.MaxTokensField
	}
	return edits, nil
}

// answerOptions are what a translated answer is given.
func (c *call) answerOptions(a *answer) dialect.AnswerOptions {
	return dialect.AnswerOptions{
		Model: a.deployment.Model.Name, ID: c.answerID(), Created: c.began.Unix(), Request: c.body, InputTokens: int64(c.env.InputTokens),
	}
}

// answerID is the id of an answer that the gateway words itself.
func (c *call) answerID() string {
	switch c.dialect {
	case dialect.Messages:
		return "msg_" + c.id.String()
	case dialect.Responses:
		return "resp_" + c.id.String()
	case dialect.Completions:
		return "cmpl-" + c.id.String()
	}
	return "chatcmpl-" + c.id.String()
}
