// Command judges has the Go clients of OpenAI's API, unmodified, judge Pointsman: it prints a line of JSON for each case. It is
// a module of its own, so that the gateway does not depend on them. The cases are those of ../cases.json; see
// ../python/harness.py, which does the same.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
)

// cases are what all judges ask and what they must be told.
type cases struct {
	System string
	Plain  struct {
		Prompt, Text string
	}
	Conversation struct {
		Turns [][2]string
		Text  string
	}
	Tool struct {
		Name, Description string
		Parameters        map[string]any
	}
	Results          map[string]string
	Single, Parallel callsCase
	Schema           struct {
		Prompt, Name string
		Schema       map[string]any
		Value        person
	}
	Image struct {
		Prompt, Data, Text string
		MediaType          string `json:"media_type"`
	}
	Length struct {
		Prompt, Text string
		MaxTokens    int64 `json:"max_tokens"`
	}
	Refused struct {
		Prompt, Message string
	}
	Usage usage
	Cost  float64
}

type callsCase struct {
	Prompt, Text string
	Calls        []map[string]any
}

type person struct {
	Name      string   `json:"name"`
	Age       int      `json:"age"`
	Languages []string `json:"languages"`
}

// wants is one request.
type wants struct {
	model, system string
	stream        bool
	turns         []turn
	tools, schema bool
	maxTokens     int64
	key           string
}

// turn is one of the user ("user", "image"), of the assistant, or an answer with the results of its calls.
type turn struct {
	kind, text string
	answer     *answer
	results    []string
}

type answer struct {
	text   string
	calls  []call
	finish string // in the client's words
	usage  usage
	cost   string // "" if the client does not show it
	raw    any    // what the client wants back in the next turn
}

type call struct {
	id, name, args string
}

type usage struct {
	Input, Cached, Output int64
}

// judge is one client with one of its APIs.
type judge struct {
	name, version, inbound string
	stop, tools, length    string // why an answer ends, in the client's words
	ask                    func(wants) (*answer, error)
	status                 func(error) (int, string) // what the client's own error tells; 0 for any other
	showsCost              bool
	baseURL, key           string
	cases                  *cases
	upstream               string
	stream                 bool
}

// models has a name for each provider of the gateway.
func models(upstream string) string {
	return map[string]string{"chat": "gpt-4o", "messages": "gpt-4o-mini", "responses": "gpt-4.1"}[upstream]
}

func main() {
	data, err := os.ReadFile("../cases.json")
	var all cases
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	base, key := os.Getenv("POINTSMAN_BASE_URL")+"/v1", os.Getenv("POINTSMAN_API_KEY")
	for _, j := range []*judge{officialChat(base, &all), officialResponses(base, &all), communityChat(base, &all)} {
		j.cases, j.key = &all, key
		for _, upstream := range strings.Fields("chat messages responses") {
			for _, stream := range []bool{false, true} {
				j.upstream, j.stream = upstream, stream
				j.run()
			}
		}
	}
}

// versionOf is the version of a module that this program is built with.
func versionOf(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == module {
				return strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return "unknown"
}

func (j *judge) run() {
	for _, c := range []struct {
		name  string
		judge func() error
	}{
		{"plain", j.plain},
		{"conversation", j.conversation},
		{"single", func() error { return j.converse(&j.cases.Single) }},
		{"parallel", func() error { return j.converse(&j.cases.Parallel) }},
		{"schema", j.schema},
		{"image", j.image},
		{"length", j.cut},
		{"cost", j.cost},
		{"wrong_key", func() error { return j.fails(401, j.want("Hello", func(w *wants) { w.key = "pm-wrong" })) }},
		{"unknown_model", func() error { return j.fails(404, j.want("Hello", func(w *wants) { w.model = "no-such-model" })) }},
		{"refused", func() error { return j.fails(400, j.want(j.cases.Refused.Prompt, nil)) }},
	} {
		if c.name == "cost" && !j.showsCost {
			continue
		}
		line := struct {
			Judge    string `json:"judge"`
			Version  string `json:"version"`
			Inbound  string `json:"inbound"`
			Upstream string `json:"upstream"`
			Stream   bool   `json:"stream"`
			Case     string `json:"case"`
			OK       bool   `json:"ok"`
			Detail   string `json:"detail"`
		}{j.name, j.version, j.inbound, j.upstream, j.stream, c.name, true, ""}
		if err := c.judge(); err != nil {
			line.OK, line.Detail = false, err.Error()
		}
		out, err := json.Marshal(line)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(out))
	}
}

