package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/pointsman/pointsman/cmd/pointsman/project"
)

// readParams reads what --config was given: KEY=VALUE, or a TOML file that holds the parameters of one policy, either as
// [policies.NAME.config] of a gateway's configuration or as [config] of a policy.toml. What comes later counts.
func readParams(given []string) (map[string]string, error) {
	params := map[string]string{}
	for _, text := range given {
		if key, value, ok := strings.Cut(text, "="); ok {
			params[key] = value
			continue
		}
		var file struct {
			Config   map[string]any
			Policies map[string]any
		}
		if _, err := toml.DecodeFile(text, &file); err != nil {
			var syntax toml.ParseError
			if errors.As(err, &syntax) {
				return nil, fmt.Errorf("--config %s:%d:%d: %s", text, syntax.Position.Line, syntax.Position.Col, syntax.Message)
			}
			return nil, fmt.Errorf("--config is neither KEY=VALUE nor a file: %w", err)
		}
		tables := map[string]map[string]any{}
		if file.Config != nil {
			tables["config"] = file.Config
		}
		for name, entry := range file.Policies {
			if policy, ok := entry.(map[string]any); ok {
				if config, ok := policy["config"].(map[string]any); ok {
					tables["policies."+name+".config"] = config
				}
			}
		}
		if len(tables) != 1 {
			return nil, fmt.Errorf("--config %s must hold the parameters of one policy, in [policies.NAME.config] or [config]; found %d: %s",
				text, len(tables), strings.Join(slices.Sorted(maps.Keys(tables)), ", "))
		}
		for _, table := range tables {
			if err := project.Flatten(params, "", table); err != nil {
				return nil, fmt.Errorf("--config %s: %w", text, err)
			}
		}
	}
	return params, nil
}
