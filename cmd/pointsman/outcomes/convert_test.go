package outcomes

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

// converted adds files of testdata and gives what is written of them.
func converted(t *testing.T, c *Converter, format string, files ...string) (*Converter, []string, error) {
	t.Helper()
	c.Known = builtin(t)
	for _, name := range files {
		f, err := os.Open("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := c.Add(format, name, f); err != nil {
			return c, nil, err
		}
	}
	var out bytes.Buffer
	if _, _, err := c.Write(&out); err != nil {
		t.Fatal(err)
	}
	return c, strings.Split(strings.TrimSpace(out.String()), "\n"), nil
}

// TestConvert: small tables in the shapes of the published files.
func TestConvert(t *testing.T) {
	for _, c := range []struct {
		name, format string
		converter    Converter
		files        []string
		want, notes  []string
	}{
		{
			"RouterBench", "routerbench",
			Converter{},
			[]string{"routerbench.csv"},
			[]string{
				`{"id":"trivia.val.0","task":"trivia","prompt":"Which bird cannot fly?\nA) A penguin\nB) A gull\nAnswer:","model":"big-model-1106","score":1,"input_tokens":21,"output_tokens":6,"cost_usd":0.00051}`,
				`{"id":"trivia.val.0","model":"vendor/small-chat","score":1,"input_tokens":21,"output_tokens":2,"cost_usd":0.000012}`,
				`{"id":"trivia.val.1","task":"trivia","prompt":"It's a dog's \"tail\" that wags?","model":"big-model-1106","score":1,"input_tokens":12,"output_tokens":2,"cost_usd":0.00042}`,
				`{"id":"trivia.val.1","model":"vendor/small-chat","score":0,"input_tokens":12,"output_tokens":2,"cost_usd":0.000011}`,
				`{"id":"talk.7","task":"talk","prompt":"Greet me in verse.\n\nNow in prose.","model":"vendor/small-chat","score":0.25,"input_tokens":12,"output_tokens":4,"cost_usd":0.000025}`,
			},
			[]string{"1 answers without a score or a cost: left out"},
		},
		{
			"RouteLLM", "routellm",
			Converter{Task: "eggs", Prices: map[string]Price{"small-8x7b": {0, 1000}, "big-1106": {10, 0}}},
			[]string{"routellm.csv"},
			[]string{
				`{"id":"eggs-1","task":"eggs","prompt":"How many eggs are left of 16 when \"three\" are eaten?","model":"big-1106","score":1,"input_tokens":18,"output_tokens":12,"cost_usd":0.00018}`,
				`{"id":"eggs-1","model":"small-8x7b","score":1,"input_tokens":18,"output_tokens":10,"cost_usd":0.01}`,
				`{"id":"eggs-2","task":"eggs","prompt":"A robe takes 2 bolts and half that much. How many?","model":"big-1106","score":1,"input_tokens":17,"output_tokens":2,"cost_usd":0.00017}`,
				`{"id":"eggs-2","model":"small-8x7b","score":0,"input_tokens":17,"output_tokens":4,"cost_usd":0.004}`,
			},
			nil,
		},
		{
			"RouteLLM, letters only", "routellm",
			Converter{Prices: map[string]Price{"small-8x7b": {1, 1}, "big-1106": {1, 1}}},
			[]string{"routellm-letters.csv"},
			[]string{
				`{"id":"routellm-letters-1","task":"routellm-letters","prompt":"Find the degree.\nA. 0\nB. 4\nAnswer:","model":"big-1106","score":0,"input_tokens":19,"output_tokens":1,"cost_usd":0.00002}`,
				`{"id":"routellm-letters-1","model":"small-8x7b","score":1,"input_tokens":19,"output_tokens":1,"cost_usd":0.00002}`,
			},
			[]string{"2 answers whose text is not in the file: one token is assumed"},
		},
		{
			"RouterArena", "routerarena",
			Converter{},
			[]string{"routerarena-small.jsonl", "routerarena-router.json"},
			[]string{
				`{"id":"Facts_12","task":"Facts","prompt":"Which moon is the largest?","model":"vendor_big","score":1,"input_tokens":31,"output_tokens":40,"cost_usd":0.00071}`,
				`{"id":"Facts_12","model":"vendor_small","score":1,"input_tokens":30,"output_tokens":4,"cost_usd":0.000004}`,
			},
			[]string{"2 answers without a score or a cost: left out", "1 further answers of a model to the same prompt: left out"},
		},
	} {
		converter, lines, err := converted(t, &c.converter, c.format, c.files...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !reflect.DeepEqual(lines, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(lines, "\n"), strings.Join(c.want, "\n"))
		}
		if notes := converter.Notes(); !reflect.DeepEqual(notes, c.notes) {
			t.Errorf("%s: notes %q", c.name, notes)
		}
	}
}

