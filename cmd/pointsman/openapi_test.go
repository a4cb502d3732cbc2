package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/openapi"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// apiOperation is one operation of an OpenAPI document.
type apiOperation struct {
	path, method string
	keyless      bool
}

func readDocument(t *testing.T, text []byte) (operations []apiOperation, codes []string) {
	t.Helper()
	var doc struct {
		Security   []map[string]any
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct{ Enum []any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var op struct{ Security *[]map[string]any }
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatal(err)
			}
			if op.Security == nil {
				op.Security = &doc.Security
			}
			keyless := len(*op.Security) == 0 || slices.ContainsFunc(*op.Security, func(s map[string]any) bool { return len(s) == 0 })
			operations = append(operations, apiOperation{path, strings.ToUpper(method), keyless})
		}
	}
	for _, code := range doc.Components.Schemas["ErrorCode"].Enum {
		codes = append(codes, code.(string))
	}
	return operations, codes
}

// TestOpenAPIRoutes compares what is described with what is served, both ways.
func TestOpenAPIRoutes(t *testing.T) {
	g := newGateway(t, "", nil)
	for _, c := range []struct {
		name     string
		document []byte
		routes   engine.Routes
	}{
		{"api", openapi.API(), g.engine.Routes()},
		{"admin", openapi.Admin(), admin.Routes(g.adminConfig())},
	} {
		described, served := map[string]bool{}, map[string]bool{}
		operations, _ := readDocument(t, c.document)
		for _, op := range operations {
			route, _, _ := strings.Cut(op.path, "{") // a route takes any end, the document says which
			described[op.method+" "+route] = true
		}
		for route, methods := range c.routes {
			for method := range methods {
				served[method+" "+route] = true
			}
		}
		for _, one := range slices.Sorted(maps.Keys(served)) {
			if !described[one] {
				t.Errorf("%s: %s is served and not described", c.name, one)
			}
		}
		for _, one := range slices.Sorted(maps.Keys(described)) {
			if !served[one] {
				t.Errorf("%s: %s is described and not served", c.name, one)
			}
		}
	}
}

// TestOpenAPIErrorCodes compares the codes that are described with those of the source, both ways.
func TestOpenAPIErrorCodes(t *testing.T) {
	produced := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.isTest() || !matchesAny([]string{"engine", "engine/admin", "engine/envelope"}, f.dir()) {
			continue
		}
		codes, unclear := errorCodes(f)
		for _, code := range codes {
			produced[code] = true
		}
		for _, place := range unclear {
			t.Errorf("%s: the code of an error can only be described if it is a constant there", place)
		}
	}
	if len(produced) < 40 {
		t.Fatalf("only %d codes found: the search is broken", len(produced))
	}
	for name, document := range map[string][]byte{"api": openapi.API(), "admin": openapi.Admin()} {
		_, described := readDocument(t, document)
		for _, code := range slices.Sorted(maps.Keys(produced)) {
			if !slices.Contains(described, code) {
				t.Errorf("%s: %s is not described: add it to engine/openapi/both/errors.json and to the operations that answer with it", name, code)
			}
		}
		for _, code := range described {
			if !produced[code] {
				t.Errorf("%s: nothing answers with %s", name, code)
			}
		}
	}
}

// errorCodes finds the codes of errors in a file: what is given to a member or variable Code, to a function that makes a fault,
// to a constant whose name begins with Code, or stands behind a status in a table. unclear are places where it is none of the
// expressions that only pass a code on.
func errorCodes(f *sourceFile) (codes, unclear []string) {
	passedOn := []string{"code", "err.Code", "f.Code", "known.code", "kind.Code"}
	take := func(value ast.Expr) {
		if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if code, err := strconv.Unquote(lit.Value); err == nil {
				codes = append(codes, code)
			}
			return
		}
		text := types.ExprString(value)
		if !slices.Contains(passedOn, text) && !strings.HasPrefix(text, "Code") && !strings.HasPrefix(text, "envelope.Code") {
			unclear = append(unclear, fmt.Sprintf("%s:%d: %s", f.path, f.line(value.Pos()), text))
		}
	}
	argument := map[string]int{"badRequest": 0, "notFound": 0, "forbidden": 0, "headersTooLarge": 0, "fault": 2} // which is the code
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name, _ := n.Fun.(*ast.Ident)
			if name == nil {
				break
			}
			if i, makes := argument[name.Name]; makes && len(n.Args) > i {
				take(n.Args[i])
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
				take(n.Value)
			}
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if member, ok := to.(*ast.SelectorExpr); ok && member.Sel.Name == "Code" && len(n.Rhs) == len(n.Lhs) {
					take(n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if strings.HasPrefix(name.Name, "Code") && i < len(n.Values) {
					take(n.Values[i])
				}
			}
		case *ast.CompositeLit:
			for i := 1; i < len(n.Elts); i++ {
				if strings.HasPrefix(types.ExprString(n.Elts[i-1]), "fasthttp.Status") {
					take(n.Elts[i])
				}
			}
		}
		return true
	})
	return codes, unclear
}

// TestOpenAPIErrorCodeSearch plants codes and sees them found.
func TestOpenAPIErrorCodeSearch(t *testing.T) {
	f := parseSource(t, "engine/x.go", `package engine
const CodeOne = "one"
func f(ctx int) {
	badRequest("two", "p", "m").Write(ctx)
	g := &Fault{Status: 400, Code: "three"}
	g.Status, g.Code = 500, "four"
	fault(ctx, 404, "five", "", "")
	h := []struct{ err error; status int; code string }{{nil, fasthttp.StatusConflict, "six"}}
	g.Code = fromEnvelope(err).Code + "x"
	g.Code = err.Code
}`)
	codes, unclear := errorCodes(f)
	if fmt.Sprint(codes) != "[one two three four five six]" || len(unclear) != 1 || !strings.HasPrefix(unclear[0], "engine/x.go:9") {
		t.Errorf("found %v, unclear %v", codes, unclear)
	}
}

