package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Config is a policy's parameters. The zero Config has none. It is immutable.
type Config struct {
	values map[string]string
}

// ParseConfig reads configuration text: one "key=value\n" line a parameter. The error wraps [ErrConfig].
func ParseConfig(text string) (Config, error) {
	c := Config{values: map[string]string{}}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || key == "" {
			return Config{}, badConfig("line " + strconv.Quote(line) + " is not key=value")
		}
		if _, twice := c.values[key]; twice {
			return Config{}, badConfig(key + " is given twice")
		}
		c.values[key] = value
	}
	return c, nil
}

// FormatConfig writes parameters as configuration text, sorted by key. The error wraps [ErrConfig] and names the key that
// cannot be written.
func FormatConfig(params map[string]string) (string, error) {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(params)) {
		value := params[key]
		if key == "" || strings.ContainsAny(key, "=\n") || strings.Contains(value, "\n") {
			return "", badConfig("parameter " + strconv.Quote(key) + " has no name, or an = or a line break in it")
		}
		text.WriteString(key + "=" + value + "\n")
	}
	return text.String(), nil
}

// Keys are the names of the parameters, sorted.
func (c Config) Keys() []string { return slices.Sorted(maps.Keys(c.values)) }

// Text is the value of a parameter, or otherwise if it is not given.
func (c Config) Text(key, otherwise string) string {
	if v, ok := c.values[key]; ok {
		return v
	}
	return otherwise
}

// List is the elements of a comma-separated parameter; none if it is not given or empty.
func (c Config) List(key string) []string {
	if c.values[key] == "" {
		return nil
	}
	return strings.Split(c.values[key], ",")
}

// Bool is the value of a parameter that is true, false, 1 or 0, or otherwise if it is not given. The error wraps [ErrConfig].
func (c Config) Bool(key string, otherwise bool) (bool, error) {
	switch v, ok := c.values[key]; {
	case !ok:
		return otherwise, nil
	case v == "true", v == "1":
		return true, nil
	case v == "false", v == "0":
		return false, nil
	default:
		return false, badConfig(key + "=" + v + " is neither true nor false")
	}
}

// Number is the value of a decimal parameter, or otherwise if it is not given. The error wraps [ErrConfig].
func (c Config) Number(key string, otherwise float64) (float64, error) {
	v, ok := c.values[key]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return 0, badConfig(key + "=" + v + " is not a number")
	}
	return n, nil
}
