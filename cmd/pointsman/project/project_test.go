package project

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
)

// TestNew makes a project, builds it without a network, and finds it again from below.
func TestNew(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "")
	dir := filepath.Join(t.TempDir(), "mine")
	p, err := New(dir, "go", "mine")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := p.Make(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	found, err := Find(filepath.Join(dir, "scenarios"))
	if err != nil || found.Name != "mine" || found.Module != filepath.Join(dir, "policy.wasm") {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := New(dir, "go", "mine"); !errors.Is(err, ErrNew) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("made twice: %v", err)
	}
}

// TestNewInEveryLanguage makes a project in each language and reads its manifest; sdk/templates builds them.
func TestNewInEveryLanguage(t *testing.T) {
	for _, l := range Languages() {
		t.Run(l.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "mine")
			p, err := New(dir, l.Name, "mine")
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != "mine" || len(p.Build) == 0 || p.Module != filepath.Join(dir, l.Module) || l.Name != "go" && p.Grants != abi.GrantState {
				t.Errorf("%+v", p)
			}
			source, err := os.ReadFile(filepath.Join(dir, l.Source))
			if err != nil || strings.Contains(string(source), "policy-name") {
				t.Errorf("%s: %v, or the placeholder is still in it", l.Source, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "scenarios", "basic.toml")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewRefused(t *testing.T) {
	for _, c := range []struct{ name, language, project, want string }{
		{"language", "cobol", "mine", "there is assemblyscript, c, go, rust, zig"},
		{"name", "go", "My Policy", "lower-case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(t.TempDir(), c.language, c.project); !errors.Is(err, ErrNew) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
	}{
		{"good", "module = \"a.wasm\"\ngrants = [\"text\"]\nfuel = 7\n[config]\nband = [0, 1]\nx.y = 0.5\nname = \"n\"\non = true\n", ""},
		{"syntax", "module = \n", "policy.toml:1:10"},
		{"unknown key", "module = \"a.wasm\"\nmodul = 1\n", `unknown key "modul"`},
		{"no module", "name = \"x\"\n", "has no module"},
		{"grant", "module = \"a.wasm\"\ngrants = [\"all\"]\n", `no grant "all"`},
		{"a date", "module = \"a.wasm\"\n[config]\nwhen = [[1]]\nt = []\nd = 1979-05-27\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, Manifest), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := Open(dir)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if c.name == "good" && (p.Grants != abi.GrantText || p.Fuel != 7 || p.Params["band"] != "0,1" || p.Params["x.y"] != "0.5" || p.Params["on"] != "true") {
				t.Errorf("%+v", p)
			}
		})
	}
	if _, err := Find(t.TempDir()); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// TestPluginVersions holds the modules that a Go plugin starts from to those of this repository: the two are tested together.
func TestPluginVersions(t *testing.T) {
	ours, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"go.mod.template", "sdk.go.mod.template"} {
		text, err := pluginFiles.ReadFile("plugins/go/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			module, _, _ := strings.Cut(strings.TrimSpace(line), " // indirect")
			if strings.HasPrefix(line, "\t") && !strings.Contains(string(ours), "\t"+module) {
				t.Errorf("%s: %s is not what go.mod has", file, module)
			}
		}
	}
}
