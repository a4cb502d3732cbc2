package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

const (
	maxSchemaDepth  = 32
	maxSchemaValues = 2000 // a small schema can describe a value of any size
)

// schema is the part of JSON Schema that a plausible smallest value needs.
type schema struct {
	Ref        string                     `json:"$ref"`
	Defs       map[string]json.RawMessage `json:"$defs"`
	OldDefs    map[string]json.RawMessage `json:"definitions"`
	Type       json.RawMessage            `json:"type"` // a name or a list of names
	Const      json.RawMessage            `json:"const"`
	Enum       []json.RawMessage          `json:"enum"`
	Default    json.RawMessage            `json:"default"`
	AnyOf      []json.RawMessage          `json:"anyOf"`
	OneOf      []json.RawMessage          `json:"oneOf"`
	AllOf      []json.RawMessage          `json:"allOf"`
	Properties map[string]json.RawMessage `json:"properties"`
	Required   []string                   `json:"required"`
	Items      json.RawMessage            `json:"items"`
	MinItems   int                        `json:"minItems"`
	MinLength  int                        `json:"minLength"`
	MaxLength  *int                       `json:"maxLength"`
	Format     string                     `json:"format"`
	Minimum    *float64                   `json:"minimum"`
	Maximum    *float64                   `json:"maximum"`
	Above      *float64                   `json:"exclusiveMinimum"`
}

// builder makes a value for a schema.
type builder struct {
	root     schema
	question string
	depth    int
	values   int
}

// valueText returns the JSON text of a plausible smallest value for a schema; without a schema it is an empty object.
func valueText(text json.RawMessage, question string) (string, error) {
	if len(text) == 0 || string(text) == "null" {
		return "{}", nil
	}
	b := &builder{question: question}
	if err := json.Unmarshal(text, &b.root); err != nil {
		return "", badRequest("", "the JSON schema cannot be read")
	}
	value, err := b.value(text, "")
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encoding a simulated value: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// value returns a value for the schema of the property of that name.
func (b *builder) value(text json.RawMessage, name string) (any, error) {
	b.depth++
	defer func() { b.depth-- }()
	if b.values++; b.depth > maxSchemaDepth || b.values > maxSchemaValues {
		return nil, badRequest("", "the JSON schema is too large for the simulator")
	}
	var s schema
	if string(text) == "true" {
		return "example", nil
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, badRequest("", "the JSON schema cannot be read")
	}
	switch {
	case s.Const != nil:
		return s.Const, nil
	case len(s.Enum) > 0:
		return s.Enum[0], nil
	case s.Default != nil:
		return s.Default, nil
	case s.Ref != "":
		target, err := b.resolve(s.Ref)
		if err != nil {
			return nil, err
		}
		return b.value(target, name)
	case len(s.AnyOf) > 0:
		return b.value(firstOf(s.AnyOf), name)
	case len(s.OneOf) > 0:
		return b.value(firstOf(s.OneOf), name)
	case len(s.AllOf) > 0:
		return b.all(s, name)
	}
	kind := s.kind()
	if b.depth == 1 && len(s.Type) == 0 && kind == "string" {
		kind = "object" // arguments and structured answers are objects unless the schema says otherwise
	}
	switch kind {
	case "object":
		return b.object(s)
	case "array":
		return b.array(s, name)
	case "integer":
		return math.Ceil(s.number()), nil
	case "number":
		return s.number(), nil
	case "boolean":
		return true, nil
	case "null":
		return nil, nil
	}
	return b.text(s, name), nil
}

// firstOf prefers an alternative that is not null.
func firstOf(alternatives []json.RawMessage) json.RawMessage {
	for _, text := range alternatives {
		var s schema
		if json.Unmarshal(text, &s) == nil && s.kind() != "null" {
			return text
		}
	}
	return alternatives[0]
}

func (b *builder) resolve(ref string) (json.RawMessage, error) {
	if ref == "#" {
		return nil, badRequest("", "the JSON schema refers to itself")
	}
	for prefix, defs := range map[string]map[string]json.RawMessage{"#/$defs/": b.root.Defs, "#/definitions/": b.root.OldDefs} {
		if name, ok := strings.CutPrefix(ref, prefix); ok && defs[name] != nil {
			return defs[name], nil
		}
	}
	return nil, badRequest("", "the JSON schema refers to %.64q, which it does not define", ref)
}

// kind returns the type, guessed if the schema does not say.
func (s *schema) kind() string {
	var one string
	if json.Unmarshal(s.Type, &one) == nil && one != "" {
		return one
	}
	var many []string
	if json.Unmarshal(s.Type, &many) == nil {
		for _, kind := range many {
			if kind != "null" {
				return kind
			}
		}
	}
	switch {
	case s.Properties != nil:
		return "object"
	case s.Items != nil:
		return "array"
	}
	return "string"
}

// object fills the required properties, or all if none is.
func (b *builder) object(s schema) (any, error) {
	out := map[string]any{}
	required := s.Required
	if len(required) == 0 && b.depth == 1 {
		for name := range s.Properties {
			required = append(required, name)
		}
	}
	for _, name := range required {
		property, ok := s.Properties[name]
		if !ok {
			property = json.RawMessage("true")
		}
		value, err := b.value(property, name)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

// all merges the objects of the parts of an allOf with the schema's own properties.
func (b *builder) all(s schema, name string) (any, error) {
	out := map[string]any{}
	for _, part := range s.AllOf {
		value, err := b.value(part, name)
		if err != nil {
			return nil, err
		}
		object, ok := value.(map[string]any)
		if !ok {
			return value, nil
		}
		for k, v := range object {
			out[k] = v
		}
	}
	own, err := b.object(s)
	if err != nil {
		return nil, err
	}
	for k, v := range own.(map[string]any) {
		out[k] = v
	}
	return out, nil
}

func (b *builder) array(s schema, name string) (any, error) {
	items := s.Items
	if items == nil {
		items = json.RawMessage("true")
	}
	out := []any{}
	for range min(max(s.MinItems, 1), 16) {
		value, err := b.value(items, name)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	return out, nil
}

func (s *schema) number() float64 {
	switch {
	case s.Minimum != nil:
		return *s.Minimum
	case s.Above != nil:
		return *s.Above + 1
	case s.Maximum != nil:
		return min(1, *s.Maximum)
	}
	return 1
}

// text returns a string that suits the format or the property's name.
func (b *builder) text(s schema, name string) string {
	formats := map[string]string{
		"date": "2026-01-01", "date-time": "2026-01-01T12:00:00Z", "time": "12:00:00Z", "duration": "PT1H",
		"email": "ada@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
		"uri": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000",
	}
	if value, ok := formats[s.Format]; ok {
		return value
	}
	value := "example"
	switch lower := strings.ToLower(name); {
	case strings.Contains(lower, "city"), strings.Contains(lower, "location"):
		value = "Paris"
	case strings.Contains(lower, "query"), strings.Contains(lower, "question"), strings.Contains(lower, "text"):
		if b.question != "" {
			value = cut(b.question, maxQuoteSize)
		}
	}
	for len(value) < min(s.MinLength, 1024) {
		value += " example"
	}
	if s.MaxLength != nil && *s.MaxLength >= 0 {
		value = cut(value, *s.MaxLength)
	}
	return value
}
