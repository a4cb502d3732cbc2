package outcomes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what is read.
const (
	maxLine   = 16 << 20 // bytes
	maxFaults = 10       // that are told
	maxName   = 256      // bytes of an id, a task or a model
)

// line is one line of a file: an answer. Task and prompt may be left out where an earlier line of the id has them.
type line struct {
	ID     *string  `json:"id"`
	Task   *string  `json:"task,omitempty"`
	Prompt *string  `json:"prompt,omitempty"`
	Model  *string  `json:"model"`
	Score  *float64 `json:"score"`
	Input  *int64   `json:"input_tokens"`
	Output *int64   `json:"output_tokens"`
	Cost   *float64 `json:"cost_usd"`
}

// reader collects lines.
type reader struct {
	name   string // of the file, for messages
	number int    // of the line
	all    []*answered
	byID   map[string]*answered
	at     map[[2]string]int // the line of an id's answer by a model
	faults []string
}

// Read reads outcomes, one JSON object a line; name is that of the file in messages. It is strict: unknown, missing and
// repeated fields, numbers out of range, a model that answers a prompt twice and prompts that change are errors, told with line
// and field, ten at most. A prompt that some model has not answered is left out and counted. The error wraps [ErrOutcomes],
// or is the reader's.
func Read(in io.Reader, name string) (*Set, error) {
	r := &reader{name: name, byID: map[string]*answered{}, at: map[[2]string]int{}}
	lines := bufio.NewReaderSize(in, 1<<16)
	for {
		text, err := readLine(lines)
		r.number++
		if errors.Is(err, errLong) {
			return nil, fmt.Errorf("%w: %s:%d: more than %d bytes in a line", ErrOutcomes, name, r.number, maxLine)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if len(bytes.TrimSpace(text)) > 0 {
			r.line(text)
		}
		if err != nil || len(r.faults) >= maxFaults {
			break
		}
	}
	if len(r.faults) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrOutcomes, strings.Join(r.faults, "\n"))
	}
	return complete(r.all)
}

var errLong = errors.New("line too long")

func readLine(in *bufio.Reader) (text []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > maxLine {
			return nil, errLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

func (r *reader) fault(field, format string, args ...any) {
	if field != "" {
		field += ": "
	}
	r.faults = append(r.faults, fmt.Sprintf("%s:%d: %s", r.name, r.number, field+fmt.Sprintf(format, args...)))
}

func (r *reader) line(text []byte) {
	var l line
	if err := json.Unmarshal(text, &l, json.RejectUnknownMembers(true)); err != nil {
		r.syntax(text, err)
		return
	}
	before := len(r.faults)
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"id", l.ID == nil}, {"model", l.Model == nil}, {"score", l.Score == nil}, {"input_tokens", l.Input == nil}, {"output_tokens", l.Output == nil}, {"cost_usd", l.Cost == nil},
	} {
		if f.missing {
			r.fault(f.name, "missing")
		}
	}
	if len(r.faults) > before {
		return
	}
	r.names(&l)
	a := Answer{Score: *l.Score, Input: *l.Input, Output: *l.Output, Cost: *l.Cost}
	for _, f := range a.faults() {
		r.fault(f[0], "%s", f[1])
	}
	if len(r.faults) == before {
		r.add(&l, a)
	}
}

// syntax tells what is wrong with a line that is no such object.
func (r *reader) syntax(text []byte, err error) {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	field := ""
	switch {
	case errors.As(err, &semantic):
		field = strings.TrimPrefix(string(semantic.JSONPointer), "/")
	case errors.As(err, &syntactic):
		field = strings.TrimPrefix(string(syntactic.JSONPointer), "/")
	}
	switch {
	case bytes.Contains(text, []byte("NaN")) || bytes.Contains(text, []byte("Infinity")):
		r.fault(field, "NaN and Infinity are no numbers of JSON: leave out the line of an answer that has no score")
	case errors.Is(err, json.ErrUnknownName):
		r.fault(field, "unknown field; there are id, task, prompt, model, score, input_tokens, output_tokens, cost_usd")
	case errors.Is(err, jsontext.ErrDuplicateName):
		r.fault(field, "given twice")
	case semantic != nil:
		r.fault(field, "not of the right type: %v", semantic.JSONKind)
	default:
		r.fault(field, "%v", err)
	}
}

