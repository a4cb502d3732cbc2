package scenario

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
)

// fields reads one table strictly: what has the wrong type and what nobody asked for is noted, with where it stands.
type fields struct {
	where  string
	values map[string]any
	known  []string
	faults *[]string
}

func (f *fields) fault(format string, args ...any) {
	*f.faults = append(*f.faults, f.where+": "+fmt.Sprintf(format, args...))
}

func (f *fields) get(key string) (any, bool) {
	f.known = append(f.known, key)
	v, ok := f.values[key]
	return v, ok && v != nil
}

func (f *fields) has(key string) bool {
	_, ok := f.get(key)
	return ok
}

// done notes the keys that nobody asked for.
func (f *fields) done() {
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if !slices.Contains(f.known, key) {
			f.fault("unknown key %q%s", key, instead(key, f.known))
		}
	}
}

// instead is the ending of a message about a word that is not known.
func instead(word string, known []string) string {
	known = slices.DeleteFunc(slices.Clone(known), func(k string) bool { return k == "" })
	if near := config.Nearest(word, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	slices.Sort(known)
	if known = slices.Compact(known); len(known) > 40 {
		return ""
	}
	return "; there is " + strings.Join(known, ", ")
}

func (f *fields) text(key, otherwise string) string {
	v, ok := f.get(key)
	if !ok {
		return otherwise
	}
	s, ok := v.(string)
	if !ok {
		f.fault("%s must be text", key)
	}
	return s
}

func (f *fields) flag(key string, otherwise bool) bool {
	v, ok := f.get(key)
	if !ok {
		return otherwise
	}
	b, ok := v.(bool)
	if !ok {
		f.fault("%s must be true or false", key)
	}
	return b
}

// number reads a number between lo and hi.
func (f *fields) number(key string, otherwise, lo, hi float64) float64 {
	v, ok := f.get(key)
	if !ok {
		return otherwise
	}
	var n float64
	switch v := v.(type) {
	case int64:
		n = float64(v)
	case float64:
		n = v
	default:
		f.fault("%s must be a number", key)
		return otherwise
	}
	if !(n >= lo && n <= hi) {
		f.fault("%s must be between %v and %v", key, lo, hi)
		return otherwise
	}
	return n
}

// whole reads a whole number between 0 and hi.
func (f *fields) whole(key string, otherwise, hi uint64) uint64 {
	n := f.number(key, float64(otherwise), 0, float64(hi))
	if n != math.Trunc(n) {
		f.fault("%s must be a whole number", key)
		return otherwise
	}
	return uint64(n)
}

// list reads an array of texts.
func (f *fields) list(key string) []string {
	v, ok := f.get(key)
	if !ok {
		return nil
	}
	elements, ok := v.([]any)
	if !ok {
		f.fault("%s must be a list of texts", key)
		return nil
	}
	var out []string
	for _, e := range elements {
		s, ok := e.(string)
		if !ok {
			f.fault("%s must hold texts only", key)
			return nil
		}
		out = append(out, s)
	}
	return out
}

// oneOf reads a word and gives its code.
func oneOf[T any](f *fields, key string, otherwise T, parse func(string) (T, bool), known ...string) T {
	if !f.has(key) {
		return otherwise
	}
	word := f.text(key, "")
	code, ok := parse(word)
	if !ok {
		f.fault("%s %q is not known%s", key, word, instead(word, known))
		return otherwise
	}
	return code
}

// table opens a table below this one; it is empty if it is not there.
func (f *fields) table(key string) *fields {
	v, ok := f.get(key)
	below := &fields{where: f.where + ": " + key, faults: f.faults}
	if !ok {
		return below
	}
	if below.values, ok = v.(map[string]any); !ok {
		f.fault("%s must be a table", key)
	}
	return below
}

// tables opens an array of tables, in either notation of TOML.
func (f *fields) tables(key string) []*fields {
	v, ok := f.get(key)
	if !ok {
		return nil
	}
	var elements []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		elements = v
	case []any:
		for _, e := range v {
			t, ok := e.(map[string]any)
			if !ok {
				f.fault("%s must hold tables only", key)
				return nil
			}
			elements = append(elements, t)
		}
	default:
		f.fault("%s must be an array of tables", key)
	}
	var out []*fields
	for i, values := range elements {
		out = append(out, &fields{where: fmt.Sprintf("%s: %s %d", f.where, key, i+1), values: values, faults: f.faults})
	}
	return out
}
