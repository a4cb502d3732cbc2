package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

const (
	judgesDir         = "../../examples/clients/judges"
	compatibilityDocs = "../../docs/compatibility.md"
	judgedBegin       = "<!-- The table is written by `go test ./cmd/pointsman -run TestOfficialClients -update` -->\n"
	judgedEnd         = "<!-- end of the table -->\n"
)

// judgment is what a judge says of one case.
type judgment struct {
	Judge, Version, Inbound, Upstream, Case string
	Stream, OK                              bool
	Detail                                  string
}

// TestOfficialClients has the official clients, unmodified, judge the gateway: each with its API in front of a strict
// provider of each dialect, buffered and streamed. scripts/test-setup.sh installs them.
func TestOfficialClients(t *testing.T) {
	t.Parallel()
	g := newGateway(t, judgedConfig(t), nil)
	programs := []struct {
		name, dir string
		command   func(*testing.T) []string
	}{
		{"python", "python", func(t *testing.T) []string {
			return []string{installed(t, "../../.cache/venv/bin/python"), "run.py", "openai_sdk", "anthropic_sdk"}
		}},
		{"frameworks", "python", func(t *testing.T) []string {
			return []string{installed(t, "../../.cache/frameworks/bin/python"), "run.py", "langchain_judges", "instructor_judges", "llamaindex_judges"}
		}},
		{"node", "node", func(t *testing.T) []string {
			installed(t, judgesDir+"/node/node_modules/.stamp")
			node, err := exec.LookPath("node")
			if err != nil {
				missing(t, "node")
			}
			return []string{node, "run.js"}
		}},
		{"go", "go", buildGoJudges},
	}
	results := make([][]judgment, len(programs))
	t.Run("by", func(t *testing.T) {
		for i, program := range programs {
			t.Run(program.name, func(t *testing.T) {
				t.Parallel()
				results[i] = runJudges(t, g, filepath.Join(judgesDir, program.dir), program.command(t))
				for _, j := range results[i] {
					t.Run(j.name(), func(t *testing.T) {
						if !j.OK {
							t.Error(j.Detail)
						}
					})
				}
			})
		}
	})
	if !slices.ContainsFunc(results, func(judged []judgment) bool { return judged == nil }) {
		checkCompatibilityDocs(t, slices.Concat(results...))
	}
}

// buildGoJudges builds the judges that are written in Go.
func buildGoJudges(t *testing.T) []string {
	installed(t, "../../.cache/judges-go")
	program := filepath.Join(t.TempDir(), "judges")
	// The official client is large, and not worth the time to optimize it.
	build := exec.Command("go", "build", "-gcflags=github.com/openai/openai-go/v3/...=-N -l", "-o", program, ".")
	build.Dir = judgesDir + "/go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return []string{program}
}

func (j judgment) name() string {
	form := "buffered"
	if j.Stream {
		form = "streamed"
	}
	return strings.Join([]string{j.Judge, j.Inbound, j.Upstream, form, j.Case}, "/")
}

// judgedConfig starts the providers and returns the configuration of a gateway with a model at each of them, which has
// names that clients of both vendors know.
func judgedConfig(t *testing.T) string {
	config := "[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n"
	for _, up := range []struct{ dialect, adapter, settings, names string }{
		{"chat", "openai", "", "gpt-4o claude-sonnet-4-5"},
		{"messages", "anthropic", "", "gpt-4o-mini claude-opus-4-5"},
		{"responses", "openai", "[providers.responses.settings]\napi = \"responses\"\n", "gpt-4.1 claude-haiku-4-5"},
	} {
		server, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		server.Script(strictScript(up.dialect, "sk-"+up.dialect))
		config += fmt.Sprintf("[providers.%s]\nadapter = %q\nbase_url = %q\napi_key = %q\nallow_private = true\n%s", up.dialect, up.adapter, server.URL()+"/v1", "sk-"+up.dialect, up.settings)
		for _, name := range strings.Fields(up.names) {
			config += judgedModel(name, up.dialect, 1, "0.002")
		}
	}
	return config + judgedModel("dear", "chat", 5, "20") + `
[[models]]
name = "text-embedding-3-small"
mode = "embedding"
tier = 1
credits_per_1k = 0.002
context_window = 8192
  [[models.deployments]]
  provider = "chat"
  upstream = "up-embedding"
  usd_in_per_1m = 1.0
`
}

func judgedModel(name, provider string, tier int, rate string) string {
	return fmt.Sprintf(`
[[models]]
name = %q
tier = %d
credits_per_1k = %s
context_window = 200000
max_output = 16384
capabilities = ["tools", "json_schema", "vision", "reasoning"]
  [[models.deployments]]
  provider = %q
  upstream = %q
  usd_in_per_1m = 1.0
  usd_out_per_1m = 2.0
`, name, tier, rate, provider, "up-"+name)
}

