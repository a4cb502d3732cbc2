package envelope

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"
)

func canonical(t testing.TB, body string, without ...string) []byte {
	t.Helper()
	e, err := Parse([]byte(body), DefaultLimits())
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return e.AppendCanonical(nil, []byte(body), without)
}

func TestCanonical(t *testing.T) {
	const plain = `{"model":"m","messages":[{"role":"user","content":"Hi"}],"user":"u","x":1}`
	for _, c := range []struct {
		name, a, b string
		without    []string
		same       bool
	}{
		{"order and space", plain, "{ \"x\" : 1,\n\"user\":\"u\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}] , \"model\":\"m\"}", nil, true},
		{"a member more", plain, plain[:len(plain)-1] + `,"y":null}`, nil, false},
		{"another value", plain, plain[:len(plain)-2] + `2}`, nil, false},
		{"left out, and not there", plain, `{"model":"m","messages":[{"role":"user","content":"Hi"}],"x":1}`, []string{"user"}, true},
		{"left out, written otherwise", plain, `{"model":"m","messages":[{"role":"user","content":"Hi"}],"\u0075ser":"other","x":1}`, []string{"user"}, true},
		{"what moves from one member to the next", `{"messages":[{"role":"user","content":"Hi"}],"a":"b","c":"d"}`, `{"messages":[{"role":"user","content":"Hi"}],"a":"b\",\"c","d":""}`, nil, false},
	} {
		if same := bytes.Equal(canonical(t, c.a, c.without...), canonical(t, c.b, c.without...)); same != c.same {
			t.Errorf("%s: the forms are equal: %v", c.name, same)
		}
	}
	body := []byte(plain)
	e, _ := Parse(body, DefaultLimits())
	if v := e.Value(body, "user"); string(v) != `"u"` || e.Value(body, "none") != nil {
		t.Errorf("the value of user is %q", v)
	}
}

// FuzzCanonical: two requests of the same form have the same members with the same values.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"Hi"}],"a":1}`), []byte(`{"a":1,"messages":[{"role":"user","content":"Hi"}]}`))
	f.Add([]byte(`{"messages":[{"role":"user","content":"Hi"}],"a":"b"}`), []byte(`{"messages":[{"role":"user","content":"Hi"}],"a":"c"}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var left, right Envelope
		if left.Parse(FormChat, a, DefaultLimits()) != nil || right.Parse(FormChat, b, DefaultLimits()) != nil {
			return
		}
		if !bytes.Equal(left.AppendCanonical(nil, a, nil), right.AppendCanonical(nil, b, nil)) {
			return
		}
		var x, y map[string]json.RawMessage
		if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
			return
		}
		if !maps.EqualFunc(x, y, func(v, w json.RawMessage) bool { return bytes.Equal(v, w) }) {
			t.Errorf("%s\n%s\nhave the same form", a, b)
		}
	})
}
