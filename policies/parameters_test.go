package policies

import "testing"

// What a policy logs of its parameters is left out where it could be a secret.
func TestLinesWithoutParameters(t *testing.T) {
	m := &module{config: "min_quality=0.65\nhook=whsec-0123456789\nempty=\nproviders=local,groq,huggingface"}
	for line, want := range map[string]string{
		"":                                      "",
		"hook=whsec-0123456789 is odd":          "hook=… is odd",
		"whsec-0123456789whsec-0123456789":      "……",
		"min_quality=0.65 is too low":           "min_quality=0.65 is too low",
		"no provider of local,groq,huggingface": "no provider of …",
	} {
		if got := m.withoutParameters(line); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
}
