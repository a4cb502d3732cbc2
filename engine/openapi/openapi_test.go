package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// TestDocuments holds both documents to what OpenAPI wants and no schema can say: references lead somewhere, what can be referred
// to is, operations have names of their own and known tags.
func TestDocuments(t *testing.T) {
	for name, text := range map[string][]byte{"api": API(), "admin": Admin()} {
		t.Run(name, func(t *testing.T) {
			var doc map[string]any
			if err := json.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
			referred := map[string]bool{}
			walk(doc, func(key string, value any) {
				ref, isRef := value.(string)
				switch {
				case strings.HasPrefix(key, "x-"):
					t.Errorf("%s is left", key)
				case key == "$ref" && isRef:
					referred[ref] = true
					if resolve(doc, ref) == nil {
						t.Errorf("%s leads nowhere", ref)
					}
				}
			})
			for kind, all := range doc["components"].(map[string]any) {
				for component := range all.(map[string]any) {
					if ref := "#/components/" + kind + "/" + component; !referred[ref] && kind != "securitySchemes" {
						t.Errorf("nothing refers to %s", ref)
					}
				}
			}
			checkOperations(t, doc)
		})
	}
}

func checkOperations(t *testing.T, doc map[string]any) {
	tags, ids := map[string]bool{}, map[string]string{}
	for _, tag := range doc["tags"].([]any) {
		tags[tag.(map[string]any)["name"].(string)] = true
	}
	for path, item := range doc["paths"].(map[string]any) {
		for _, method := range methods() {
			op, ok := item.(map[string]any)[method].(map[string]any)
			if !ok {
				continue
			}
			where := method + " " + path
			id := op["operationId"].(string)
			if ids[id] != "" {
				t.Errorf("%s and %s are both called %s", where, ids[id], id)
			}
			ids[id] = where
			for _, tag := range op["tags"].([]any) {
				if !tags[tag.(string)] {
					t.Errorf("%s: no such tag: %s", where, tag)
				}
			}
			if op["summary"] == nil {
				t.Errorf("%s has no summary", where)
			}
			if responses := op["responses"].(map[string]any); responses["500"] == nil {
				t.Errorf("%s: the answers that every operation has are missing: %v", where, slices.Sorted(maps.Keys(responses)))
			}
		}
	}
	walk(doc, func(key string, value any) {
		if id, isText := value.(string); key == "operationId" && isText && ids[id] == "" {
			t.Errorf("a link leads to %s, which is no operation", id)
		}
	})
}

// walk visits every member of every object.
func walk(value any, visit func(key string, value any)) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			visit(key, member)
			walk(member, visit)
		}
	case []any:
		for _, member := range v {
			walk(member, visit)
		}
	}
}

func resolve(doc any, ref string) any {
	for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		members, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = members[step]
	}
	return doc
}

