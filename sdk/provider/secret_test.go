package provider

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestSecretIsNeverShown(t *testing.T) {
	const value = "sk-verysecret-0123456789-tail"
	s := NewSecret(value)
	type exported struct{ Key Secret }
	type unexported struct{ key Secret }
	var shown bytes.Buffer
	for _, v := range []any{s, &s, exported{s}, &exported{s}, unexported{s}, &unexported{s}, []Secret{s}, []*Secret{&s}, map[string]Secret{"k": s}, []any{s}, fmt.Errorf("with %v: %w", s, errors.New(s.String())), reflect.ValueOf(s)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%10.3s"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		fmt.Fprintln(&shown, v)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			slog.New(handler).Info("m", "v", v)
		}
		if text, err := json.Marshal(v); err == nil {
			shown.Write(text)
		}
	}
	if err := errors.Join(gob.NewEncoder(&shown).Encode(exported{s}), xml.NewEncoder(&shown).Encode(exported{s})); err != nil {
		t.Error(err)
	}
	shown.WriteString(walked(reflect.ValueOf(unexported{s}), 0))
	for _, part := range []string{"verysecret", fmt.Sprintf("%x", "verysecret"), fmt.Sprintf("%X", "verysecret")} {
		if i := strings.Index(shown.String(), part); i >= 0 {
			t.Errorf("%q is shown: …%s", part, shown.String()[max(0, i-60):])
		}
	}
	for verb, want := range map[string]string{"%v": "***tail", "%s": "***tail", "%q": `"***tail"`, "%#v": "***tail"} {
		if got := fmt.Sprintf(verb, s); got != want {
			t.Errorf("%s gives %s", verb, got)
		}
	}
	if text, err := json.Marshal(exported{s}); err != nil || string(text) != `{"Key":"***tail"}` {
		t.Errorf("json %s, %v", text, err)
	}
	if s.Reveal() != value || !s.IsSet() {
		t.Error("the value is lost")
	}
}

func TestSecretMask(t *testing.T) {
	for value, want := range map[string]string{"": "", "a": "***", "123456789012": "***", "1234567890123": "***0123", "ääääääääääääöüß1": "***öüß1"} {
		if got := NewSecret(value).Mask(); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	if s := (Secret{}); s.Reveal() != "" || s.IsSet() || s.String() != "" {
		t.Error("the zero value is a secret")
	}
}

// walked prints whatever reflection reaches, private or not, as printers for debugging do.
func walked(v reflect.Value, depth int) (text string) {
	if depth > 10 {
		return ""
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return walked(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			text += walked(v.Field(i), depth+1) + " "
		}
		return text
	default:
		return v.String()
	}
}