// names checks the texts of a line.
func (r *reader) names(l *line) {
	for _, f := range []struct {
		name string
		text *string
	}{{"id", l.ID}, {"model", l.Model}, {"task", l.Task}} {
		if f.text == nil {
			continue
		}
		if *f.text == "" || len(*f.text) > maxName || strings.ContainsFunc(*f.text, func(c rune) bool { return c < ' ' }) {
			r.fault(f.name, "must be 1 to %d bytes without control characters", maxName)
		}
	}
	if l.Prompt != nil && !utf8.ValidString(*l.Prompt) {
		r.fault("prompt", "not UTF-8")
	}
}

// faults says what is wrong with an answer's numbers: fields, each with the fault.
func (a *Answer) faults() (all [][2]string) {
	if !(a.Score >= 0 && a.Score <= 1) {
		all = append(all, [2]string{"score", fmt.Sprintf("%v is not between 0 and 1", a.Score)})
	}
	for i, tokens := range []int64{a.Input, a.Output} {
		if tokens < 0 || tokens > math.MaxInt32 {
			all = append(all, [2]string{[]string{"input_tokens", "output_tokens"}[i], fmt.Sprintf("%d is not a number of tokens", tokens)})
		}
	}
	if !(a.Cost >= 0) || math.IsInf(a.Cost, 0) {
		all = append(all, [2]string{"cost_usd", fmt.Sprintf("%v is not a cost", a.Cost)})
	}
	return all
}

// add puts an answer to its prompt.
func (r *reader) add(l *line, a Answer) {
	p := r.byID[*l.ID]
	switch {
	case p == nil && l.Prompt == nil:
		r.fault("prompt", "missing, and no line before has it for id %q", *l.ID)
		return
	case p == nil && l.Task == nil:
		r.fault("task", "missing, and no line before has it for id %q", *l.ID)
		return
	case p == nil:
		p = &answered{Prompt: Prompt{ID: *l.ID, Task: *l.Task, Text: *l.Prompt}, by: map[string]Answer{}}
		r.byID[p.ID] = p
		r.all = append(r.all, p)
	case l.Prompt != nil && *l.Prompt != p.Text:
		r.fault("prompt", "not that of the lines before of id %q: every prompt needs an id of its own", *l.ID)
		return
	case l.Task != nil && *l.Task != p.Task:
		r.fault("task", "%q, and %q in the lines before of id %q", *l.Task, p.Task, *l.ID)
		return
	}
	key := [2]string{*l.ID, *l.Model}
	if at, twice := r.at[key]; twice {
		r.fault("model", "%s has answered id %q already, in line %d", *l.Model, *l.ID, at)
		return
	}
	r.at[key] = r.number
	p.by[*l.Model] = a
}

// Write writes a set as [Read] reads it, each prompt's text once.
func (s *Set) Write(out io.Writer) error {
	w := bufio.NewWriter(out)
	for i := range s.Prompts {
		for m, a := range s.Prompts[i].Answers {
			if err := writeLine(w, &s.Prompts[i], m == 0, s.Models[m], a); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

func writeLine(w *bufio.Writer, p *Prompt, first bool, model string, a Answer) error {
	l := line{ID: &p.ID, Model: &model, Score: &a.Score, Input: &a.Input, Output: &a.Output, Cost: &a.Cost}
	if first {
		l.Task, l.Prompt = &p.Task, &p.Text
	}
	if err := json.MarshalWrite(w, &l); err != nil {
		return err
	}
	return w.WriteByte('\n')
}