// runJudges runs a program that prints a judgment a line.
func runJudges(t *testing.T, g *testGateway, dir string, command []string) (out []judgment) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	cache, err := filepath.Abs("../../.cache/pycache") // not beside the sources
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "POINTSMAN_BASE_URL="+g.api.base, "POINTSMAN_API_KEY="+g.api.key, "PYTHONPYCACHEPREFIX="+cache)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, stderr.Bytes())
	}
	lines := bufio.NewScanner(&stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var j judgment
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		out = append(out, j)
	}
	if len(out) == 0 {
		t.Fatalf("no case was judged\n%s", stderr.Bytes())
	}
	return out
}

// checkCompatibilityDocs holds the tables of docs/compatibility.md to what was judged.
func checkCompatibilityDocs(t *testing.T, all []judgment) {
	data, err := os.ReadFile(compatibilityDocs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), judgedBegin)
	_, after, ok2 := strings.Cut(rest, judgedEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables", compatibilityDocs)
	}
	want := before + judgedBegin + judgedTables(all) + judgedEnd + after
	switch {
	case want == string(data):
	case *update:
		if err := os.WriteFile(compatibilityDocs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the tables of %s are not what the clients say: run the test with -update", compatibilityDocs)
	}
}

// judgedTables are the results by judge, and which judge has which cases.
func judgedTables(all []judgment) string {
	type row struct{ judge, inbound string }
	type cell struct {
		row
		upstream string
		stream   bool
	}
	var rows []row
	var judges []string
	passed, total := map[cell]int{}, map[cell]int{}
	versions, cases := map[string]string{}, map[string][]string{}
	for _, j := range all {
		r := row{j.Judge, j.Inbound}
		if !slices.Contains(rows, r) {
			rows = append(rows, r)
		}
		c := cell{r, j.Upstream, j.Stream}
		if total[c]++; j.OK {
			passed[c]++
		}
		versions[j.Judge] = j.Version
		by := j.Judge + " (" + j.Inbound + ")"
		if !slices.Contains(judges, by) {
			judges = append(judges, by)
		}
		if !slices.Contains(cases[j.Case], by) {
			cases[j.Case] = append(cases[j.Case], by)
		}
	}
	var b strings.Builder
	b.WriteString("| Client | Asks by | chat | messages | responses |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s %s | %s |", r.judge, versions[r.judge], r.inbound)
		for _, upstream := range []string{"chat", "messages", "responses"} {
			buffered, streamed := cell{r, upstream, false}, cell{r, upstream, true}
			fmt.Fprintf(&b, " %d/%d, %d/%d |", passed[buffered], total[buffered], passed[streamed], total[streamed])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%d cases by %d clients.\n", len(all), len(versions))
	b.WriteString("\n| Case | Judged by |\n|---|---|\n")
	for _, name := range caseOrder(cases) {
		fmt.Fprintf(&b, "| `%s`: %s | %s |\n", name, caseMeaning(name), judgedBy(cases[name], judges))
	}
	return b.String()
}

// caseOrder begins with the cases of most judges.
func caseOrder(cases map[string][]string) []string {
	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(cases[b]), len(cases[a])), cmp.Compare(a, b))
	})
	return names
}

// judgedBy names the judges of a case, or those that are missing if these are fewer.
func judgedBy(by, judges []string) string {
	var others []string
	for _, judge := range judges {
		if !slices.Contains(by, judge) {
			others = append(others, judge)
		}
	}
	switch {
	case len(others) == 0:
		return "all"
	case len(others) < len(by):
		return "all but " + strings.Join(others, ", ")
	}
	return strings.Join(by, ", ")
}

// caseMeaning says what a case is; a case that nobody has described shows up in the docs as such.
func caseMeaning(name string) string {
	return cmp.Or(map[string]string{
		"plain":          "a text, why it ended, the tokens with those from a cache",
		"conversation":   "a system prompt and three turns",
		"single":         "a call of a tool, its arguments, and the answer to its result",
		"parallel":       "two calls in one answer, and the answer to both results",
		"schema":         "an answer that keeps to a JSON schema, as the client's own object",
		"image":          "a picture beside the question",
		"length":         "an answer that the limit cuts, and that the client says so",
		"cost":           "the price, where the client shows what its API does not know",
		"wrong_key":      "the client's own error for 401",
		"unknown_model":  "the client's own error for 404",
		"refused":        "the client's own error for 400, with the provider's words",
		"async":          "`plain` by the asynchronous client",
		"raw_stream":     "the chunks one by one: the role once, the finish once, the usage last",
		"embeddings":     "vectors of two texts",
		"events":         "the events one by one: their order, their numbers",
		"reasoning":      "thinking of an Anthropic model in an API of OpenAI, with a call of a tool, sent back",
		"thinking":       "signed thinking, with a call of a tool, sent back",
		"count_tokens":   "tokens counted before asking",
		"models":         "the list of models, and one of them",
		"tools_mode":     "the object by way of a tool that must be called",
		"agent":          "the client's own loop of calls and results",
		"power_levels":   "a power level as the model's name and as a field, and which model answered",
		"gateway_errors": "what the gateway itself refuses, with its code and the field",
	}[name], "?")
}
