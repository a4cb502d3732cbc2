package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"unicode/utf8"
)

// Secret is a value that must not be shown. Every way of printing it gives its mask; only Reveal gives the value.
// The zero value is no secret at all.
type Secret struct {
	// A pointer, because fmt calls no methods on unexported fields of other structs but prints what they hold.
	value *string
}

// NewSecret hides a value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal gives the value itself, for the one place that needs it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet says whether there is a value.
func (s Secret) IsSet() bool { return s.Reveal() != "" }

// Mask is "***" and, of a value longer than twelve characters, its last four; "" if there is no value.
func (s Secret) Mask() string {
	n := utf8.RuneCountInString(s.Reveal())
	switch {
	case n == 0:
		return ""
	case n <= 12:
		return "***"
	}
	return "***" + string([]rune(s.Reveal())[n-4:])
}

// String is the mask.
func (s Secret) String() string { return s.Mask() }

// GoString is the mask.
func (s Secret) GoString() string { return s.Mask() }

// Format prints the mask, whatever the verb.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		fmt.Fprintf(f, "%q", s.Mask())
		return
	}
	fmt.Fprint(f, s.Mask())
}

// MarshalText is the mask. It serves encoding/json, TOML and XML alike, also for map keys.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Mask()), nil }

// MarshalJSON is the mask as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.Mask()) }

// LogValue is the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.Mask()) }
