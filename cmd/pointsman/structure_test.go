package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxFileLines     = 800
	requestsWay      = "engine/chat.go" // to be read from top to bottom
	maxWayLines      = 250
	maxFunctionLines = 120
	maxMethods       = 5 // of an interface
)

// The names of packages that would hold anything at all.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "misc", "shared", "base", "lib"}

// The top level of the repository, beside dot files.
var topLevel = strings.Fields("README.md ARCHITECTURE.md RATIONALE.md CONTRIBUTING.md CHANGELOG.md SECURITY.md LICENSE " +
	"go.mod go.sum Makefile cmd engine policies plugins storage sdk examples docs deploy scripts tools")

// TestStructure keeps Go files small, documented and free of hidden work.
func TestStructure(t *testing.T) {
	packages := map[string][]*sourceFile{}
	for _, f := range goFiles(t) {
		for _, fault := range checkFile(f) {
			t.Error(fault)
		}
		packages[f.dir()] = append(packages[f.dir()], f)
	}
	for dir, files := range packages {
		for _, fault := range checkPackage(dir, files) {
			t.Error(fault)
		}
	}
}

// checkFile lists what is wrong with one Go file. Generated files may be as they are.
func checkFile(f *sourceFile) (faults []string) {
	if f.generated() {
		return nil
	}
	report := func(line int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: %s", f.path, line, fmt.Sprintf(format, args...)))
	}
	limit := maxFileLines
	if f.path == requestsWay {
		limit = maxWayLines
	}
	if n := strings.Count(f.text, "\n"); n > limit {
		report(n, "the file has %d lines, %d are enough", n, limit)
	}
	for _, decl := range f.ast.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > maxFunctionLines {
			report(f.line(fn.Pos()), "function %s has %d lines, %d are enough", fn.Name.Name, n, maxFunctionLines)
		}
		if fn.Name.Name == "init" && fn.Recv == nil && !f.isTest() && !isGuest(f) {
			report(f.line(fn.Pos()), "func init is work that nobody calls: pass what it sets up")
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if i, ok := n.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
			report(f.line(i.Pos()), "the interface has %d methods, %d are enough: rare abilities are interfaces of their own", i.Methods.NumFields(), maxMethods)
		}
		return true
	})
	if !f.isTest() {
		undocumented(f, report)
	}
	return faults
}

// isGuest tells whether the file is part of a policy module. Its main function never runs, so it registers in init.
func isGuest(f *sourceFile) bool {
	return f.ast.Name.Name == "main" && slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool {
		return i.Path.Value == `"`+modulePath+`/sdk/policy"`
	})
}

// undocumented reports exported names without a comment. One on the group is enough for constants and variables.
func undocumented(f *sourceFile, report func(line int, format string, args ...any)) {
	need := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d != nil }) {
			report(f.line(name.Pos()), "%s is exported and has no comment", name.Name)
		}
	}
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || receiver(d).IsExported() {
				need(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					need(s.Name, d.Doc, s.Doc, s.Comment)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						need(name, d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
}

// receiver is the name of a method's type.
func receiver(d *ast.FuncDecl) *ast.Ident {
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e
		default:
			return ast.NewIdent("_")
		}
	}
}

// checkPackage wants a telling name, and one comment that says what the package is for.
func checkPackage(dir string, files []*sourceFile) (faults []string) {
	if slices.Contains(emptyNames, path.Base(dir)) {
		faults = append(faults, fmt.Sprintf("%s: a package is named for what it holds, and anything fits %q", dir, path.Base(dir)))
	}
	files = slices.DeleteFunc(slices.Clone(files), (*sourceFile).isTest)
	documented := func(f *sourceFile) bool { return strings.TrimSpace(f.ast.Doc.Text()) != "" && !f.generated() }
	if len(files) > 0 && !slices.ContainsFunc(files, documented) {
		faults = append(faults, fmt.Sprintf("%s: no file has a package comment", dir))
	}
	return faults
}

// TestText keeps what belongs to one machine or to a later day out of every file.
func TestText(t *testing.T) {
	walkTree(t, func(name string, entry fs.DirEntry) {
		if info, err := entry.Info(); err != nil || info.Size() > 1<<20 {
			return
		}
		for _, fault := range checkText(name, readTree(t, name)) {
			t.Error(fault)
		}
	})
}

// Written in pieces, so that this file passes.
var (
	laterDay   = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	oneMachine = regexp.MustCompile(`(^|[^\w.-])/(wo` + `rk|ro` + `ot|Us` + `ers|ho` + `me)/[\w.]`)
	registry   = regexp.MustCompile(`^\s*"resolved":`)
)

// checkText lists lines that name a path of somebody's machine, put something off, or bind a lock file to a registry.
func checkText(name, text string) (faults []string) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil // not text
	}
	for i, line := range strings.Split(text, "\n") {
		why := ""
		switch {
		case laterDay.MatchString(line):
			why = "do it now, or write down why not where users read it"
		case oneMachine.MatchString(line):
			why = "a path that exists on one machine only"
		case path.Base(name) == "package-lock.json" && registry.MatchString(line):
			why = "lock files hold no addresses: run npm with omit-lockfile-registry-resolved=true"
		}
		if why != "" {
			faults = append(faults, fmt.Sprintf("%s:%d: %s: %.100q", name, i+1, why, line))
		}
	}
	return faults
}