// want is a request of one turn of the user.
func (j *judge) want(prompt string, change func(*wants)) wants {
	w := wants{model: models(j.upstream), stream: j.stream, turns: []turn{{kind: "user", text: prompt}}, maxTokens: 1000, key: j.key}
	if change != nil {
		change(&w)
	}
	return w
}

func (j *judge) plain() error {
	a, err := j.ask(j.want(j.cases.Plain.Prompt, nil))
	if err != nil {
		return err
	}
	return errors.Join(same("text", a.text, j.cases.Plain.Text), same("calls", len(a.calls), 0), same("finish", a.finish, j.stop), same("usage", a.usage, j.cases.Usage))
}

func (j *judge) conversation() error {
	a, err := j.ask(j.want("", func(w *wants) {
		w.system, w.turns = j.cases.System, nil
		for _, t := range j.cases.Conversation.Turns {
			w.turns = append(w.turns, turn{kind: t[0], text: t[1]})
		}
	}))
	if err != nil {
		return err
	}
	return same("text", a.text, j.cases.Conversation.Text)
}

// converse has tools called and sends their results.
func (j *judge) converse(c *callsCase) error {
	w := j.want(c.Prompt, func(w *wants) { w.tools = true })
	a, err := j.ask(w)
	if err != nil {
		return err
	}
	var got []map[string]any
	var results []string
	for _, made := range a.calls {
		var args map[string]any
		if err := json.Unmarshal([]byte(made.args), &args); err != nil {
			return fmt.Errorf("arguments %s: %w", made.args, err)
		}
		city, _ := args["city"].(string)
		got, results = append(got, args), append(results, j.cases.Results[city])
		if err := same("name", made.name, j.cases.Tool.Name); err != nil {
			return err
		}
	}
	if err := errors.Join(same("arguments", got, c.Calls), same("finish", a.finish, j.tools)); err != nil {
		return err
	}
	w.turns = append(w.turns, turn{kind: "answer", answer: a, results: results})
	if a, err = j.ask(w); err != nil {
		return err
	}
	return errors.Join(same("text", a.text, c.Text), same("finish", a.finish, j.stop))
}

func (j *judge) schema() error {
	a, err := j.ask(j.want(j.cases.Schema.Prompt, func(w *wants) { w.schema = true }))
	if err != nil {
		return err
	}
	var got person
	return errors.Join(json.Unmarshal([]byte(a.text), &got), same("value", got, j.cases.Schema.Value))
}

func (j *judge) image() error {
	a, err := j.ask(j.want("", func(w *wants) { w.turns = []turn{{kind: "image", text: j.cases.Image.Prompt}} }))
	if err != nil {
		return err
	}
	return same("text", a.text, j.cases.Image.Text)
}

func (j *judge) cut() error {
	a, err := j.ask(j.want(j.cases.Length.Prompt, func(w *wants) { w.maxTokens = j.cases.Length.MaxTokens }))
	if err != nil {
		return err
	}
	return errors.Join(same("text", a.text, j.cases.Length.Text), same("finish", a.finish, j.length))
}

func (j *judge) cost() error {
	a, err := j.ask(j.want(j.cases.Plain.Prompt, nil))
	if err != nil {
		return err
	}
	var cost float64
	return errors.Join(json.Unmarshal([]byte(a.cost), &cost), same("cost", cost, j.cases.Cost))
}

func (j *judge) fails(status int, w wants) error {
	a, err := j.ask(w)
	if err == nil {
		return fmt.Errorf("not refused: %+v", a)
	}
	got, message := j.status(err)
	if got != status {
		return fmt.Errorf("status %d of %T: %w", got, err, err)
	}
	if status == 400 && !strings.Contains(message, j.cases.Refused.Message) {
		return fmt.Errorf("the provider's words are lost: %w", err)
	}
	return nil
}

// imageURL is the picture as a data URL.
func (c *cases) imageURL() string {
	return "data:" + c.Image.MediaType + ";base64," + c.Image.Data
}

func same(what string, got, want any) error {
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: got %+v, want %+v", what, got, want)
	}
	return nil
}