// TestAssemble completes a small document.
func TestAssemble(t *testing.T) {
	const codes = `{
		"codes": [{"code":"gone","status":["404"],"when":"g"},{"code":"odd","status":["4XX"],"when":"o"},{"code":"broken","status":["500"],"when":"b"}],
		"groups": {"any":["broken"],"more":["gone","odd"]},
		"headers": {"all":["A","B"]}
	}`
	got, err := assemble([]byte(codes), [][]byte{
		[]byte(`{"openapi":"3.1.0","tags":[{"name":"one"}]}`),
		[]byte(`{"paths":{"/v1/z":{"get":{"operationId":"getZ","tags":["one"],"summary":"s","responses":{"200":{"description":"d","headers":["all"]}},"x-errors":{"codes":["more"],"headers":["B"]}}}}}`),
		[]byte(`{"paths":{"/a":{"parameters":[],"get":{"operationId":"getA","tags":["one"],"responses":{}}}},"tags":[{"name":"two"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Tags  []any
		Paths map[string]map[string]struct {
			OperationID string
			Tags        []string
			Responses   map[string]map[string]any
		}
		Components struct {
			Responses map[string]struct {
				Description string
				Headers     map[string]any
			}
		}
	}
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(got), `"parameters":[],`, "")), &doc); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if order := strings.Index(string(got), `"/v1/z"`) < strings.Index(string(got), `"/a"`); !order || len(doc.Tags) != 2 {
		t.Errorf("order or tags are lost: %s", got)
	}
	if paths := slices.Sorted(maps.Keys(doc.Paths)); fmt.Sprint(paths) != "[/a /api/v1/llm/z /api/v1/z /v1/z]" {
		t.Errorf("paths are %v", paths)
	}
	if other := doc.Paths["/api/v1/llm/z"]["get"]; other.OperationID != "getZAtApiV1Llm" || fmt.Sprint(other.Tags) != "[Other paths]" {
		t.Errorf("the other path is %+v", other)
	}
	z := doc.Paths["/v1/z"]["get"].Responses
	if headers := fmt.Sprint(slices.Sorted(maps.Keys(z["200"]["headers"].(map[string]any)))); headers != "[A B X-Request-Id]" {
		t.Errorf("headers are %s", headers)
	}
	if statuses := fmt.Sprint(slices.Sorted(maps.Keys(z))); statuses != "[200 404 4XX 500]" {
		t.Errorf("statuses are %s", statuses)
	}
	missing := doc.Components.Responses["Error404"]
	if !strings.Contains(missing.Description, "`gone`: g") || !strings.Contains(missing.Description, "`odd`: o") || missing.Headers["B"] == nil {
		t.Errorf("the answer to errors is %+v", missing)
	}
}

// TestAssembleFaults plants mistakes and sees them found.
func TestAssembleFaults(t *testing.T) {
	const one = `{"paths":{"/a":{"get":{"operationId":"a","responses":{}}}}}`
	for _, c := range []struct {
		name, codes string
		fragments   []string
		want        string
	}{
		{"a path twice", `{"codes":[]}`, []string{one, one}, `"/a" is there twice`},
		{"a component twice", `{"codes":[]}`, []string{`{"components":{"schemas":{"A":{}}}}`, `{"components":{"schemas":{"A":{}}}}`}, `"A" is there twice`},
		{"a member twice", `{"codes":[]}`, []string{`{"info":1}`, `{"info":2}`}, `"info" is there twice`},
		{"an unknown code", `{"codes":[]}`, []string{one}, `no error code or group "any"`},
		{"no JSON", `{"codes":[]}`, []string{`{"paths":}`}, "invalid character"},
		{"no object", `{"codes":[]}`, []string{`[]`}, "not an object"},
		{"no table", `[]`, nil, "error codes"},
	} {
		fragments := make([][]byte, len(c.fragments))
		for i, f := range c.fragments {
			fragments[i] = []byte(f)
		}
		if _, err := assemble([]byte(c.codes), fragments); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// TestHandler asks for a document again.
func TestHandler(t *testing.T) {
	serve := Handler(func() []byte { return []byte(`{"openapi":"3.1.0"}`) })
	ask := func(known string) *fasthttp.RequestCtx {
		ctx := new(fasthttp.RequestCtx)
		if known != "" {
			ctx.Request.Header.Set("If-None-Match", known)
		}
		serve(ctx)
		return ctx
	}
	first := ask("")
	tag := string(first.Response.Header.Peek("ETag"))
	if string(first.Response.Body()) != `{"openapi":"3.1.0"}` || len(tag) != 34 || string(first.Response.Header.ContentType()) != "application/json" {
		t.Fatalf("the first answer is %s", &first.Response)
	}
	for _, c := range []struct {
		known  string
		status int
	}{
		{tag, 304}, {"W/" + tag, 304}, {`"old", ` + tag, 304}, {"*", 304}, {`"old"`, 200}, {tag[:33], 200},
	} {
		again := ask(c.known)
		if got := again.Response.StatusCode(); got != c.status || (got == 304) != (len(again.Response.Body()) == 0) {
			t.Errorf("If-None-Match %s: status %d with %d bytes", c.known, got, len(again.Response.Body()))
		}
		if string(again.Response.Header.Peek("ETag")) != tag || len(again.Response.Header.Peek("Cache-Control")) == 0 {
			t.Errorf("If-None-Match %s: the headers are missing", c.known)
		}
	}
}
