// Package scenario asks a policy about situations that are written down: a snapshot, a request, and what should come out.
//
// A file is TOML, or JSON of the same shape:
//
//	[models.gpt-4o]                        # what is known of a model, over the built-in catalog
//	health = "degraded"
//
//	[[case]]
//	name = "code goes to a strong model"
//	request = { power_level = "precision", task = "code", input_tokens = 2000 }
//	expect.first = "claude-sonnet-5.5"
//	expect.reason = "task"
//
// Requests use the names of the API: any field of a chat completion, the "pointsman" wishes without their object, and what
// the gateway would find out by itself (input_tokens, credits, account_tier, needs). docs/policies.md lists every key. A
// case without expect is compared with the golden file beside the scenario.
package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/go-json-experiment/json"

	"github.com/pointsman/pointsman/cmd/pointsman/project"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/policy"
)

// ErrScenario: a file cannot be read as scenarios; the text lists every mistake.
var ErrScenario = errors.New("scenario")

// File is one file of scenarios.
type File struct {
	Path   string
	Params map[string]string // [config], over the policy's own parameters; nil for none
	Cases  []Case
}

// Case is one situation.
type Case struct {
	Name   string
	Facts  *policy.Facts
	Expect *Expect // nil: the golden file says

	world *world
}

// Load reads a file of scenarios. The error wraps [ErrScenario].
func Load(path string) (*File, error) {
	values, err := decodeFile(path)
	if err != nil {
		return nil, err
	}
	var faults []string
	root := &fields{where: path, values: values, faults: &faults}
	f := &File{Path: path}
	if config := root.table("config"); len(config.values) > 0 {
		f.Params = map[string]string{}
		if err := project.Flatten(f.Params, "", config.values); err != nil {
			root.fault("config: %v", err)
		}
	}
	names := map[string]bool{}
	cases := append(root.tables("case"), root.tables("cases")...)
	common := overrides{models: root.table("models"), providers: root.table("providers")}
	for _, t := range cases {
		c, err := readCase(t, common)
		if err != nil {
			return nil, err
		}
		if names[c.Name] {
			t.fault("there are two cases of that name")
		}
		names[c.Name] = true
		f.Cases = append(f.Cases, c)
	}
	if len(cases) == 0 && len(faults) == 0 {
		root.fault("there is no [[case]]")
	}
	root.done()
	return f, wrong(faults)
}

// LoadRequest reads one request: a case in JSON or TOML, or the body of a chat completion as a client sends it. The error
// wraps [ErrScenario].
func LoadRequest(path string) (Case, error) {
	values, err := decodeFile(path)
	if err != nil {
		return Case{}, err
	}
	var faults []string
	t := &fields{where: path, values: values, faults: &faults}
	if _, isCase := values["request"]; !isCase {
		t.values = map[string]any{"request": values}
	}
	c, err := readCase(t, overrides{})
	if err != nil {
		return c, err
	}
	return c, wrong(faults)
}

// Question is a request to begin with: a short one, at the default power level.
func Question() (Case, error) {
	var faults []string
	c, err := readCase(&fields{where: "question", values: map[string]any{"request": map[string]any{}}, faults: &faults}, overrides{})
	if err != nil {
		return c, err
	}
	return c, wrong(faults)
}

func wrong(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	var once []string // a mistake in what is common to all cases is met in each
	for _, f := range faults {
		if !slices.Contains(once, f) {
			once = append(once, f)
		}
	}
	return fmt.Errorf("%w: %s", ErrScenario, strings.Join(once, "\n"))
}

// maxFile is the largest file that is read, in bytes.
const maxFile = 4 << 20

func decodeFile(path string) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScenario, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrScenario, path, maxFile)
	}
	var values map[string]any
	if filepath.Ext(path) == ".json" {
		if err := json.Unmarshal(data, &values); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrScenario, path, err)
		}
		return values, nil
	}
	if _, err := toml.Decode(string(data), &values); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%w: %s:%d:%d: %s", ErrScenario, path, syntax.Position.Line, syntax.Position.Col, syntax.Message)
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrScenario, path, err)
	}
	return values, nil
}

// readCase reads one case. Mistakes in it are noted; an error is one of the built-in catalog.
func readCase(t *fields, common overrides) (Case, error) {
	c := Case{Name: t.text("name", "")}
	if c.Name != "" {
		t.where = t.where[:strings.LastIndex(t.where, ": ")+2] + fmt.Sprintf("case %q", c.Name)
	}
	if c.Name == "" {
		c.Name = "request"
		if strings.Contains(t.where, ": case") {
			t.fault("a case needs a name")
		}
	}
	entries, err := catalog.Builtin()
	if err != nil {
		return c, err
	}
	models, err := catalog.Build(entries)
	if err != nil {
		return c, err
	}
	c.world = &world{catalog: models}
	c.world.fill(t, common, overrides{models: t.table("models"), providers: t.table("providers")})
	c.Facts = &policy.Facts{Snapshot: policy.Publish(policy.Snapshot{Generation: 1, WallMillis: 1_700_000_000_000, Candidates: c.world.candidates()})}
	c.Facts.Request = c.world.request(t.table("request"))
	c.Facts.History = c.world.history(t.tables("history"))
	c.state(t)
	if t.has("expect") {
		c.Expect = c.world.expect(t.table("expect"))
	}
	t.done()
	return c, nil
}

// state reads what a learning policy has learned so far.
func (c *Case) state(t *fields) {
	bytes := []byte(t.text("state", ""))
	if hex := t.text("state_hex", ""); hex != "" {
		if _, err := fmt.Sscanf(strings.ReplaceAll(hex, " ", ""), "%x", &bytes); err != nil {
			t.fault("state_hex must be hexadecimal digits")
		}
	}
	if len(bytes) > 0 {
		c.Facts.State = &policy.State{Number: 1, Bytes: bytes}
		c.Facts.Request.State = 1
	}
}
