package project

import (
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
	"github.com/pointsman/pointsman/sdk/templates"
)

//go:embed all:starter
var starter embed.FS

// Languages are all languages that a project can be made in, sorted by name. A Go project is a small policy of its own, the
// others are the reference policy of sdk/templates.
func Languages() []templates.Language {
	all := templates.Languages()
	for i := range all {
		if l := &all[i]; l.Name == "go" {
			l.Source, l.Setup, l.Test = "main.go", nil, nil // the SDK lies beside it
		}
	}
	return all
}

// writeTemplate copies the files of a language.
func writeTemplate(dir, language, name string) error {
	if language == "go" {
		return writeFiles(dir, "starter/go", name)
	}
	return templates.Write(dir, language, name, templates.Options{})
}

// ErrNew: a project cannot be made; the text says why.
var ErrNew = errors.New("making a policy")

// New makes a project in a directory, which must be new or empty.
func New(dir, language, name string) (*Project, error) {
	languages := Languages()
	i := slices.IndexFunc(languages, func(l templates.Language) bool { return l.Name == language })
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
	return copyTree(starter, from, dir, strings.NewReplacer(templates.Placeholder, name))
}

func writeFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

func writeManifest(dir, name string, l templates.Language) error {
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
	if l.Setup != nil {
		fmt.Fprintf(&text, "setup = %s\n", quoted(l.Setup))
	}
	fmt.Fprintf(&text, "build = %s\n", quoted(l.Build))
	if l.Env != nil {
		fmt.Fprintf(&text, "env = %s\n", quoted(l.Env))
	}
	grants := `["features"]`
	if l.Name != "go" {
		grants = `["state"]   ` // the reference policy learns
	}
	text.WriteString("grants = " + grants + "    # of text, metadata, side_calls, state; features are always there\nscenarios = \"scenarios\"  # files for pointsman policy test\n\n" +
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
