//go:build unix

package engine

import (
	"slices"
	"testing"
)

func TestHoldsAlert(t *testing.T) {
	record := func(kind byte, length int) []byte {
		return append([]byte{kind, 3, 3, byte(length >> 8), byte(length)}, make([]byte, length)...)
	}
	request, sealed := record(23, 200), record(23, 19)
	for _, c := range []struct {
		name    string
		records []byte
		want    bool
	}{
		{"nothing", nil, false},
		{"alert of TLS 1.2", record(21, 26), true},
		{"alert of TLS 1.3", sealed, true},
		{"the beginning of an alert", sealed[:5], true},
		{"less than a head", sealed[:4], false},
		{"a request", request, false},
		{"a request that is still coming", request[:50], false},
		{"a small part of a request", record(23, 18), false},
		{"an alert behind a request", slices.Concat(request, request, sealed), true},
		{"a key update", record(23, 22), false},
		{"the rest of a record", slices.Concat(make([]byte, 40), sealed), false},
		{"no TLS", []byte("GET / HTTP/1.1\r\n"), false},
	} {
		if got := holdsAlert(c.records); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