// TestTopLevel keeps the front of the house tidy.
func TestTopLevel(t *testing.T) {
	var names []string
	walkTree(t, func(name string, _ fs.DirEntry) {
		top, _, _ := strings.Cut(name, "/")
		names = append(names, top)
	})
	slices.Sort(names)
	for _, fault := range checkTopLevel(slices.Compact(names)) {
		t.Error(fault)
	}
}

func checkTopLevel(names []string) (faults []string) {
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			faults = append(faults, fmt.Sprintf("%s has no place at the top of the repository", name))
		}
	}
	return faults
}

// TestStructureCheck plants faults and sees them found.
func TestStructureCheck(t *testing.T) {
	lines := func(n int, line string) string { return strings.Repeat(line+"\n", n) }
	for _, c := range []struct {
		name, path, text string
		want             string // part of the fault; "" for none
	}{
		{"a plain file", "a/a.go", "// Package a does.\npackage a\n\n// F does.\nfunc F() {}\n", ""},
		{"a long file", "a/a.go", "// Package a does.\npackage a\n" + lines(800, "// a"), "the file has 802 lines"},
		{"a file at the limit", "a/a.go", "// Package a does.\npackage a\n" + lines(798, "// a"), ""},
		{"a long generated file", "a/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage a\n" + lines(900, "// a"), "no file has a package comment"},
		{"a long function", "a/a.go", "// Package a does.\npackage a\n\nfunc f() {\n" + lines(119, "_ = 0") + "}\n", "function f has 121 lines"},
		{"a function at the limit", "a/a.go", "// Package a does.\npackage a\n\nfunc f() {\n" + lines(118, "_ = 0") + "}\n", ""},
		{"a long method in a test", "a/a_test.go", "package a\n\nfunc (x T) f() {\n" + lines(130, "_ = 0") + "}\n", "function f has 132 lines"},
		{"a wide interface", "a/a.go", "// Package a does.\npackage a\n\ntype i interface{ A(); B(); C(); D(); E(); F() }\n", "6 methods"},
		{"an interface at the limit", "a/a.go", "// Package a does.\npackage a\n\ntype i interface{ A(); B(); C(); D(); E() }\n", ""},
		{"a wide interface inside a function", "a/a.go", "// Package a does.\npackage a\n\nvar x = any(nil).(interface{ A(); B(); C(); D(); E(); F() })\n", "6 methods"},
		{"init", "a/a.go", "// Package a does.\npackage a\n\nfunc init() {}\n", "func init"},
		{"init in a test", "a/a_test.go", "package a\n\nfunc init() {}\n", ""},
		{"init of a policy", "examples/policy-x/main.go", "// Package main is a policy.\npackage main\n\nimport \"" + modulePath + "/sdk/policy\"\n\nfunc init() { policy.Register(policy.Policy{}) }\n", ""},
		{"a method named init", "a/a.go", "// Package a does.\npackage a\n\nfunc (t) init() {}\n", ""},
		{"no package comment", "a/a.go", "package a\n", "no file has a package comment"},
		{"a package of tests", "a/a_test.go", "package a\n", ""},
		{"a package for anything", "a/util/a.go", "// Package util does.\npackage util\n", "named for what it holds"},
		{"a function without a comment", "a/a.go", "// Package a does.\npackage a\n\nfunc F() {}\n", "F is exported"},
		{"a method without a comment", "a/a.go", "// Package a does.\npackage a\n\nfunc (t *T[K]) F() {}\n", "F is exported"},
		{"a method of a hidden type", "a/a.go", "// Package a does.\npackage a\n\nfunc (t *t) F() {}\n", ""},
		{"a type without a comment", "a/a.go", "// Package a does.\npackage a\n\ntype T int\n", "T is exported"},
		{"a group with a comment", "a/a.go", "// Package a does.\npackage a\n\n// Colours.\nconst (\n\tRed = 1\n)\n", ""},
		{"a comment behind", "a/a.go", "// Package a does.\npackage a\n\nconst (\n\tRed = 1 // like blood\n\tBlue = 2\n)\n", "Blue is exported"},
	} {
		f := parseSource(t, c.path, c.text)
		faults := strings.Join(append(checkFile(f), checkPackage(f.dir(), []*sourceFile{f})...), "\n")
		if (c.want == "") != (faults == "") || !strings.Contains(faults, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, faults, c.want)
		}
	}
}

// TestTextCheck plants lines and sees them found.
func TestTextCheck(t *testing.T) {
	for _, c := range []struct {
		name, line, file string
		found            bool
	}{
		{"put off", "// TO" + "DO: later", "", true},
		{"put off, part of a word", "method" + "TO" + "DOS", "", false},
		{"to be mended", "FIX" + "ME", "", true},
		{"a machine's path", "cd /wo" + "rk/main", "", true},
		{"a user's path", `"/ho` + `me/joe/x"`, "", true},
		{"a part of an address", "https://example.com/wo" + "rk/x", "", false},
		{"a data directory", "/var/lib/pointsman", "", false},
		{"a lock file's address", `  "resolved": "https://example.com/x.tgz",`, "a/package-lock.json", true},
		{"the word in another file", `  "resolved": "https://example.com/x.tgz",`, "a/b.json", false},
		{"not text", "TO" + "DO\x00", "", false},
	} {
		if faults := checkText(cmp.Or(c.file, "a.md"), "one\n"+c.line+"\n"); (len(faults) > 0) != c.found {
			t.Errorf("%s: found %q", c.name, faults)
		}
	}
	if faults := checkTopLevel([]string{".ci", "cmd", "leftovers"}); len(faults) != 1 || !strings.HasPrefix(faults[0], "leftovers") {
		t.Errorf("top level: found %q", faults)
	}
}
