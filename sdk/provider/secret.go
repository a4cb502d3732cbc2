package provider

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"unicode/utf8"
)

// Secret is a value that must not be shown: a key of a provider, a token. Every way of printing, logging or encoding it gives
// its mask; only Reveal gives the value. The zero value is no secret at all. It is safe for concurrent use, and not comparable.
type Secret struct {
	// A function, because printers that use reflection follow pointers into unexported fields, and none looks into a function.
	reveal func() string
}

// NewSecret hides a value. Hiding "" gives the zero value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{func() string { return value }}
}

// Reveal gives the value itself, for the one place that needs it.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsSet says whether there is a value.
func (s Secret) IsSet() bool { return s.reveal != nil }

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

// GobEncode is the mask.
func (s Secret) GobEncode() ([]byte, error) { return []byte(s.Mask()), nil }

// LogValue is the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.Mask()) }
