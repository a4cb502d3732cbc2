package templates

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrite makes a project in each language and looks at what a new author would stumble over.
func TestWrite(t *testing.T) {
	var rules string
	for _, l := range Languages() {
		t.Run(l.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "project")
			if err := Write(dir, l.Name, "first-fit", Options{}); err != nil {
				t.Fatal(err)
			}
			err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				text, err := os.ReadFile(path)
				if strings.Contains(string(text), Placeholder) || strings.HasSuffix(path, ".template") {
					t.Errorf("%s is still a template", path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{l.Source, ".gitignore"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
					t.Error(err)
				}
			}
			readme := read(t, filepath.Join(dir, "README.md"))
			if n := strings.Count(readme, "\n"); n > 40 || !strings.HasPrefix(readme, "# first-fit\n") {
				t.Errorf("README.md has %d lines and begins %.20q", n, readme)
			}
			command := strings.ReplaceAll(strings.Join(append(l.Env, l.Build...), " "), "-ldflags=-s -w", `-ldflags="-s -w"`)
			if !strings.Contains(readme, command) {
				t.Errorf("README.md does not have the command %s", command)
			}
			if !strings.Contains(readme, "\n"+strings.Join(l.Test, " ")+"\n") {
				t.Errorf("README.md does not have the command %s", l.Test)
			}
			_, about, _ := strings.Cut(readme, "## The reference policy")
			if rules == "" {
				rules = about
			}
			if about == "" || about != rules {
				t.Error("README.md has other rules than those of the first language")
			}
			if err := Write(dir, l.Name, "first-fit", Options{}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("written again: %v", err)
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, name := range []string{"", "Upper", "1st", "a_b", "a/b", "..", strings.Repeat("a", 65)} {
		if err := Write(t.TempDir(), "go", name, Options{}); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := Write(t.TempDir(), "cobol", "a", Options{}); !errors.Is(err, ErrLanguage) {
		t.Error(err)
	}
}

// TestVersions: what templates say about versions is what this repository uses.
func TestVersions(t *testing.T) {
	line := func(text, prefix string) string {
		_, rest, _ := strings.Cut(text, prefix)
		line, _, _ := strings.Cut(rest, "\n")
		return strings.Trim(line, " ,")
	}
	if own, template := line(read(t, "../../go.mod"), "\ngo "), line(read(t, "go/go.mod.template"), "\ngo "); own != template {
		t.Errorf("the Go template is for Go %s, the gateway for %s", template, own)
	}
	const key = `"assemblyscript":`
	if own, template := line(read(t, "../../policies/builtin/package.json"), key), line(read(t, "assemblyscript/package.json"), key); own != template {
		t.Errorf("the AssemblyScript template asks for %s, the built-in policies for %s", template, own)
	}
	asc, _ := Find("assemblyscript")
	if script := line(read(t, "assemblyscript/package.json"), `"build":`); script != `"`+strings.Join(asc.Build[1:], " ")+`"` {
		t.Errorf("npm run build is %s", script)
	}
	dir := t.TempDir()
	if err := Write(dir, "go", "a", Options{Version: "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	if mod := read(t, filepath.Join(dir, "go.mod")); !strings.Contains(mod, "\nrequire github.com/pointsman/pointsman v1.2.3\n") {
		t.Errorf("go.mod is %s", mod)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
