package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/catalog"
)

const tricky = `"a b" = 1 # c = 2
a.b . "c.d"	= 'x # y'
ml = """
[not.a.table]
x = \"""" # five quotes: ""
lit = '''
''' # after
arr = [ [1, 2], { k = "]", "q\u0041" = {} }, # }
  """]""", 1979-05-27 07:32:00,
]
inline = { x.y = 1,
  z = [] }
[t]
k = 0x1F
[t.u]
[[aot]]
n = 1
[[aot]]
n = 2
  [[aot.sub]]
  s = true
  [[aot.sub]]
  s = inf
  [aot.sub.deep.er]
  e = ""
[[aot]]
[aot.tab]
'é' = -1.5e3
`

// checkPlaces walks what the TOML package read and fails for anything the index does not know or places wrongly.
func checkPlaces(t *testing.T, x *index, p path, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			at, ok := x.places[p.key(key)]
			if !ok {
				t.Fatalf("%q has no place", p.key(key))
			}
			written := x.text[at.key.start:at.key.end]
			if plain := strings.Trim(written, `"'`); plain != key && !strings.Contains(written, `\`) {
				t.Fatalf("%q is placed at %q", p.key(key), written)
			}
			checkPlaces(t, x, p.key(key), value)
		}
	case []map[string]any:
		for i, e := range v {
			checkPlaces(t, x, p.at(i), e)
		}
	case []any:
		for i, e := range v {
			if _, ok := x.places[p.at(i)]; !ok {
				t.Fatalf("%q has no place", p.at(i))
			}
			checkPlaces(t, x, p.at(i), e)
		}
	}
}

func TestIndexPlacesEverything(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{tricky}
	for _, file := range append(files, reference) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	for _, text := range texts {
		values, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		x, err := newIndex(text)
		if err != nil {
			t.Fatal(err)
		}
		checkPlaces(t, x, "", values)
	}
}

func TestIndexPositions(t *testing.T) {
	x, err := newIndex(tricky)
	if err != nil {
		t.Fatal(err)
	}
	root := path("")
	aot := root.key("aot")
	for _, test := range []struct {
		p            path
		line, column int
		value        string
	}{
		{root.key("a b"), 1, 1, "1"},
		{root.key("a").key("b").key("c.d"), 2, 7, "'x # y'"},
		{root.key("arr").at(1).key("qA"), 8, 28, "{}"},
		{root.key("arr").at(3), 9, 12, "1979-05-27 07:32:00"},
		{root.key("inline").key("x").key("y"), 11, 14, "1"},
		{aot.at(1).key("n"), 19, 1, "2"},
		{aot.at(1).key("sub").at(1).key("s"), 23, 3, "inf"},
		{aot.at(1).key("sub").at(1).key("deep").key("er").key("e"), 25, 3, `""`},
		{aot.at(2).key("tab").key("é"), 28, 1, "-1.5e3"},
	} {
		at, ok := x.places[test.p]
		if !ok {
			t.Errorf("%q has no place", test.p)
			continue
		}
		line, column := lineColumn(tricky, at.key.start)
		if value := tricky[at.value.start:at.value.end]; line != test.line || column != test.column || value != test.value {
			t.Errorf("%q: %d:%d, value %s", test.p, line, column, value)
		}
	}
}

func TestTooDeep(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 1<<20), "a = " + strings.Repeat("[", 1<<20), "a = " + strings.Repeat("{a=", 1<<18), strings.Repeat("a.", 1<<18) + "a = 1"} {
		if _, err := Parse("x", []byte(text), environment()); err == nil {
			t.Errorf("%.10q… was read", text)
		}
	}
}

// Whatever the bytes: no panic, either a configuration that builds or an error, and places for all that TOML finds.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{reference, "testdata/*.toml", "testdata/faults/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte(tricky))
	env := environment("SET_SECRET=the-SECRET-value", "MOCK_KEY=k", "LAB_HOST=h", "LAB_TOKEN=t")
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		c, err := Parse("f.toml", data, env)
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v, error %v", c, err)
		}
		if err != nil && strings.Contains(err.Error(), "the-SECRET-value") {
			t.Fatalf("a secret is shown: %v", err)
		}
		if c != nil {
			if _, err := catalog.Build(c.Models); err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := c.WriteEffective(&b); err != nil {
				t.Fatal(err)
			}
			if _, err := decode(b.String()); err != nil {
				t.Fatalf("the effective configuration is not TOML: %v\n%s", err, b.String())
			}
		}
		text := strings.TrimPrefix(string(data), "\xef\xbb\xbf")
		x, err := newIndex(text)
		if err != nil {
			return
		}
		if values, err := decode(text); err == nil {
			checkPlaces(t, x, "", values)
		}
	})
}