func TestConvertFaults(t *testing.T) {
	for name, c := range map[string]struct{ format, text, want string }{
		"an unknown format":       {"parquet", "x\n", "there are routerbench, routellm, routerarena"},
		"a pickle":                {"routerbench", "\x80\x04\x95rest", "pickle of Python"},
		"an empty table":          {"routerbench", "", "names of columns"},
		"another table":           {"routerbench", "a,b\n1,2\n", "f.csv has no column sample_id"},
		"no model":                {"routerbench", "sample_id,prompt,eval_name\n", "no pair of columns MODEL and MODEL|total_cost"},
		"a column twice":          {"routellm", "prompt,m,m\n", `column "m" is there twice`},
		"a row that is too short": {"routellm", "prompt,m\nx\n", "wrong number of fields"},
		"a score of words":        {"routellm", "prompt,m\nx,yes\n", `f.csv:2: m: "yes" is no score`},
		"a score above 1":         {"routerbench", "sample_id,prompt,eval_name,m,m|total_cost\n1,p,t,2,1\n", "f.csv:2: m: score of m: 2 is not between 0 and 1"},
		"a cost of words":         {"routerbench", "sample_id,prompt,eval_name,m,m|total_cost\n1,p,t,1,free\n", `f.csv:2: m|total_cost: "free" is no cost`},
		"an id twice":             {"routerbench", "sample_id,prompt,eval_name,m,m|total_cost\n1,p,t,1,1\n1,p,t,1,1\n", "f.csv:3: m: m has answered 1 already"},
		"no price":                {"routellm", "prompt,m\nx,True\n", "give --price m=IN/OUT"},
		"an empty file":           {"routerarena", " \n", "f.csv is empty"},
		"lines of something else": {"routerarena", `{"a":1}`, "f.csv:1: no index or no model"},
		"a list of something":     {"routerarena", `[{"global index":"a_1"}]`, "f.csv: element 1: no index or no model"},
		"a list that ends":        {"routerarena", `[{"global index":"a_1"`, "f.csv: element 1"},
		"half a line":             {"routerarena", `{"global_index":`, "f.csv:1: "},
	} {
		converter := &Converter{Known: builtin(t)}
		if err := converter.Add(c.format, "f.csv", strings.NewReader(c.text)); !errors.Is(err, ErrConvert) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestPythonTexts: lists of strings as Python prints them; anything else stays.
func TestPythonTexts(t *testing.T) {
	for text, want := range map[string]string{
		`['a']`:                       "a",
		`['a', "b's"]`:                "a\n\nb's",
		`['say "hi"\n\ttwice\\']`:     "say \"hi\"\n\ttwice\\",
		`['it\'s "both"']`:            `it's "both"`,
		`['größer \xa0 \u2028 κόσμ']`: "größer \u00a0 \u2028 κόσμ",
		`[]`:                          "",
		`plain`:                       "plain",
		`[1, 2]`:                      "[1, 2]",
		`['open`:                      "['open",
		`['a'] and more`:              "['a'] and more",
		`['bad \q']`:                  `['bad \q']`,
	} {
		if got := pythonTexts(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
