package outcomes

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const good = `{"id":"1","task":"t","prompt":"p","model":"a","score":1,"input_tokens":10,"output_tokens":20,"cost_usd":0.5}
{"id":"1","model":"b","score":0.5,"input_tokens":11,"output_tokens":21,"cost_usd":0}

{"id":"2","task":"t","prompt":"q","model":"b","score":0,"input_tokens":1,"output_tokens":0,"cost_usd":0.25}
{"id":"2","task":"t","prompt":"q","model":"a","score":0.75,"input_tokens":1,"output_tokens":2,"cost_usd":1}
`

func TestRead(t *testing.T) {
	s, err := Read(strings.NewReader(good), "f.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	want := &Set{Models: []string{"a", "b"}, Tasks: []string{"t"}, Prompts: []Prompt{
		{"1", "t", "p", []Answer{{1, 10, 20, 0.5}, {0.5, 11, 21, 0}}}, {"2", "t", "q", []Answer{{0.75, 1, 2, 1}, {0, 1, 0, 0.25}}},
	}}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("read %+v", s)
	}
	var written bytes.Buffer
	if err := s.Write(&written); err != nil {
		t.Fatal(err)
	}
	if again, err := Read(&written, "again"); err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("what was written reads as %+v, %v", again, err)
	}
}

// TestReadFaults names line and field of what is wrong.
func TestReadFaults(t *testing.T) {
	line := func(change, to string) string {
		return strings.Replace(`{"id":"3","task":"t","prompt":"r","model":"a","score":1,"input_tokens":1,"output_tokens":1,"cost_usd":1}`, change, to, 1)
	}
	for name, c := range map[string]struct{ line, want string }{
		"no JSON":                   {"score", "f.jsonl:6: "},
		"an unknown field":          {line(`"task"`, `"tasks"`), "f.jsonl:6: tasks: unknown field"},
		"the wrong case":            {line(`"score"`, `"Score"`), "f.jsonl:6: Score: unknown field"},
		"a field twice":             {line(`"score":1`, `"score":1,"score":0`), "f.jsonl:6: score: given twice"},
		"no score":                  {line(`"score":1,`, ``), "f.jsonl:6: score: missing"},
		"a score of null":           {line(`"score":1`, `"score":null`), "f.jsonl:6: score: missing"},
		"a score of text":           {line(`"score":1`, `"score":"1"`), "f.jsonl:6: score: not of the right type"},
		"a score above 1":           {line(`"score":1`, `"score":1.01`), "f.jsonl:6: score: 1.01 is not between 0 and 1"},
		"a score below 0":           {line(`"score":1`, `"score":-0.1`), "f.jsonl:6: score: -0.1 is not between"},
		"NaN":                       {line(`"score":1`, `"score":NaN`), "f.jsonl:6: score: NaN and Infinity are no numbers of JSON"},
		"a cost below 0":            {line(`"cost_usd":1`, `"cost_usd":-1`), "f.jsonl:6: cost_usd: -1 is not a cost"},
		"tokens below 0":            {line(`"input_tokens":1`, `"input_tokens":-1`), "f.jsonl:6: input_tokens: -1"},
		"half a token":              {line(`"output_tokens":1`, `"output_tokens":0.5`), "f.jsonl:6: output_tokens: not of the right type"},
		"no model's name":           {line(`"model":"a"`, `"model":""`), "f.jsonl:6: model: must be 1 to 256 bytes"},
		"no prompt":                 {line(`"prompt":"r",`, ``), `f.jsonl:6: prompt: missing, and no line before has it for id "3"`},
		"no task":                   {line(`"task":"t",`, ``), `f.jsonl:6: task: missing, and no line before`},
		"another prompt of the id":  {line(`"id":"3"`, `"id":"2"`), "f.jsonl:6: prompt: not that of the lines before"},
		"another task of the id":    {line(`"id":"3","task":"t","prompt":"r"`, `"id":"2","task":"u"`), `f.jsonl:6: task: "u", and "t" in the lines before`},
		"a second answer":           {line(`"id":"3","task":"t","prompt":"r"`, `"id":"2"`), `f.jsonl:6: model: a has answered id "2" already, in line 5`},
		"two objects in a line":     {line("}", "}") + line("}", "}"), "f.jsonl:6: "},
		"a prompt that is no UTF-8": {line(`"prompt":"r"`, "\"prompt\":\"\xff\""), "f.jsonl:6: "},
	} {
		_, err := Read(strings.NewReader(good+c.line+"\n"), "f.jsonl")
		if !errors.Is(err, ErrOutcomes) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	many := strings.Repeat("x\n", 100)
	if _, err := Read(strings.NewReader(many), "f"); err == nil || strings.Count(err.Error(), "\n") != maxFaults-1 {
		t.Errorf("a hundred faults: %v", err)
	}
}

// TestMissingAnswers: prompts that not every model has answered are left out and counted.
func TestMissingAnswers(t *testing.T) {
	answer := func(id, model string) string {
		return `{"id":"` + id + `","task":"t","prompt":"` + id + `","model":"` + model + `","score":1,"input_tokens":1,"output_tokens":1,"cost_usd":1}` + "\n"
	}
	s, err := Read(strings.NewReader(answer("1", "a")+answer("1", "b")+answer("2", "a")+answer("3", "a")+answer("4", "b")), "f")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Prompts) != 1 || s.Prompts[0].ID != "1" || !reflect.DeepEqual(s.LeftOut, []Missing{{"a", 1}, {"b", 2}}) {
		t.Errorf("%+v", s)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                {"\n", "there is no line"},
		"one model":              {answer("1", "a"), "to choose takes two models"},
		"no prompt answered all": {answer("1", "a") + answer("2", "b"), "no prompt of 2 has an answer of every model: a lacks 1, b lacks 1"},
	} {
		if _, err := Read(strings.NewReader(c.text), "f"); !errors.Is(err, ErrOutcomes) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
