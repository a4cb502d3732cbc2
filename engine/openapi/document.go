package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// methods of HTTP, as OpenAPI writes them.
func methods() []string { return []string{"get", "put", "post", "patch", "delete"} }

// document is a description under construction.
type document struct {
	about      object // everything but what follows
	tags       []json.RawMessage
	paths      object
	components object
	errors     *errorTable
}

// assemble puts fragments of a document together, completes its operations and returns it as JSON.
func assemble(errorCodes []byte, fragments [][]byte) ([]byte, error) {
	table, err := readErrors(errorCodes)
	if err != nil {
		return nil, err
	}
	d := document{errors: table}
	for _, text := range fragments {
		if err := d.merge(text); err != nil {
			return nil, err
		}
	}
	if err := d.complete(); err != nil {
		return nil, err
	}
	if err := errors.Join(
		d.about.encode("tags", d.tags), d.about.encode("paths", d.paths), d.about.encode("components", d.components),
	); err != nil {
		return nil, err
	}
	return json.Marshal(d.about)
}

// merge takes in a fragment. A path, a component or another member that is there already is an error.
func (d *document) merge(text []byte) error {
	var fragment object
	if err := json.Unmarshal(text, &fragment); err != nil {
		return err
	}
	for _, name := range fragment.names {
		var err error
		switch name {
		case "tags":
			var tags []json.RawMessage
			err = json.Unmarshal(fragment.values[name], &tags)
			d.tags = append(d.tags, tags...)
		case "paths":
			err = d.paths.addAll(fragment, name)
		case "components":
			err = d.mergeComponents(fragment)
		default:
			err = d.about.add(name, fragment.values[name])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (d *document) mergeComponents(fragment object) error {
	kinds, err := fragment.child("components")
	for _, kind := range kinds.names {
		all, fault := d.components.child(kind)
		err = errors.Join(err, fault, all.addAll(kinds, kind), d.components.encode(kind, all))
	}
	return err
}

// addAll takes over the members of a member of another object.
func (o *object) addAll(from object, name string) error {
	members, err := from.child(name)
	for _, n := range members.names {
		err = errors.Join(err, o.add(n, members.values[n]))
	}
	return err
}

// family is a prefix under which the paths of /v1 are served too.
type family struct{ prefix, suffix string }

func families() []family { return []family{{"/api/v1", "AtApiV1"}, {"/api/v1/llm", "AtApiV1Llm"}} }

// complete writes the error answers of every operation, and the paths that are another's.
func (d *document) complete() error {
	var others object
	for _, path := range d.paths.names {
		item, err := d.paths.child(path)
		if err != nil {
			return err
		}
		for _, method := range methods() {
			if item.values[method] == nil {
				continue
			}
			operation, err := item.child(method)
			if err == nil {
				err = d.errors.describe(&operation)
			}
			if err == nil {
				err = item.encode(method, operation)
			}
			if err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
		}
		if err := d.paths.encode(path, item); err != nil {
			return err
		}
		rest, shared := strings.CutPrefix(path, "/v1/")
		if !shared {
			continue
		}
		for _, f := range families() {
			other, err := item.alias(path, f)
			if err == nil {
				err = others.add(f.prefix+"/"+rest, other)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, path := range others.names {
		if err := d.paths.add(path, others.values[path]); err != nil {
			return err
		}
	}
	return d.errors.components(&d.components)
}

// alias is the path item as a family of paths has it: the same operations under names of their own.
func (o object) alias(path string, f family) (json.RawMessage, error) {
	var copied object
	for _, name := range o.names {
		if !slices.Contains(methods(), name) {
			copied.put(name, o.values[name])
			continue
		}
		operation, err := o.child(name)
		if err != nil {
			return nil, err
		}
		var id string
		if err := json.Unmarshal(operation.values["operationId"], &id); err != nil {
			return nil, err
		}
		method := strings.ToUpper(name)
		operation.take("externalDocs")
		if err := errors.Join(
			operation.encode("operationId", id+f.suffix), operation.encode("tags", []string{"Other paths"}),
			operation.encode("summary", "As "+method+" "+path), operation.encode("description", "The same as `"+method+" "+path+"`."),
			copied.encode(name, operation),
		); err != nil {
			return nil, err
		}
	}
	return json.Marshal(copied)
}
