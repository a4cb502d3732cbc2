// Package templates holds what a new policy starts from, one project a language: the reference policy, the library that
// speaks the contract of sdk/abi in that language, and how to build. The projects build where they stand here, and anywhere
// else: the libraries are files of theirs.
package templates

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
)

//go:embed assemblyscript/gitignore assemblyscript/README.md assemblyscript/package.json assemblyscript/*.ts
//go:embed c/gitignore c/README.md c/*.h c/*.c
//go:embed go/gitignore go/README.md go/go.mod.template go/policy.go go/policy_test.go go/state.go
//go:embed rust/gitignore rust/README.md rust/*.template rust/*.toml rust/src/*.rs
//go:embed zig/gitignore zig/README.md zig/*.zig
var files embed.FS

// Placeholder stands in the templates where a project has its name.
const Placeholder = "policy-name"

// ErrName: what was given cannot be the name of a project.
var ErrName = errors.New("bad policy name")

// ErrLanguage: there is no template in that language.
var ErrLanguage = errors.New("no template in this language")

// Language is one that policies are written in, and how its projects are built.
type Language struct {
	Name   string   // as in "--lang rust"
	Title  string   // as people write it
	Source string   // the file to begin reading at
	Setup  []string // a command to run once in the project's directory; nil for none
	Build  []string // the command that builds the module, run in the project's directory
	Env    []string // added to the environment of Build
	Test   []string // the command that runs the project's own tests; nil if it has none
	Module string   // where the module is then, from the project's directory
	Tools  string   // what must be installed
}

// Languages are all languages, sorted by name.
func Languages() []Language {
	return []Language{
		{
			Name: "assemblyscript", Title: "AssemblyScript", Source: "policy.ts",
			Setup:  []string{"npm", "install"},
			Build:  strings.Fields("npx asc policy.ts --outFile policy.wasm -O3 --runtime stub --noAssert --use abort= --disable simd"),
			Module: "policy.wasm", Tools: "Node.js 20 or later",
		},
		{
			Name: "c", Title: "C", Source: "policy.c",
			Build: strings.Fields("clang --target=wasm32 -mbulk-memory -std=c11 -O3 -Wall -Wextra -ffreestanding -nostdlib " +
				"-Wl,--no-entry -Wl,--strip-all -o policy.wasm policy.c"),
			Module: "policy.wasm", Tools: "clang and lld 17 or later",
		},
		{
			Name: "go", Title: "Go", Source: "policy.go",
			Setup:  []string{"go", "mod", "tidy"},
			Build:  []string{"go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "policy.wasm", "."},
			Env:    []string{"GOOS=wasip1", "GOARCH=wasm"},
			Test:   []string{"go", "test", "./..."},
			Module: "policy.wasm", Tools: "Go 1.26 or later",
		},
		{
			Name: "rust", Title: "Rust", Source: "src/lib.rs",
			Build:  strings.Fields("cargo build --release --target wasm32-unknown-unknown"),
			Test:   []string{"cargo", "test"},
			Module: "target/wasm32-unknown-unknown/release/policy.wasm", Tools: "Rust 1.85 or later with the target wasm32-unknown-unknown",
		},
		{
			Name: "zig", Title: "Zig", Source: "policy.zig",
			Build: strings.Fields("zig build-exe policy.zig -target wasm32-freestanding -O ReleaseFast -fno-entry -rdynamic -fstrip " +
				"--stack 65536 -femit-bin=policy.wasm"),
			Test:   []string{"zig", "test", "policy.zig"},
			Module: "policy.wasm", Tools: "Zig 0.17",
		},
	}
}

// Find is the language of that name; false if there is none.
func Find(name string) (Language, bool) {
	all := Languages()
	i := slices.IndexFunc(all, func(l Language) bool { return l.Name == name })
	if i < 0 {
		return Language{}, false
	}
	return all[i], true
}

// Options are what a new project may be told beside its name.
type Options struct {
	Version string // of the Go module of the gateway that a Go project requires; "" for one that no release has
	Replace string // directory with the gateway's source that a Go project uses instead; "" for none
}

// Write makes a new project in a directory, which it creates and which must be empty if it is there. The error wraps
// [ErrLanguage], [ErrName], or one of the file system.
func Write(dir, language, name string, options Options) error {
	if _, known := Find(language); !known {
		return fmt.Errorf("%w: %q", ErrLanguage, language)
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`).MatchString(name) {
		return fmt.Errorf("%w: %q, it takes lower-case letters, digits and hyphens, a letter first", ErrName, name)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("making policy %s: %s is not empty: %w", name, dir, fs.ErrExist)
	}
	project, err := fs.Sub(files, language)
	if err != nil {
		return fmt.Errorf("making policy %s: %w", name, err)
	}
	return fs.WalkDir(project, ".", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = write(project, file, dir, name, options)
		}
		if err != nil {
			return fmt.Errorf("making policy %s: %w", name, err)
		}
		return nil
	})
}

func write(project fs.FS, file, dir, name string, options Options) error {
	text, err := fs.ReadFile(project, file)
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte(Placeholder), []byte(name))
	// A directory with a go.mod or a Cargo.toml would be a project of its own to Go's embedding and to Cargo.
	target := filepath.Join(dir, filepath.FromSlash(strings.TrimSuffix(file, ".template")))
	if path.Base(file) == "go.mod.template" {
		text = append(text, requirement(options)...)
	}
	if file == "gitignore" {
		target = filepath.Join(dir, ".gitignore")
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, text, 0o644)
}

// requirement is the rest of a Go project's go.mod.
func requirement(o Options) string {
	const module = "github.com/pointsman/pointsman"
	version := o.Version
	if version == "" {
		version = "v0.0.0-00010101000000-000000000000"
	}
	text := "\nrequire " + module + " " + version + "\n"
	if o.Replace != "" {
		text += "\nreplace " + module + " => " + o.Replace + "\n"
	}
	return text
}
