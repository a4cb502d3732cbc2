package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/storage"
)

// document collects what is wrong while a decoded file is read.
type document struct {
	file     string
	index    *index
	env      func(string) string
	faults   []Fault
	warnings []Fault
	// references maps what ${NAME} references became to the text with them, for printing without the values.
	references map[string]string
}

// table reads one table and remembers which keys it was asked for, so that the others can be reported. A table that is
// not in the file reads as empty.
type table struct {
	doc    *document
	path   path
	title  string // "[server]", for messages
	values map[string]any
	known  []string
	secret bool // no value may appear in a message
}

// at is where a key or element stands, or the nearest table around it. The second result is the offset of its value.
func (d *document) at(p path) (key, value int) {
	for {
		if at, ok := d.index.places[p]; ok {
			if at.value == (span{}) {
				return at.key.start, at.key.start
			}
			return at.key.start, at.value.start
		}
		i := strings.LastIndexAny(string(p), "\x00\x01")
		if i < 0 {
			return 0, 0
		}
		p = p[:i]
	}
}

func (d *document) make(offset, reveal int, format string, args ...any) Fault {
	line, column := lineColumn(d.index.text, offset)
	return Fault{File: d.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Excerpt: d.index.excerpt(offset, reveal)}
}

// maxFaults is how many faults are worth listing; finding the place of each costs a pass over the text before it.
const maxFaults = 100

// fault and warning note something at an offset; the value at reveal (an offset, or -1) may be shown.
func (d *document) fault(offset, reveal int, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, d.make(offset, reveal, format, args...))
	}
}

func (d *document) warning(offset int, format string, args ...any) {
	if len(d.warnings) < maxFaults {
		d.warnings = append(d.warnings, d.make(offset, -1, format, args...))
	}
}

// faultAt reports the value at a path.
func (t *table) faultAt(p path, format string, args ...any) {
	_, offset := t.doc.at(p)
	reveal := offset
	if t.secret {
		reveal = -1
	}
	t.doc.fault(offset, reveal, format, args...)
}

// fault reports the value of a key.
func (t *table) fault(key, format string, args ...any) { t.faultAt(t.path.key(key), format, args...) }

// missing reports the table for what it lacks.
func (t *table) missing(format string, args ...any) {
	offset, _ := t.doc.at(t.path)
	t.doc.fault(offset, -1, format, args...)
}

// warn notes something about a key, or about the table if it lacks the key.
func (t *table) warn(key, format string, args ...any) {
	offset, _ := t.doc.at(t.path.key(key))
	t.doc.warning(offset, format, args...)
}

// has says whether the key is in the file.
func (t *table) has(key string) bool {
	_, ok := t.get(key)
	return ok
}

func (t *table) get(key string) (any, bool) {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	v, ok := t.values[key]
	return v, ok
}

// done reports every key that nobody asked for.
func (t *table) done() {
	for _, key := range t.keys() {
		if !slices.Contains(t.known, key) {
			offset, _ := t.doc.at(t.path.key(key))
			t.doc.fault(offset, -1, "unknown key %.60q %s%s", key, t.title, meant(key, t.known))
		}
	}
}

// keys lists the table's keys in file order.
func (t *table) keys() []string {
	keys := make([]string, 0, len(t.values))
	for key := range t.values {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		atA, _ := t.doc.at(t.path.key(a))
		atB, _ := t.doc.at(t.path.key(b))
		return cmp.Or(cmp.Compare(atA, atB), cmp.Compare(a, b))
	})
	return keys
}

func (t *table) wrongType(p path, key, want string, got any) {
	t.faultAt(p, "%s must be %s, not %s", key, want, typeName(got))
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "a boolean"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	case []any:
		return "an array"
	}
	return "a date or time"
}

// child opens a table below this one.
func (t *table) child(key, title string) *table {
	c := &table{doc: t.doc, path: t.path.key(key), title: title, secret: t.secret}
	switch v, ok := t.get(key); values := v.(type) {
	case map[string]any:
		c.values = values
	default:
		if ok {
			t.wrongType(c.path, key, "a table", v)
		}
	}
	return c
}

// children opens the tables of an array of tables, in either notation.
func (t *table) children(key, title string) []*table {
	v, ok := t.get(key)
	var elements []any
	switch v := v.(type) {
	case []map[string]any:
		for _, e := range v {
			elements = append(elements, e)
		}
	case []any:
		elements = v
	default:
		if ok {
			t.wrongType(t.path.key(key), key, "an array of tables", v)
		}
	}
	var out []*table
	for i, e := range elements {
		p := t.path.key(key).at(i)
		values, ok := e.(map[string]any)
		if !ok {
			t.wrongType(p, "an element of "+key, "a table", e)
			continue
		}
		out = append(out, &table{doc: t.doc, path: p, title: title, values: values})
	}
	return out
}

// str reads a string with its ${NAME} references filled in.
func (t *table) str(key, otherwise string) string {
	v, ok := t.get(key)
	if !ok {
		return otherwise
	}
	return t.text(t.path.key(key), key, v)
}

// hidden is the table with values that no message may show. Keys asked for there must also be asked for here.
func (t *table) hidden() *table {
	h := *t
	h.secret = true
	return &h
}

