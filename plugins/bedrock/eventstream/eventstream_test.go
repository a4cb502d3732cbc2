package eventstream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	stream := Append(nil, []byte(`{"a":1}`), ":event-type", "first", ":message-type", "event")
	second := len(stream)
	stream = Append(stream, nil)
	stream = Append(stream, []byte(strings.Repeat("x", 100_000)), ":event-type", "third")
	r := NewReader(bytes.NewReader(stream))
	m, err := r.Read()
	if err != nil || string(m.Payload) != `{"a":1}` || m.Headers[":event-type"] != "first" || m.Headers[":message-type"] != "event" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = r.Read(); err != nil || len(m.Payload) != 0 || len(m.Headers) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = r.Read(); err != nil || len(m.Payload) != 100_000 || m.Headers[":event-type"] != "third" {
		t.Errorf("%d bytes, %v", len(m.Payload), err)
	}
	if _, err = r.Read(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := NewReader(bytes.NewReader(stream[:second-1])).Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	for i := range second {
		broken := bytes.Clone(stream[:second])
		broken[i] ^= 0x10
		if _, err := NewReader(bytes.NewReader(broken)).Read(); err == nil {
			t.Errorf("byte %d changed: not noticed", i)
		}
	}
}

func TestHeaderTypes(t *testing.T) {
	// A boolean, a byte, a number, bytes, a time and an id, then text.
	raw := "\x01a\x00" + "\x01b\x02\x07" + "\x01c\x04\x00\x00\x00\x01" + "\x01d\x06\x00\x02zz" + "\x01e\x0800000000" + "\x01f\x090000000000000000" + "\x01g\x07\x00\x02hi"
	got, err := readHeaders([]byte(raw))
	if err != nil || len(got) != 1 || got["g"] != "hi" {
		t.Errorf("%v, %v", got, err)
	}
	for i := range raw {
		if _, err := readHeaders([]byte(raw[:i])); err != nil && !errors.Is(err, ErrFraming) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := readHeaders([]byte("\x01a\x0a")); !errors.Is(err, ErrFraming) {
		t.Errorf("an unknown type: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(Append(nil, []byte("{}"), "a", "b"))
	f.Add([]byte("\x00\x00\x00\x10\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		for {
			if _, err := r.Read(); err != nil {
				return
			}
		}
	})
}
