package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/tokens"
)

// answeredCall is a call about a text, and an answer to it whose provider reported so many input tokens.
func answeredCall(t *testing.T, e *Engine, model, content string, input int64) (*call, *answer) {
	t.Helper()
	c := &call{body: []byte(`{"messages":[{"role":"user","content":` + content + `}]}`)}
	if err := c.env.Parse(envelope.FormChat, c.body, envelope.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	d := &deployment{learned: new(learned), family: tokens.FamilyOf(model)}
	return c, &answer{deployment: d, usage: dialect.Usage{Input: input, Reported: true}, text: speech{engine: e}}
}

// TestCountsAreCorrectedByWhatProvidersReport compares a prompt again and again.
func TestCountsAreCorrectedByWhatProvidersReport(t *testing.T) {
	e := &Engine{lasting: &lasting{tokens: tokens.New()}}
	text := `"` + strings.Repeat("several words ", 200) + `"` // 401 tokens of o200k_base, with the blank at its end
	c, a := answeredCall(t, e, "claude-opus-4-1", text, 2*482+7)
	at := func() int64 { return a.deployment.ratio.Apply(1600) }
	last, changes := at(), 0
	if last != 1600 {
		t.Fatalf("at first %d", last)
	}
	c.began = time.Now()
	for n := range 6 * sparingly {
		if n < 3*sparingly { // then there are too many requests
			c.began = c.began.Add(2 * compareEvery / sparingly)
		}
		e.compare(c, a)
		e.inflight.Wait()
		if now := at(); now != last {
			if changes++; now < last || now > 3200 {
				t.Errorf("from %d to %d", last, now)
			}
			last = now
		}
	}
	if changes != eagerly+3 {
		t.Errorf("compared %d times", changes)
	}
	if got := e.countPrompt(&c.env, c.body, a.deployment.family, &a.deployment.ratio); got <= 482+7+100 || got > 2*482+7 {
		t.Errorf("a prompt is counted as %d after that", got)
	}
}

func TestPromptsThatAreNotComparable(t *testing.T) {
	e := &Engine{lasting: &lasting{tokens: tokens.New()}}
	text := `"` + strings.Repeat("several words ", 200) + `"`
	for name, s := range map[string]struct {
		model, content string
		estimated      bool
	}{
		"exact":     {"gpt-4o", text, false},
		"estimated": {"claude-3", text, true},
		"long":      {"claude-3", `"` + strings.Repeat("word ", longestCompared/4) + `"`, false},
		"short":     {"claude-3", `"a few words"`, false},
		"an image":  {"claude-3", `[{"type":"text","text":` + text + `},{"type":"image_url","image_url":{"url":"https://example.com/x.png"}}]`, false},
	} {
		c, a := answeredCall(t, e, s.model, s.content, 100_000)
		a.estimated = s.estimated
		e.compare(c, a)
		e.inflight.Wait()
		if got := a.deployment.ratio.Apply(1000); got != 1000 {
			t.Errorf("%s: compared", name)
		}
	}
}
