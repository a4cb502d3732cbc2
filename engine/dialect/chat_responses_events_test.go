package dialect

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/sse"
)

// outputItem is an item of the output, as raw values.
type outputItem struct {
	ID, Type, Status, Role string
	CallID                 json.RawMessage `json:"call_id"`
	Name                   json.RawMessage
	Arguments, Input       json.RawMessage
	Summary, Content       []outputPart
}

type outputPart struct {
	Type                  string
	Text, Refusal         json.RawMessage
	Annotations, Logprobs []json.RawMessage
}

type outputResponse struct {
	ID, Object, Model, Status string
	CreatedAt                 int64 `json:"created_at"`
	Error                     json.RawMessage
	IncompleteDetails         *struct{ Reason string } `json:"incomplete_details"`
	Output                    []json.RawMessage
	Usage                     json.RawMessage
	Store                     *bool
}

// outputWhole is an answer put together, to be compared: texts of one kind are joined.
type outputWhole struct {
	Status, Reason, Reasoning, Text, Refusal, Usage string
	Citations, Logprobs                             int
	Calls                                           []outputItem
}

func gather(t *testing.T, raw []byte) outputWhole {
	t.Helper()
	var r outputResponse
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	if r.ID != "resp_0a" || r.Object != "response" || r.Model != "m" || r.CreatedAt != 1700000000 || r.Store == nil || *r.Store {
		t.Fatalf("wrong frame: %s", raw)
	}
	if (r.Status == "failed") != (string(r.Error) != "null") || (r.Status == "incomplete") != (r.IncompleteDetails != nil) {
		t.Fatalf("wrong details: %s", raw)
	}
	w := outputWhole{Status: r.Status, Usage: string(r.Usage)}
	if r.IncompleteDetails != nil {
		w.Reason = r.IncompleteDetails.Reason
	}
	for _, raw := range r.Output {
		var item outputItem
		if err := json.Unmarshal(raw, &item); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		switch item.Type {
		case "reasoning":
			w.Reasoning += string(inner(item.Summary[0].Text))
		case "message":
			for _, p := range item.Content {
				w.Text += string(inner(p.Text))
				w.Refusal += string(inner(p.Refusal))
				w.Citations += len(p.Annotations)
				w.Logprobs += len(p.Logprobs)
			}
		default:
			item.ID = "" // which tells of the place among the items
			w.Calls = append(w.Calls, item)
		}
	}
	return w
}

// heldItem is an item as the events before have told it.
type heldItem struct {
	outputItem
	text  []byte // of reasoning, arguments or input
	parts []heldPart
	open  bool
	phase int    // of the texts that end: 0 growing, 1 its text is done, 2 its part is done
	final []byte // as its last event told it
}

type heldPart struct {
	kind      string
	text      []byte
	citations int
	phase     int
}

// outputEvent is any event.
type outputEvent struct {
	Type                         string
	SequenceNumber               int    `json:"sequence_number"`
	ItemID                       string `json:"item_id"`
	OutputIndex                  int    `json:"output_index"`
	ContentIndex                 int    `json:"content_index"`
	SummaryIndex                 int    `json:"summary_index"`
	AnnotationIndex              int    `json:"annotation_index"`
	Delta, Text, Refusal         json.RawMessage
	Arguments, Input, Annotation json.RawMessage
	Item, Response               json.RawMessage
	Part                         *outputPart
}

// readEvents checks the order and completeness of the events of a whole stream, and returns the Response object of the last.
func readEvents(t *testing.T, stream []byte) json.RawMessage {
	t.Helper()
	var items []*heldItem
	var last string
	var response json.RawMessage
	r := sse.NewReader(bytes.NewReader(stream), 64<<20)
	for sequence := 0; ; sequence++ {
		raw, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if raw.Data == nil {
			sequence--
			continue
		}
		var ev outputEvent
		if err := json.Unmarshal(raw.Data, &ev); err != nil {
			t.Fatalf("%v: %s", err, raw.Data)
		}
		if ev.SequenceNumber != sequence || string(raw.Name) != ev.Type {
			t.Fatalf("event %d is numbered %d and named %s: %s", sequence, ev.SequenceNumber, raw.Name, raw.Data)
		}
		first := [...]string{"response.created", "response.in_progress"}
		if sequence < len(first) != slices.Contains(first[:], ev.Type) || sequence < len(first) && first[sequence] != ev.Type || response != nil {
			t.Fatalf("event %d is out of order: %s", sequence, raw.Data)
		}
		last = ev.Type
		switch ev.Type {
		case "response.created", "response.in_progress":
			if w := gather(t, ev.Response); w.Status != "in_progress" || w.Usage != "null" || len(w.Calls) > 0 {
				t.Fatalf("wrong beginning: %s", raw.Data)
			}
			continue
		case "response.completed", "response.incomplete", "response.failed":
			response = bytes.Clone(ev.Response)
			continue
		case "response.output_item.added":
			h := &heldItem{open: true}
			if err := json.Unmarshal(ev.Item, &h.outputItem); err != nil || ev.OutputIndex != len(items) || h.Type != "reasoning" && h.Status != "in_progress" {
				t.Fatalf("item %d of %d begins wrongly: %v, %s", ev.OutputIndex, len(items), err, raw.Data)
			}
			for _, other := range items {
				if other.ID == h.ID || h.Type != "function_call" && h.Type != "custom_tool_call" && other.open && (other.Type == "message" || other.Type == "reasoning") {
					t.Fatalf("an item begins like or during %s: %s", other.ID, raw.Data)
				}
			}
			items = append(items, h)
			continue
		}
		if ev.OutputIndex >= len(items) || !items[ev.OutputIndex].open {
			t.Fatalf("about no open item: %s", raw.Data)
		}
		h := items[ev.OutputIndex]
		if ev.Type != "response.output_item.done" && ev.ItemID != h.ID {
			t.Fatalf("about another item than %s: %s", h.ID, raw.Data)
		}
		if why := h.step(&ev); why != "" {
			t.Fatalf("%s: %s", why, raw.Data)
		}
	}
	if response == nil {
		t.Fatalf("the last event is %s", last)
	}
	w := gather(t, response)
	if "response."+w.Status != last {
		t.Fatalf("%s has the status %s", last, w.Status)
	}
	var whole outputResponse
	_ = json.Unmarshal(response, &whole)
	if len(whole.Output) != len(items) {
		t.Fatalf("there were %d items: %s", len(items), response)
	}
	for i, h := range items {
		if h.open || !bytes.Equal(h.final, whole.Output[i]) {
			t.Fatalf("item %d was %s: %s", i, h.final, whole.Output[i])
		}
	}
	return response
}

