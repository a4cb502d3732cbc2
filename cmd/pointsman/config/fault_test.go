package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every file of testdata/faults is read and its faults compared with the golden beside it.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.toml")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	env := environment("SET_SECRET=the-SECRET-value")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(name+".toml", data, env)
			if c != nil || err == nil {
				t.Fatal("no error")
			}
			var faults *Error
			if !errors.As(err, &faults) {
				t.Fatalf("error is a %T", err)
			}
			// SET_SECRET is the name of a variable, which may be shown.
			if shown := strings.ReplaceAll(err.Error(), "SET_SECRET", ""); strings.Contains(shown, "SECRET") || strings.Contains(shown, "sk-") {
				t.Errorf("a secret is shown:\n%s", err)
			}
			for _, f := range faults.Faults {
				if f.Line == 0 || f.Column == 0 {
					t.Errorf("no place: %s", f.Message)
				}
			}
			golden(t, filepath.Join("faults", name+".golden"), err.Error()+"\n")
		})
	}
}

func TestFaultsAreCapped(t *testing.T) {
	text := strings.Repeat("[[models]]\nx = 1\n", 3000)
	_, err := Parse("x", []byte(text), environment())
	var faults *Error
	if !errors.As(err, &faults) || len(faults.Faults) != maxFaults {
		t.Fatal(err)
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"listen", "admin_listen", "max_body_bytes"}
	for name, want := range map[string]string{"lisen": "listen", "LISTEN": "listen", "maxbodybytes": "max_body_bytes", "port": "", "": "", "x": ""} {
		if got := Nearest(name, candidates); got != want {
			t.Errorf("%q: nearest %q, want %q", name, got, want)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"kitten", "sitting", 3}, {"mode", "mdoe", 2}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d", test.a, test.b, got)
		}
	}
}

func TestLoadMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml"), environment()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	big := filepath.Join(t.TempDir(), "big.toml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, environment()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}
