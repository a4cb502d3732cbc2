package main

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

var faultTest = regexp.MustCompile(`^TestF(\d+)[^\d]`)

// TestFaultMatrix holds tools/faults/matrix.txt and docs/reliability.md to the tests that there are: every test it names
// exists, tests named after a row are of a row that exists, and the table has every row.
func TestFaultMatrix(t *testing.T) {
	tests := map[string][]string{} // by directory
	for _, f := range goFiles(t) {
		if !f.isTest() {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				tests[f.dir()] = append(tests[f.dir()], fn.Name.Name)
			}
		}
	}
	docs, rows := readTree(t, "docs/reliability.md"), map[string]bool{}
	for line := range strings.SplitSeq(readTree(t, "tools/faults/matrix.txt"), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) < 2 || words[0] == "#":
		case words[0] == "=":
			for _, word := range words[2:] {
				pattern, _, _ := strings.Cut(word, "/")
				if word[0] == '^' && !matchesSome(t, pattern, tests[words[1]]) {
					t.Errorf("package %s has no test %s", words[1], word)
				}
			}
		case words[0][0] == 'F':
			rows[words[0]] = true
			if !strings.Contains(docs, "\n| "+words[0]+" | ") {
				t.Errorf("docs/reliability.md has no row %s: run make test-faults UPDATE=1", words[0])
			}
		}
	}
	for dir, names := range tests {
		for _, name := range names {
			if m := faultTest.FindStringSubmatch(name); m != nil && !rows["F"+m[1]] {
				t.Errorf("%s of %s is of no row", name, dir)
			}
		}
	}
}

func matchesSome(t *testing.T, pattern string, names []string) bool {
	t.Helper()
	re, err := regexp.Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}