// step takes in an event about the item; it says why if the event is wrong.
func (h *heldItem) step(ev *outputEvent) (why string) {
	same := func(v json.RawMessage, text []byte) bool { return isString(v) && bytes.Equal(inner(v), text) }
	if strings.Contains(ev.Type, "content_part") || strings.Contains(ev.Type, "output_text") || strings.Contains(ev.Type, "refusal") {
		if h.Type != "message" {
			return "not a message"
		}
		return h.stepPart(ev, same)
	}
	argument, value := "function_call_arguments", ev.Arguments
	if h.Type == "custom_tool_call" {
		argument, value = "custom_tool_call_input", ev.Input
	}
	switch kind := strings.TrimPrefix(ev.Type, "response."); {
	case h.Type == "reasoning" && kind == "reasoning_summary_part.added":
		if h.parts != nil || ev.Part == nil || !same(ev.Part.Text, nil) || ev.SummaryIndex != 0 {
			return "not the first part of a summary"
		}
		h.parts = []heldPart{{}}
	case h.Type == "reasoning" && kind == "reasoning_summary_text.delta":
		if h.parts == nil || h.phase != 0 || len(inner(ev.Delta)) == 0 {
			return "no part grows"
		}
		h.text = append(h.text, inner(ev.Delta)...)
	case h.Type == "reasoning" && kind == "reasoning_summary_text.done":
		if h.phase != 0 || !same(ev.Text, h.text) {
			return "not the text of the summary"
		}
		h.phase = 1
	case h.Type == "reasoning" && kind == "reasoning_summary_part.done":
		if h.phase != 1 || !same(ev.Part.Text, h.text) {
			return "not the part of the summary"
		}
		h.phase = 2
	case (h.Type == "function_call" || h.Type == "custom_tool_call") && kind == argument+".delta":
		if h.phase != 0 || len(inner(ev.Delta)) == 0 {
			return "no argument grows"
		}
		h.text = append(h.text, inner(ev.Delta)...)
	case (h.Type == "function_call" || h.Type == "custom_tool_call") && kind == argument+".done":
		if h.phase != 0 || !same(value, h.text) {
			return "not the argument"
		}
		h.phase = 2
	case kind == "output_item.done":
		var item outputItem
		if json.Unmarshal(ev.Item, &item) != nil || item.ID != h.ID || item.Type != h.Type || item.Status == "in_progress" ||
			!bytes.Equal(item.CallID, h.CallID) || !bytes.Equal(item.Name, h.Name) {
			return "not the item that began"
		}
		if h.Type == "message" && (len(h.parts) == 0 || h.parts[len(h.parts)-1].phase != 2) || h.Type != "message" && h.phase != 2 {
			return "something of the item has not ended"
		}
		if len(item.Content) != len(h.parts) && h.Type == "message" {
			return "not the parts that came"
		}
		h.open, h.final = false, bytes.Clone(ev.Item)
	default:
		return "not an event of a " + h.Type
	}
	return ""
}

// stepPart takes in an event about a part of a message.
func (h *heldItem) stepPart(ev *outputEvent, same func(json.RawMessage, []byte) bool) (why string) {
	n := len(h.parts) - 1
	kind := strings.TrimPrefix(ev.Type, "response.")
	if kind == "content_part.added" {
		if ev.ContentIndex != n+1 || n >= 0 && h.parts[n].phase != 2 || ev.Part == nil {
			return "a part begins wrongly"
		}
		if !same(ev.Part.Text, nil) && !same(ev.Part.Refusal, nil) {
			return "a part begins with a text"
		}
		h.parts = append(h.parts, heldPart{kind: ev.Part.Type})
		return ""
	}
	if n < 0 || ev.ContentIndex != n {
		return "about no part"
	}
	p := &h.parts[n]
	name, text := "output_text", ev.Text
	if p.kind == "refusal" {
		name, text = "refusal", ev.Refusal
	}
	switch kind {
	case name + ".delta":
		if p.phase != 0 || len(inner(ev.Delta)) == 0 {
			return "no part grows"
		}
		p.text = append(p.text, inner(ev.Delta)...)
	case "output_text.annotation.added":
		if p.phase != 0 || ev.AnnotationIndex != p.citations || p.kind != "output_text" {
			return "no citation is possible here"
		}
		p.citations++
	case name + ".done":
		if p.phase != 0 || !same(text, p.text) {
			return "not the text of the part"
		}
		p.phase = 1
	case "content_part.done":
		if p.phase != 1 || ev.Part.Type != p.kind || !same(ev.Part.Text, p.text) && !same(ev.Part.Refusal, p.text) || len(ev.Part.Annotations) != p.citations {
			return "not the part"
		}
		p.phase = 2
	default:
		return "not an event of a part of the type " + p.kind
	}
	return ""
}
