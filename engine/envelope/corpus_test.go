package envelope_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/envelope/badinput"
)

// TestCorpus holds Parse to the cases of the corpus that are decided by the body alone, streaming and not.
func TestCorpus(t *testing.T) {
	cases, err := badinput.Load("../testdata/badinput")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 400 {
		t.Errorf("the corpus has %d cases", len(cases))
	}
	var e envelope.Envelope
	for _, c := range cases {
		if !slices.Contains([]string{"json", "values", "model", "policy", "messages", "counting", "responses", "completions"}, c.Group) {
			continue
		}
		form := map[string]envelope.Form{
			"/messages": envelope.FormMessages, "/messages/count_tokens": envelope.FormTokenCount, "/responses": envelope.FormResponses,
			"/completions": envelope.FormCompletions,
		}[c.Path]
		bodies := [][]byte{c.Body}
		if streaming, ok := c.Streaming(); ok {
			bodies = append(bodies, streaming)
		}
		for _, body := range bodies {
			err := e.Parse(form, body, envelope.DefaultLimits())
			if err == nil {
				t.Errorf("%s: %s: accepted %.200q", c.At, c.Name, body)
				continue
			}
			if diff := c.Matches(err.Status, err.Type, err.Code, err.Param); diff != "" {
				t.Errorf("%s: %s: %s (%s)", c.At, c.Name, diff, err.Message)
			}
			if echoes(err.Message, body) || echoes(err.Param, body) {
				t.Errorf("%s: %s: echoes the request: %q %q", c.At, c.Name, err.Message, err.Param)
			}
		}
	}
}

// echoes tells whether text holds more than 64 bytes in a row of body.
func echoes(text string, body []byte) bool {
	const most = 64
	for i := 0; i+most < len(text) && len(body) < 1<<20; i++ {
		if bytes.Contains(body, []byte(text[i:i+most+1])) {
			return true
		}
	}
	return false
}
