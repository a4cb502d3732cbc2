package engine

import (
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/tokens"
	"github.com/pointsman/pointsman/sdk/abi"
)

// familyOf finds out how a deployment's tokens are counted, by the provider's name of the model or else by ours.
func familyOf(d *catalog.Deployment) tokens.Family {
	if f := tokens.FamilyOf(d.Upstream); f.Known() {
		return f
	}
	return tokens.FamilyOf(d.Model.Name)
}

// familyByKey finds it for a candidate of a snapshot, whose deployment may be gone.
func (e *Engine) familyByKey(key uint64, model string) tokens.Family {
	for _, d := range e.deployments {
		if d.Key == key {
			return d.family
		}
	}
	return tokens.FamilyOf(model)
}

// speech is what an answer said that no reported usage covers. Nothing is counted as long as usage may still come: a stream's
// text is held, see [dialect.Texts], and forgotten once usage covers it.
type speech struct {
	engine  *Engine
	texts   *dialect.Texts
	tally   tokens.Tally
	began   bool  // something was said, covered or not
	covered int64 // output tokens that were reported after something was said
}

// hear takes in an event of a stream, and the usage it reports. Some providers report once at the end, some with every
// event, and some at the beginning already, which covers nothing of what is said after it.
func (s *speech) hear(a *answer, d dialect.Dialect, info dialect.Chunk, data []byte) {
	s.began = s.began || info.Content
	if info.Usage {
		a.meter.Add(d, data)
		a.usage = a.meter.Usage()
		if s.began && a.usage.Output > 0 {
			s.forget()
			s.began, s.covered = true, a.usage.Output
			return
		}
	}
	if info.Content {
		s.hold(a).AddInspected(d, info, data, s.tally.Add)
	}
}

// hold is where texts are held.
func (s *speech) hold(a *answer) *dialect.Texts {
	if s.texts == nil {
		s.texts = s.engine.texts.Get().(*dialect.Texts)
		s.tally = s.engine.tokens.Tally(a.deployment.family)
	}
	return s.texts
}

// forget is as if nothing had been said.
func (s *speech) forget() {
	if s.texts != nil {
		s.texts.Drop()
		s.engine.texts.Put(s.texts)
	}
	*s = speech{engine: s.engine}
}

// tokens counts what was said and is not covered, and forgets it.
func (s *speech) tokens(a *answer) int64 {
	if s.texts == nil {
		return 0
	}
	s.texts.Flush(s.tally.Add)
	n := a.deployment.ratio.Apply(s.tally.Tokens())
	s.forget()
	return n
}

// supplement adds our own count to what the provider reported, where that does not cover the answer or the prompt: to nothing,
// of a provider that reports none, and to a part, of a stream that broke off. A usage of zeros counts as none.
func (e *Engine) supplement(c *call, a *answer, u *dialect.Usage) {
	if a.body != nil && u.Output == 0 { // buffered
		a.text.hold(a).Add(c.dialect, a.body, a.text.tally.Add)
	}
	covered := a.text.covered
	if n := a.text.tokens(a); n > 0 {
		u.Output = max(u.Output, covered+n)
		a.estimated = true
	}
	if u.Input == 0 {
		u.Input = e.countPrompt(&c.env, c.body, a.deployment.family, &a.deployment.ratio)
		a.estimated = true
	}
}

// countPrompt counts a prompt as a model of the family has it.
func (e *Engine) countPrompt(env *envelope.Envelope, body []byte, f tokens.Family, ratio *tokens.Ratio) int64 {
	tally := e.tokens.Tally(f)
	other := env.EachText(body, tally.Add)
	return ratio.Apply(tally.Tokens()) + int64(other)
}

const (
	// eagerly is how many requests of a deployment are compared at first; then it is one of sparingly, and of all deployments one in a while.
	eagerly, sparingly = 8, 64
	compareEvery       = 100 * time.Millisecond
	// longestCompared is how much prompt is compared, in bytes.
	longestCompared = 64 << 10
)

// compare corrects how a deployment's tokens are estimated by what its provider reported for a prompt. It does so for some of
// the requests whose prompts are nothing but text, one at a time and beside them.
func (e *Engine) compare(c *call, a *answer) {
	d := a.deployment
	if d.family.Exact() || a.estimated || a.simulated || c.env.Images > 0 || c.env.Needs&(abi.CapTools|abi.CapPDF|abi.CapAudio|abi.CapJSONSchema) != 0 ||
		c.env.TextBytes > longestCompared {
		return
	}
	if n := d.answered.Add(1); n > eagerly && (n%sparingly != 0 || c.began.UnixNano() < e.compareFrom.Load()) || !e.comparing.CompareAndSwap(false, true) {
		return
	}
	e.compareFrom.Store(c.began.Add(compareEvery).UnixNano())
	var text []byte
	var ends []int
	other := c.env.EachText(c.body, func(piece []byte) {
		text = append(text, piece...)
		ends = append(ends, len(text))
	})
	reported := a.usage.Input - int64(other)
	e.inflight.Go(func() { // the request is still under way, so the group is not being waited for with nothing in it
		defer e.comparing.Store(false)
		tally, start := e.tokens.Tally(d.family), 0
		for _, end := range ends {
			tally.Add(text[start:end])
			start = end
		}
		d.ratio.Observe(tally.Tokens(), reported)
	})
}
