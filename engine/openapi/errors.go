package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errorCode is one code of an error answer. Its statuses are those it comes with; one such as 4XX stands for all of them.
type errorCode struct {
	Code   string   `json:"code"`
	Status []string `json:"status"`
	When   string   `json:"when"`
}

// errorTable is what is known of error answers: all codes, and groups of them by name, which may hold other groups.
type errorTable struct {
	Codes  []errorCode         `json:"codes"`
	Groups map[string][]string `json:"groups"`
	// Headers are groups of headers of answers, by name, which may hold other groups.
	Headers map[string][]string `json:"headers"`

	responses object            // the answers that operations refer to, by name
	names     map[string]string // of the answers, by what they hold
}

func readErrors(text []byte) (*errorTable, error) {
	t := &errorTable{names: map[string]string{}}
	if err := json.Unmarshal(text, t); err != nil {
		return nil, fmt.Errorf("error codes: %w", err)
	}
	return t, nil
}

// named are the error answers of an operation, as the operation says in its member x-errors.
type named struct {
	Codes   []string `json:"codes"`   // and groups of codes, beside those of the group "any"
	Schema  string   `json:"schema"`  // of the body; "" for Error
	Headers []string `json:"headers"` // beside those that every error answer has
}

// expand lists the codes of names of codes and groups, in the order of the table.
func (t *errorTable) expand(names []string) ([]errorCode, error) {
	wanted := map[string]bool{}
	var faults []error
	var add func(names []string)
	add = func(names []string) {
		for _, name := range names {
			if group, is := t.Groups[name]; is {
				add(group)
			} else if slices.ContainsFunc(t.Codes, func(c errorCode) bool { return c.Code == name }) {
				wanted[name] = true
			} else {
				faults = append(faults, fmt.Errorf("no error code or group %q", name))
			}
		}
	}
	add(names)
	var list []errorCode
	for _, c := range t.Codes {
		if wanted[c.Code] {
			list = append(list, c)
		}
	}
	return list, errors.Join(faults...)
}

// describe replaces an operation's member x-errors by an answer for each status.
func (t *errorTable) describe(operation *object) error {
	n := named{Schema: "Error"}
	if text := operation.take("x-errors"); text != nil {
		if err := json.Unmarshal(text, &n); err != nil {
			return err
		}
	}
	codes, err := t.expand(append(n.Codes, "any"))
	if err != nil {
		return err
	}
	var statuses []string
	for _, c := range codes {
		statuses = append(statuses, c.Status...)
	}
	slices.Sort(statuses)
	responses, err := operation.child("responses")
	if err != nil {
		return err
	}
	if err := t.complete(&responses); err != nil {
		return err
	}
	for _, status := range slices.Compact(statuses) {
		name, err := t.response(status, codes, n)
		if err == nil {
			err = responses.add(status, json.RawMessage(`{"$ref":"#/components/responses/`+name+`"}`))
		}
		if err != nil {
			return err
		}
	}
	return operation.encode("responses", responses)
}

// response is the name of the answer with a status that has one of the codes.
func (t *errorTable) response(status string, codes []errorCode, n named) (string, error) {
	var values []string
	text := "One of these codes:\n"
	for _, c := range codes {
		if slices.Contains(c.Status, status) || slices.Contains(c.Status, status[:1]+"XX") {
			values = append(values, c.Code)
			text += "\n- `" + c.Code + "`: " + c.When
		}
	}
	code := map[string]any{"type": "object", "properties": map[string]any{"code": map[string]any{"enum": values}}, "additionalProperties": true}
	schema := map[string]any{
		"$ref": "#/components/schemas/" + n.Schema, "properties": map[string]any{"error": code}, "additionalProperties": true,
	}
	answer, err := json.Marshal(map[string]any{
		"description": text, "headers": t.headers(slices.Concat(headersOf(status), n.Headers)), "content": map[string]any{"application/json": map[string]any{"schema": schema}},
	})
	if err != nil {
		return "", err
	}
	name, known := t.names[string(answer)]
	if !known {
		name = n.Schema + status
		for i := 2; t.responses.values[name] != nil; i++ {
			name = fmt.Sprintf("%s%s-%d", n.Schema, status, i)
		}
		t.names[string(answer)] = name
		t.responses.put(name, answer)
	}
	return name, nil
}

// headers are the headers of an answer: those of the names and groups of names, and the id that every answer has.
func (t *errorTable) headers(names []string) (headers object) {
	var add func(names []string)
	add = func(names []string) {
		for _, name := range names {
			if group, is := t.Headers[name]; is {
				add(group)
			} else {
				headers.put(name, json.RawMessage(`{"$ref":"#/components/headers/`+name+`"}`))
			}
		}
	}
	add([]string{"X-Request-Id"})
	add(names)
	return headers
}

// complete replaces the names in the member headers of each answer by references, and adds what every answer has.
func (t *errorTable) complete(responses *object) error {
	for _, status := range responses.names {
		response, err := responses.child(status)
		if err != nil {
			return err
		}
		if response.values["$ref"] != nil {
			continue
		}
		var names []string
		if text := response.values["headers"]; text != nil {
			if err := json.Unmarshal(text, &names); err != nil {
				return fmt.Errorf("headers of %s: %w", status, err)
			}
		}
		if err := errors.Join(response.encode("headers", t.headers(names)), responses.encode(status, response)); err != nil {
			return err
		}
	}
	return nil
}

// headersOf lists the headers that only some statuses have.
func headersOf(status string) []string {
	switch status {
	case "401":
		return []string{"WWW-Authenticate"}
	case "402", "403", "429", "503":
		return []string{"Retry-After"}
	}
	return nil
}

// components adds the answers that operations refer to, and the list of codes.
func (t *errorTable) components(to *object) error {
	responses, err := to.child("responses")
	if err == nil {
		err = t.complete(&responses)
	}
	if err != nil {
		return err
	}
	for _, name := range t.responses.names {
		if err := responses.add(name, t.responses.values[name]); err != nil {
			return err
		}
	}
	schemas, err := to.child("schemas")
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("Stable: programs may decide by it. New codes may come.\n\n| code | status | when |\n|---|---|---|\n")
	var values []string
	for _, c := range t.Codes {
		values = append(values, c.Code)
		fmt.Fprintf(&text, "| `%s` | %s | %s |\n", c.Code, strings.Join(c.Status, ", "), c.When)
	}
	return errors.Join(
		schemas.encode("ErrorCode", map[string]any{"type": "string", "description": text.String(), "enum": values}),
		to.encode("responses", responses), to.encode("schemas", schemas),
	)
}
