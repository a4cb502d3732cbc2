package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// object is a JSON object that keeps the order of its members, so that readers find the document in the order in which it was
// written. The values are encoded. The zero value is empty and ready.
type object struct {
	names  []string
	values map[string]json.RawMessage
}

// UnmarshalJSON reads an object. A name that comes twice is an error.
func (o *object) UnmarshalJSON(text []byte) error {
	*o = object{}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("not an object: %.40q", text)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := o.add(name.(string), value); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, name := range o.names {
		if i > 0 {
			out = append(out, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), o.values[name]...)
	}
	return append(out, '}'), nil
}

// add appends a member. One that is there already is an error.
func (o *object) add(name string, value json.RawMessage) error {
	if _, there := o.values[name]; there {
		return fmt.Errorf("%q is there twice", name)
	}
	o.put(name, value)
	return nil
}

// put adds or replaces a member.
func (o *object) put(name string, value json.RawMessage) {
	if o.values == nil {
		o.values = map[string]json.RawMessage{}
	}
	if _, there := o.values[name]; !there {
		o.names = append(o.names, name)
	}
	o.values[name] = value
}

// take removes a member and returns it, nil if there is none.
func (o *object) take(name string) json.RawMessage {
	value := o.values[name]
	if value != nil {
		delete(o.values, name)
		names := o.names
		o.names = nil
		for _, n := range names {
			if n != name {
				o.names = append(o.names, n)
			}
		}
	}
	return value
}

// child reads a member that is an object itself, an empty one if it is not there.
func (o *object) child(name string) (c object, err error) {
	if value := o.values[name]; value != nil {
		if err = json.Unmarshal(value, &c); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, err
}

// encode puts a member that is a value of Go.
func (o *object) encode(name string, value any) error {
	text, err := json.Marshal(value)
	if err == nil {
		o.put(name, text)
	}
	return err
}