func (t *table) text(p path, key string, v any) string {
	s, ok := v.(string)
	if !ok {
		t.wrongType(p, key, "a string", v)
		return ""
	}
	text, err := expand(s, t.doc.env)
	if err != nil {
		t.faultAt(p, "%s: %v", key, err)
	}
	if text != s {
		t.doc.references[text] = s
	}
	return text
}

// expand fills in ${NAME} references. The error names the variable and nothing else.
func expand(s string, env func(string) string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		name, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed || !isVariable(name) {
			return "", fmt.Errorf(`"${" does not start a reference like ${NAME}; write "$${" for the characters themselves`)
		}
		value := env(name)
		if value == "" {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		b.WriteString(value)
		s = rest
	}
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

// strs reads an array of strings.
func (t *table) strs(key string) []string {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	elements, isArray := v.([]any)
	if !isArray {
		t.wrongType(t.path.key(key), key, "an array of strings", v)
		return nil
	}
	out := make([]string, len(elements))
	for i, e := range elements {
		out[i] = t.text(t.path.key(key).at(i), "an element of "+key, e)
	}
	return out
}

// strMap reads a table of strings.
func (t *table) strMap(key, title string) map[string]string {
	c := t.child(key, title)
	c.secret = true
	if len(c.values) == 0 {
		return nil
	}
	out := make(map[string]string, len(c.values))
	for _, k := range c.keys() {
		out[k] = c.str(k, "")
	}
	return out
}

// flag reads a boolean.
func (t *table) flag(key string, otherwise bool) bool {
	v, ok := t.get(key)
	if !ok {
		return otherwise
	}
	b, isBool := v.(bool)
	if !isBool {
		t.wrongType(t.path.key(key), key, "true or false", v)
	}
	return b
}

// integer reads a whole number between lo and hi.
func (t *table) integer(key string, otherwise, lo, hi int64) int64 {
	v, ok := t.get(key)
	if !ok {
		return otherwise
	}
	n, isInt := v.(int64)
	switch {
	case !isInt:
		t.wrongType(t.path.key(key), key, "a whole number", v)
	case n < lo || n > hi:
		t.fault(key, "%s must be between %d and %d", key, lo, hi)
	default:
		return n
	}
	return otherwise
}

// numberOrZero reads a number from 0 to hi.
func (t *table) numberOrZero(key string, otherwise, hi float64) float64 {
	if v, _ := t.get(key); v == int64(0) || v == float64(0) {
		return 0
	}
	return t.number(key, otherwise, 0, hi)
}

// number reads a number above lo and at most hi.
func (t *table) number(key string, otherwise, lo, hi float64) float64 {
	v, ok := t.get(key)
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
		t.wrongType(t.path.key(key), key, "a number", v)
		return otherwise
	}
	if !(n > lo && n <= hi) {
		t.fault(key, "%s must be above %v and at most %v", key, lo, hi)
		return otherwise
	}
	return n
}

// credits reads an amount exactly: a fraction is taken from the text of the file, never through a binary float.
func (t *table) credits(key string, otherwise, limit storage.Credits) storage.Credits {
	text, ok := t.decimal(key)
	if !ok {
		return otherwise
	}
	n, err := storage.ParseCredits(text)
	if err != nil || n < 0 || n > limit {
		t.fault(key, "%s must be a decimal number of credits between 0 and %s with at most 6 fractional digits", key, limit)
		return otherwise
	}
	return n
}

// percents reads an array of fractions above 0 and up to 1, in whole percents, and puts it in ascending order.
func (t *table) percents(key string, otherwise []int) []int {
	v, ok := t.get(key)
	if !ok {
		return otherwise
	}
	elements, isArray := v.([]any)
	if !isArray {
		t.wrongType(t.path.key(key), key, "an array of numbers", v)
	}
	percents := make([]int, 0, len(elements))
	for i, e := range elements {
		part, isFloat := e.(float64)
		if whole, isInt := e.(int64); isInt {
			part, isFloat = float64(whole), true
		}
		percent := math.Round(part * 100)
		if !isFloat || !(percent >= 1 && percent <= 100) || math.Abs(part*100-percent) > 1e-6 {
			t.faultAt(t.path.key(key).at(i), "an element of %s must be a number from 0.01 to 1, in whole hundredths", key)
			continue
		}
		percents = append(percents, int(percent))
	}
	slices.Sort(percents)
	return slices.Compact(percents)
}

// decimal gives the text of a number, or of a string that should hold one.
func (t *table) decimal(key string) (string, bool) {
	v, ok := t.get(key)
	if !ok {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return t.text(t.path.key(key), key, v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64), true
		}
		at := t.doc.index.places[t.path.key(key)].value
		return strings.ReplaceAll(strings.TrimPrefix(t.doc.index.text[at.start:at.end], "+"), "_", ""), true
	}
	t.wrongType(t.path.key(key), key, "a decimal number", v)
	return "", false
}

// oneOf reads a string out of a list.
func (t *table) oneOf(key, otherwise string, allowed []string) string {
	if !t.has(key) {
		return otherwise
	}
	before := len(t.doc.faults)
	s := t.str(key, otherwise)
	if len(t.doc.faults) == before && !slices.Contains(allowed, s) {
		t.fault(key, "%s %.60q is not known%s", key, t.raw(key), instead(s, allowed))
		return otherwise
	}
	return s
}

// raw is a string as the file has it: messages quote it rather than what the environment put in its place.
func (t *table) raw(key string) string {
	s, _ := t.values[key].(string)
	return s
}
