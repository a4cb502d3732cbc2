package project

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/examples"
	"github.com/pointsman/pointsman/sdk"
)

//go:embed plugins
var pluginFiles embed.FS

// PluginLanguage is one that provider plugins can be started in.
type PluginLanguage struct {
	Name    string     // as in "--lang python"
	Program string     // what the gateway starts, from the project's directory; "" for the project's name
	Steps   [][]string // commands that make it ready
	example string     // where its source is
	rename  string     // the example's adapter, which gets the project's name
}

// PluginLanguages are all languages there are templates of plugins for, sorted by name.
func PluginLanguages() []PluginLanguage {
	return []PluginLanguage{
		{Name: "go", Steps: [][]string{{"go", "build", "-o", "plugin-name", "."}}, example: "provider-go", rename: `"parrot"`},
		{Name: "node", Program: "plugin.js", Steps: [][]string{{"npm", "ci"}}, example: "provider-node", rename: `"parrot-node"`},
		{
			Name: "python", Program: "plugin.py", example: "provider-python", rename: `"parrot-python"`,
			Steps: [][]string{{"python3", "-m", "venv", ".venv"}, {".venv/bin/pip", "install", "-r", "requirements.txt"}},
		},
	}
}

// Plugin is a new project of a provider plugin.
type Plugin struct {
	Dir     string
	Program string // from Dir
	Steps   [][]string
}

// NewPlugin makes a provider plugin in a directory, which must be new or empty. The adapter has the project's name.
func NewPlugin(dir, language, name string) (Plugin, error) {
	languages := PluginLanguages()
	i := slices.IndexFunc(languages, func(l PluginLanguage) bool { return l.Name == language })
	switch {
	case i < 0:
		return Plugin{}, fmt.Errorf("there is no template for plugins in %.40q; there is go, node, python", language)
	case !regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`).MatchString(name):
		return Plugin{}, fmt.Errorf("name %.40q must be 1 to 32 lower-case letters, digits or hyphens, a letter first", name)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return Plugin{}, fmt.Errorf("%s is there and not empty", dir)
	}
	l := languages[i]
	err := copyTree(examples.Providers(), l.example, dir, strings.NewReplacer(l.rename, fmt.Sprintf("%q", name)))
	if err == nil {
		err = copyTree(pluginFiles, "plugins/"+language, dir, strings.NewReplacer("plugin-name", name))
	}
	switch {
	case err != nil:
	case language == "go":
		err = copyProviderSDK(dir)
	default:
		var proto []byte
		if proto, err = fs.ReadFile(sdk.ProviderSource(), "provider/rpc/v1/provider.proto"); err == nil {
			err = writeFile(filepath.Join(dir, "provider.proto"), proto)
		}
	}
	if err != nil {
		return Plugin{}, fmt.Errorf("making a plugin: %w", err)
	}
	p := Plugin{Dir: dir, Program: l.Program}
	if p.Program == "" {
		p.Program = name
	} else if err := os.Chmod(filepath.Join(dir, p.Program), 0o755); err != nil {
		return Plugin{}, fmt.Errorf("making a plugin: %w", err)
	}
	for _, step := range l.Steps {
		step = slices.Clone(step)
		for i := range step {
			step[i] = strings.ReplaceAll(step[i], "plugin-name", name)
		}
		p.Steps = append(p.Steps, step)
	}
	return p, nil
}

// copyTree copies embedded files with replacements. What cannot be embedded under its own name ends in .template.
func copyTree(from fs.FS, root, dir string, replace *strings.Replacer) error {
	return fs.WalkDir(from, root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, file)
		if err != nil {
			return err
		}
		target := strings.TrimSuffix(strings.TrimPrefix(file, root+"/"), ".template")
		switch target {
		case "gitignore":
			target = ".gitignore"
		case "sdk.go.mod":
			target = "pointsman-sdk/go.mod"
		}
		return writeFile(filepath.Join(dir, filepath.FromSlash(target)), []byte(replace.Replace(string(text))))
	})
}

// copyProviderSDK puts the SDK beside a Go plugin, as the module that its go.mod replaces. What the SDK imports of other
// modules comes from the go command's cache or the network.
func copyProviderSDK(dir string) error {
	return fs.WalkDir(sdk.ProviderSource(), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(sdk.ProviderSource(), file)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, "pointsman-sdk", filepath.FromSlash(path.Join("sdk", file))), bytes.Clone(text))
	})
}
