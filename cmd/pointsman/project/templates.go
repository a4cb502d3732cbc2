package project

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/sdk"
)

// The interface that templates of more languages have to fill: a row of languages and the files of each.

//go:embed all:starter
var starter embed.FS

// Language is one that policies are written in, and how its projects are built.
type Language struct {
	Name   string   // as in "--lang go"
	Title  string   // as people write it
	Source string   // the file to begin reading at
	Setup  []string // a command to run once in the project's directory; nil for none
	Build  []string // the command that builds the module, run in the project's directory
	Env    []string // added to the environment of Build
	Module string   // where the module is then, from the project's directory
	Tools  string   // what must be installed
}

// Languages are all languages with a template, sorted by name.
func Languages() []Language {
	return []Language{{
		Name: "go", Title: "Go", Source: "main.go", Build: []string{"go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "policy.wasm", "."},
		Env: []string{"GOOS=wasip1", "GOARCH=wasm"}, Module: "policy.wasm", Tools: "Go 1.26 or later",
	}}
}

// writeTemplate copies the files of a language.
func writeTemplate(dir, language, name string) error {
	return writeFiles(dir, "starter/"+language, name)
}

// ErrNew: a project cannot be made; the text says why.
var ErrNew = errors.New("making a policy")

// New makes a project in a directory, which must be new or empty.
func New(dir, language, name string) (*Project, error) {
	languages := Languages()
	i := slices.IndexFunc(languages, func(l Language) bool { return l.Name == language })
	if i < 0 {
		var known []string
		for _, l := range languages {
			known = append(known, l.Name)
		}
		return nil, fmt.Errorf("%w: there is no template for %.40q; there is %s", ErrNew, language, strings.Join(known, ", "))
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`).MatchString(name) {
		return nil, fmt.Errorf("%w: name %.40q must be 1 to 32 lower-case letters, digits or hyphens, a letter first", ErrNew, name)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%w: %s is there and not empty", ErrNew, dir)
	}
	lang := languages[i]
	err := writeTemplate(dir, language, name)
	if err == nil {
		err = writeFiles(dir, "starter/all", name)
	}
	if err == nil {
		err = writeManifest(dir, name, lang)
	}
	if err == nil && language == "go" {
		err = vendorSDK(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNew, err)
	}
	return Open(dir)
}

// writeFiles copies embedded files with the project's name in place of the placeholder.
func writeFiles(dir, from, name string) error {
	return fs.WalkDir(starter, from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(starter, file)
		if err != nil {
			return err
		}
		// A directory with a go.mod of its own would not be embedded, so it has another name here.
		target := strings.TrimSuffix(strings.TrimPrefix(file, from+"/"), ".template")
		return writeFile(filepath.Join(dir, filepath.FromSlash(target)), bytes.ReplaceAll(text, []byte("policy-name"), []byte(name)))
	})
}

func writeFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

func writeManifest(dir, name string, l Language) error {
	quoted := func(words []string) string {
		q := make([]string, len(words))
		for i, w := range words {
			q[i] = fmt.Sprintf("%q", w)
		}
		return "[" + strings.Join(q, ", ") + "]"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# What pointsman policy build, check, test, bench, run and sign need to know of this project.\n")
	fmt.Fprintf(&text, "# To build: %s.\n\nname = %q\nmodule = %q\n", l.Tools, name, l.Module)
	if l.Setup != nil && l.Name != "go" {
		fmt.Fprintf(&text, "setup = %s\n", quoted(l.Setup))
	}
	fmt.Fprintf(&text, "build = %s\n", quoted(l.Build))
	if l.Env != nil {
		fmt.Fprintf(&text, "env = %s\n", quoted(l.Env))
	}
	text.WriteString("grants = [\"features\"]    # also text, metadata, side_calls, state\nscenarios = \"scenarios\"  # files for pointsman policy test\n\n" +
		"[config]                 # parameters, as [policies." + name + ".config] of a gateway\n")
	return writeFile(filepath.Join(dir, "policy.toml"), []byte(text.String()))
}

// vendorSDK puts the SDK into a Go project's vendor directory, where the go command finds it without a network. Once the
// module can be downloaded, the directory can go.
func vendorSDK(dir string) error {
	const module = "github.com/pointsman/pointsman"
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	version := regexp.MustCompile(regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(mod)
	if version == nil {
		return errors.New("the template's go.mod does not require " + module)
	}
	err = fs.WalkDir(sdk.Source(), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(sdk.Source(), file)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, "vendor", filepath.FromSlash(path.Join(module, "sdk", file))), text)
	})
	if err != nil {
		return err
	}
	list := fmt.Sprintf("# %s %s\n## explicit; go 1.26.0\n%[1]s/sdk/abi\n%[1]s/sdk/policy\n", module, version[1])
	return writeFile(filepath.Join(dir, "vendor", "modules.txt"), []byte(list))
}
