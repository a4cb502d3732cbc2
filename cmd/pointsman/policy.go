package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/cmd/pointsman/project"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
)

type policyCmd struct {
	New     policyNew     `cmd:"" help:"Make a project: a policy that works, a scenario, policy.toml."`
	Build   policyBuild   `cmd:"" help:"Build the project's module by the command in its policy.toml."`
	Check   policyCheck   `cmd:"" help:"Check a module as a gateway would, and its conformance, purity and fuel."`
	Test    policyTest    `cmd:"" help:"Run scenario files: a snapshot and a request in, the expected order and reason out."`
	Bench   policyBench   `cmd:"" help:"Measure decisions beside the built-in policies."`
	Run     policyRun     `cmd:"" help:"Decide one request and explain the decision."`
	Inspect policyInspect `cmd:"" help:"Show what a module exports, imports and says of itself."`
	List    policyList    `cmd:"" help:"List the policies of a running gateway, or the built-in ones."`
	Keygen  policyKeygen  `cmd:"" help:"Make a key pair for signing policies, in the format of minisign."`
	Sign    policySign    `cmd:"" help:"Sign a module, and vouch for what it may be given."`
	Verify  policyVerify  `cmd:"" help:"Verify a module's signature."`
	Train   policyTrain   `cmd:"" help:"Fit a policy's parameters to recorded answers."`

	Upload   policyUpload   `cmd:"" help:"Bring a module to a running gateway; it serves when it is activated."`
	Activate policyActivate `cmd:"" help:"Let an uploaded version serve."`
	Rollback policyRollback `cmd:"" help:"Let that serve which did before the last activation."`
	Rollout  policyRollout  `cmd:"" help:"Compare a new version with what serves, on a share of the sessions."`
	Shadow   policyShadow   `cmd:"" help:"Show what shadows would have decided."`
}

// moduleFlags say which module a command is about, and what it is given.
type moduleFlags struct {
	Module string   `arg:"" optional:"" help:"A .wasm file, a project's directory, or eco, balanced, precision or custom. Default: the project around the current directory."`
	Config []string `help:"Parameters, over those of policy.toml: --config min_quality=0.7, or a TOML file with the policy's part of a configuration." placeholder:"KEY=VALUE|FILE" sep:"none"`
	Grants []string `help:"What it may see and do: features, text, metadata, side_calls, state. Default: those of policy.toml, else none." sep:","`
	Fuel   int64    `help:"Fuel of a decision. Default: that of policy.toml, else a gateway's." placeholder:"UNITS"`
}

// module is one that was found, with what it is given.
type module struct {
	name     string
	path     string // "" for a built-in one
	wasm     []byte
	settings policies.Settings
	project  *project.Project // nil if it has none
}

// open finds and reads the module.
func (f moduleFlags) open() (*module, error) {
	m, err := f.find()
	if err != nil {
		return nil, err
	}
	if m.path != "" {
		m.wasm, err = readModule(m.path)
		if errors.Is(err, os.ErrNotExist) && m.project != nil {
			return nil, fmt.Errorf("%s is not built yet: run pointsman policy build", m.path)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(f.Grants) > 0 {
		if m.settings.Grants, err = signing.ParseGrants(f.Grants); err != nil {
			return nil, err
		}
	}
	if f.Fuel < 0 || f.Fuel > config.MaxFuel {
		return nil, fmt.Errorf("--fuel must be between 1 and %d", config.MaxFuel)
	}
	if f.Fuel > 0 {
		m.settings.Fuel = f.Fuel
	}
	if m.settings.Params = maps.Clone(m.settings.Params); m.settings.Params == nil {
		m.settings.Params = map[string]string{}
	}
	params, err := readParams(f.Config)
	maps.Copy(m.settings.Params, params)
	return m, err
}

func (f moduleFlags) find() (*module, error) {
	if wasm, ok := builtin.Modules()[f.Module]; ok {
		return &module{name: f.Module, wasm: wasm}, nil
	}
	ofProject := func(p *project.Project) *module {
		return &module{name: p.Name, path: p.Module, project: p, settings: policies.Settings{Params: p.Params, Grants: p.Grants, Fuel: p.Fuel}}
	}
	info, err := os.Stat(f.Module)
	switch {
	case f.Module == "":
		p, err := project.Find(".")
		if err != nil {
			return nil, err
		}
		return ofProject(p), nil
	case err != nil:
		near := config.Nearest(f.Module, slices.Sorted(maps.Keys(builtin.Modules())))
		if near != "" {
			return nil, fmt.Errorf("there is no file %s; did you mean the built-in policy %q?", f.Module, near)
		}
		return nil, err
	case info.IsDir():
		p, err := project.Find(f.Module)
		if err != nil {
			return nil, err
		}
		return ofProject(p), nil
	}
	path, err := filepath.Abs(f.Module)
	if err != nil {
		return nil, err
	}
	if p, err := project.Find(filepath.Dir(path)); err == nil && p.Module == path {
		return ofProject(p), nil
	} else if err != nil && !errors.Is(err, project.ErrNone) {
		return nil, err
	}
	return &module{name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), path: path}, nil
}

// readModule reads a file that is not larger than a module may be.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wasm, err := io.ReadAll(io.LimitReader(f, depot.MaxModule+1))
	if err != nil {
		return nil, err
	}
	if len(wasm) > depot.MaxModule {
		return nil, fmt.Errorf("%s has more than %d bytes, which no gateway takes", path, depot.MaxModule)
	}
	return wasm, nil
}

// where is how a module is called in messages.
func (m *module) where() string {
	if m.path == "" {
		return m.name + " (built-in)"
	}
	return shown(m.path)
}

// load starts the module on a host of its own.
func (m *module) load(settings policies.Config) (*policies.Host, policies.Info, error) {
	settings.CacheDir = compiledDir()
	host, err := policies.New(context.Background(), settings)
	if err != nil {
		return nil, policies.Info{}, err
	}
	info, err := host.Load(m.name, m.wasm, m.settings)
	if err != nil {
		_ = host.Close() // it never served
		return nil, info, err
	}
	return host, info, nil
}

// compiledDir is where compiled modules are kept between commands: a directory of the user's own, "" if there is none.
func compiledDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir := filepath.Join(cache, "pointsman", "compiled")
	if os.MkdirAll(dir, 0o700) != nil {
		return ""
	}
	return dir
}

// writeJSON prints a value for machines.
func writeJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// group writes a number with its thousands apart.
func group(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