// TestOpenAPIKeys calls every operation without a key, with a wrong one, and with that of the other API, and its path with a
// method that no path takes.
func TestOpenAPIKeys(t *testing.T) {
	g := newGateway(t, "", nil)
	parameter := regexp.MustCompile(`\{[^}]*\}`)
	refused := 0
	for _, c := range []struct {
		name, base string
		wrongKeys  []string
	}{
		{"api", g.api.base, []string{"", "pm-wrong", g.admin.key}},
		{"admin", g.admin.base, []string{"", "sk-pointsman-wrong", g.api.key}},
	} {
		resp, text := newClient(c.base, "").send(t, "GET", "/openapi.json", nil)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: the document is not there: %s", c.name, resp.Status)
		}
		operations, _ := readDocument(t, []byte(text))
		for _, op := range operations {
			for _, key := range c.wrongKeys {
				resp, body := newClient(c.base, key).send(t, op.method, parameter.ReplaceAllString(op.path, "x"), nil)
				if got := resp.StatusCode == http.StatusUnauthorized && strings.Contains(body, `"invalid_api_key"`); got == op.keyless {
					t.Errorf("%s: %s %s with key %.12q: %s %s", c.name, op.method, op.path, key, resp.Status, body)
				}
				if !op.keyless {
					refused++
				}
			}
			resp, _ := newClient(c.base, "").send(t, "PROPFIND", parameter.ReplaceAllString(op.path, "x"), nil)
			if resp.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(resp.Header.Get("Allow"), op.method) {
				t.Errorf("%s: PROPFIND %s: %s, Allow: %s", c.name, op.path, resp.Status, resp.Header.Get("Allow"))
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d calls were refused: the operations are not found", refused)
	}
}

// TestOpenAPIConformance lets programs that know only the documents use both servers: one sends their examples and wants
// success, the other, schemathesis, sends what they allow and what they forbid. Answers must be as the documents say.
// scripts/test-setup.sh installs what they need.
func TestOpenAPIConformance(t *testing.T) {
	t.Parallel()
	python := installed(t, "../../.cache/schemathesis/bin/python")
	up, err := scripted.Start(scripted.Options{}) // asked with the own keys that the tests store
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	up.Script(answerOperation)
	toml := fmt.Sprintf(`
[providers.openai]
base_url = %q
allow_private = true
[providers.media]
adapter = "openai"
base_url = %q
api_key = "sk-media"
allow_private = true
`, up.URL()+"/v1", up.URL()+"/v1")
	for name, rate := range map[string]string{
		"gpt-image-1": "image", "gpt-4o-mini-tts": "speech", "whisper-1": "transcription", "omni-moderation-latest": "moderation", "rerank-3.5": "rerank",
	} {
		toml += fmt.Sprintf("[[models]]\nname = %q\nmode = %q\ntier = 5\ncredits_per_unit = 1\nunpriced = \"free\"\ndeployments = [{ provider = \"media\", upstream = \"m\" }]\n", name, rate)
	}
	toml += fmt.Sprintf("[policies.eco-next]\nfile = %q\nshadow_of = \"eco\"\n", testdata(t, "../../../policies/builtin/eco.wasm"))
	g := newGateway(t, toml+"[log]\nbodies = true\n", nil)
	kek := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(kek, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	grant := map[string]string{"amount": "100000000", "reference": "plenty"}
	if err := g.admin.call("POST", "/api/v1/admin/accounts/default/credits", grant, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		client *client
	}{
		{"api", g.api}, {"admin", g.admin},
	} {
		t.Run(c.name+"/examples", func(t *testing.T) {
			out := runProgram(t, python, testdata(t, "openapi/examples.py"), c.client.base, c.client.key, testdata(t, "../../../policies/builtin/eco.wasm"), kek)
			t.Logf("%s", out)
		})
		t.Run(c.name+"/schemathesis", func(t *testing.T) {
			out := runProgram(t, filepath.Join(filepath.Dir(python), "schemathesis"), "--no-color", "--config-file", testdata(t, "openapi/schemathesis.toml"),
				"run", c.client.base+"/openapi.json", "--exclude-tag", "Other paths", "-H", "Authorization: Bearer "+c.client.key)
			t.Logf("%s", out)
		})
	}
}

// answerOperation answers for what the simulator does not offer.
func answerOperation(r *scripted.Request) *scripted.Reply {
	answers := map[string]string{
		"/images/generations": `{"created":1,"data":[{"b64_json":"AAAA"}]}`, "/audio/transcriptions": `{"text":"hello"}`, "/audio/translations": `{"text":"hello"}`,
		"/moderations": `{"id":"m","model":"m","results":[{"flagged":false}]}`, "/rerank": `{"results":[{"index":0,"relevance_score":0.9}]}`,
	}
	path := strings.TrimPrefix(r.Path, "/v1")
	switch {
	case path == "/audio/speech":
		return &scripted.Reply{Header: map[string]string{"Content-Type": "audio/mpeg"}, Body: []byte("sound")}
	case answers[path] != "":
		return &scripted.Reply{Body: []byte(answers[path])}
	}
	return nil
}

// testdata is the absolute path of a file below testdata.
func testdata(t *testing.T, name string) string {
	t.Helper()
	absolute, err := filepath.Abs(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

// runProgram runs a program in a directory of its own and returns what it prints. Its failure is the test's.
func runProgram(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
