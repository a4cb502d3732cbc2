// Package project is the directory of a policy under development: policy.toml, which says how the module is built and what
// it is to be given, and the templates that new projects start from.
package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/pointsman/pointsman/policies/signing"
)

// Manifest is the name of a project's file.
const Manifest = "policy.toml"

// Errors of this package, beside ErrNew.
var (
	// ErrNone: there is no policy.toml in the directory or above.
	ErrNone = errors.New("no policy.toml")
	// ErrManifest: policy.toml cannot be used; the text says why.
	ErrManifest = errors.New("policy.toml")
	// ErrBuild: the build command failed; its own output says why.
	ErrBuild = errors.New("building the policy")
)

// Project is what policy.toml says, with paths made absolute.
type Project struct {
	Dir       string
	Name      string
	Module    string // the built .wasm
	Setup     []string
	Build     []string
	Env       []string
	Scenarios string // directory
	Grants    uint32 // abi.Grant* bits
	Fuel      int64  // 0: the default
	Params    map[string]string
}

// Find opens the project of a directory, or of the nearest directory above that has one.
func Find(dir string) (*Project, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for at := full; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, Manifest)); err == nil {
			return Open(at)
		}
		if at == filepath.Dir(at) {
			return nil, fmt.Errorf("%w in %s or above: make a project with pointsman policy new, or name a .wasm file", ErrNone, dir)
		}
	}
}

// Open reads the project of a directory.
func Open(dir string) (*Project, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, Manifest)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNone, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	var m struct {
		Name, Module, Scenarios string
		Setup, Build, Env       []string
		Grants                  []string
		Fuel                    int64
		Config                  map[string]any
	}
	meta, err := toml.Decode(string(text), &m)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%s:%d:%d: %s", file, syntax.Position.Line, syntax.Position.Col, syntax.Message)
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrManifest, file, err)
	}
	for _, key := range meta.Undecoded() {
		if key[0] == "config" { // the package counts what lies in a plain map as not decoded
			continue
		}
		return nil, fmt.Errorf("%w: %s: unknown key %q; there are name, module, setup, build, env, scenarios, grants, fuel and [config]", ErrManifest, file, key)
	}
	if m.Module == "" {
		return nil, fmt.Errorf("%w: %s has no module, the path of the .wasm that the build makes", ErrManifest, file)
	}
	p := &Project{
		Dir: dir, Name: m.Name, Module: filepath.Join(dir, m.Module), Setup: m.Setup, Build: m.Build, Env: m.Env, Fuel: m.Fuel,
		Scenarios: filepath.Join(dir, m.Scenarios), Params: map[string]string{},
	}
	if m.Scenarios == "" {
		p.Scenarios = filepath.Join(dir, "scenarios")
	}
	if p.Name == "" {
		p.Name = filepath.Base(dir)
	}
	if p.Grants, err = signing.ParseGrants(m.Grants); err != nil {
		return nil, fmt.Errorf("%w: %s: grants: %w", ErrManifest, file, err)
	}
	if err := Flatten(p.Params, "", m.Config); err != nil {
		return nil, fmt.Errorf("%w: %s: [config]: %w", ErrManifest, file, err)
	}
	return p, nil
}

// Flatten writes a table as parameters: nested keys joined with dots, list elements with commas.
func Flatten(into map[string]string, prefix string, table map[string]any) error {
	for key, value := range table {
		switch v := value.(type) {
		case map[string]any:
			if err := Flatten(into, prefix+key+".", v); err != nil {
				return err
			}
		case []any:
			var elements []string
			for _, e := range v {
				elements = append(elements, fmt.Sprint(e))
			}
			into[prefix+key] = strings.Join(elements, ",")
		case string, bool, int64, float64, fmt.Stringer:
			into[prefix+key] = fmt.Sprint(v)
		default:
			return fmt.Errorf("%s is neither text, number, boolean nor a list of them", prefix+key)
		}
	}
	return nil
}

// Make builds the module. What the tools say goes to out.
func (p *Project) Make(ctx context.Context, out io.Writer) error {
	if len(p.Build) == 0 {
		return fmt.Errorf("%w: %s has no build command", ErrBuild, filepath.Join(p.Dir, Manifest))
	}
	if len(p.Setup) > 0 && !p.isSetUp() {
		if err := p.run(ctx, p.Setup, nil, out); err != nil {
			return err
		}
	}
	if err := p.run(ctx, p.Build, p.Env, out); err != nil {
		return err
	}
	if _, err := os.Stat(p.Module); err != nil {
		return fmt.Errorf("%w: the command succeeded and did not make %s", ErrBuild, p.Module)
	}
	return nil
}

// isSetUp tells whether the set-up ran already: it leaves the packages of npm behind, which is all that is known of it.
func (p *Project) isSetUp() bool {
	if p.Setup[0] != "npm" {
		return false
	}
	_, err := os.Stat(filepath.Join(p.Dir, "node_modules"))
	return err == nil
}

func (p *Project) run(ctx context.Context, command, env []string, out io.Writer) error {
	tool := installed(command[0])
	cmd := exec.CommandContext(ctx, tool[0], append(tool[1:], command[1:]...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.Dir, append(os.Environ(), env...), out, out
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: %s is not installed", ErrBuild, command[0])
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrBuild, strings.Join(command, " "), err)
	}
	return nil
}

// installed finds a tool under the other names that it goes by.
func installed(name string) []string {
	if _, err := exec.LookPath(name); err == nil {
		return []string{name}
	}
	switch name {
	case "clang": // Debian's packages have the version in the name
		for _, version := range []string{"21", "20", "19", "18", "17"} {
			if _, err := exec.LookPath("clang-" + version); err == nil {
				return []string{"clang-" + version}
			}
		}
	case "zig": // PyPI's package is a module of Python
		if exec.Command("python3", "-c", "import ziglang").Run() == nil {
			return []string{"python3", "-m", "ziglang"}
		}
	}
	return []string{name}
}
