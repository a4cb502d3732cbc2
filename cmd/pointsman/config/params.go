package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
)

// params writes a [policies.NAME.config] table as the configuration text of sdk/abi: sorted "key=value" lines, nested
// keys joined with dots, list elements with commas. What that text cannot carry unambiguously is a fault.
func (t *table) params(policy string) string {
	t.secret = true
	var lines []string
	t.flatten("", &lines)
	if len(lines) == 0 {
		return ""
	}
	slices.SortFunc(lines, func(a, b string) int {
		keyA, _, _ := strings.Cut(a, "=")
		keyB, _, _ := strings.Cut(b, "=")
		return strings.Compare(keyA, keyB)
	})
	text := strings.Join(lines, "\n") + "\n"
	if len(text) > abi.MaxConfig {
		t.missing("the configuration of policy %q is larger than %d bytes", policy, abi.MaxConfig)
	}
	return text
}

func (t *table) flatten(prefix string, lines *[]string) {
	for _, key := range t.keys() {
		v, _ := t.get(key)
		p := t.path.key(key)
		if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == '=' || r == '.' || r == ',' }) {
			t.faultAt(p, "a policy's key must not be empty or hold spaces, dots, commas or =")
			continue
		}
		switch v := v.(type) {
		case map[string]any:
			t.child(key, t.title).flatten(prefix+key+".", lines)
		case []any:
			elements, written := make([]string, len(v)), make([]string, len(v))
			for i, e := range v {
				elements[i] = t.scalar(p.at(i), e)
				written[i] = elements[i]
				if raw, ok := e.(string); ok {
					written[i] = raw
				}
				if strings.Contains(elements[i], ",") {
					t.faultAt(p.at(i), "an element of a policy's list must not hold a comma")
				}
			}
			joined, raw := strings.Join(elements, ","), strings.Join(written, ",")
			if joined != raw {
				t.doc.references[joined] = raw
			}
			*lines = append(*lines, prefix+key+"="+joined)
		default:
			*lines = append(*lines, prefix+key+"="+t.scalar(p, v))
		}
	}
}

// scalar is one value as text.
func (t *table) scalar(p path, v any) string {
	switch v := v.(type) {
	case string:
		text := t.text(p, "a policy's value", v)
		if strings.ContainsAny(text, "\n\r\x00") {
			t.faultAt(p, "a policy's value must be one line")
		}
		return text
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	t.faultAt(p, "a policy's value must be a string, number, boolean or a list of them, not %s", typeName(v))
	return ""
}
