package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/pointsman/pointsman"

// sourceFile is one Go file of the tree. The structure tests read them all in process, so that the test cache notices
// every change: a test that asks the go command instead passes from the cache when a rule is broken.
type sourceFile struct {
	path      string // from the root, with slashes
	text      string
	ast       *ast.File
	positions *token.FileSet
}

func (f *sourceFile) dir() string     { return path.Dir(f.path) }
func (f *sourceFile) isTest() bool    { return strings.HasSuffix(f.path, "_test.go") }
func (f *sourceFile) generated() bool { return ast.IsGenerated(f.ast) }
func (f *sourceFile) line(p token.Pos) int {
	return f.positions.Position(p).Line
}

// parseSource makes a sourceFile of text; the tests of the checks plant violations with it.
func parseSource(t *testing.T, name, text string) *sourceFile {
	t.Helper()
	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return &sourceFile{name, text, parsed, positions}
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the test's directory")
	}
}

// ignored tells what version control leaves out, by .gitignore's rules.
func ignored(name string) bool {
	base := path.Base(name)
	return slices.Contains([]string{".git", ".cache", "bin", "dist", "data"}, name) || base == "node_modules" ||
		strings.HasSuffix(base, ".test") || strings.HasSuffix(base, ".prof")
}

// walkTree calls visit for every file of the repository.
func walkTree(t *testing.T, visit func(name string, entry fs.DirEntry)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, full)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case ignored(name) && entry.IsDir():
			return fs.SkipDir
		case !ignored(name) && entry.Type().IsRegular():
			visit(name, entry)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var parsedTree struct {
	once  sync.Once
	files []*sourceFile
}

// goFiles are all Go files of the module, parsed once.
func goFiles(t *testing.T) []*sourceFile {
	t.Helper()
	parsedTree.once.Do(func() {
		walkTree(t, func(name string, _ fs.DirEntry) {
			if path.Ext(name) != ".go" || strings.Contains(name, "/testdata/") || strings.HasPrefix(name, "tools/") {
				return
			}
			parsedTree.files = append(parsedTree.files, parseSource(t, name, readTree(t, name)))
		})
	})
	if len(parsedTree.files) < 100 {
		t.Fatalf("only %d Go files found: the walk is broken", len(parsedTree.files))
	}
	return parsedTree.files
}

func readTree(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
