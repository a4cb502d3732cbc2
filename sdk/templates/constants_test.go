package templates

import (
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// updateFlag registers -update once for the package.
var update = flag.Bool("update", false, "rewrite the constants of the libraries")

// A policy's author needs the codes of the contract; the layout is the libraries' business.
var codes = regexp.MustCompile(`^(Version|NoModel|PlanReview|Candidate(Local|OwnKey)|(Grant|Max|Health|Mode|Cap|Task|Level|Privacy|Latency|Flag|Kind|Ask|` +
	`Failure|Finish|Reason|Because)[A-Z]\w*|Option(OwnKey|Simulated|Warm)|Outcome(OK|Empty|JSON|Refusal|RefusalPhrase|Simulated|OwnKey))$`)

// code is a constant of the contract with its comment.
type code struct {
	name    string
	value   uint64
	comment string
	group   string // the comment before the first of a group
}

func contractCodes(t *testing.T) (all []code) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "../abi/abi.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := (&types.Config{}).Check("abi", fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		about := strings.ReplaceAll(strings.TrimSpace(group.Doc.Text()), "\n", " ")
		for _, spec := range group.Specs {
			s := spec.(*ast.ValueSpec)
			for _, name := range s.Names {
				if !codes.MatchString(name.Name) {
					continue
				}
				value, exact := constant.Uint64Val(pkg.Scope().Lookup(name.Name).(*types.Const).Val())
				if !exact {
					t.Fatalf("%s is not a number", name.Name)
				}
				c := code{name: name.Name, value: value, comment: strings.TrimSpace(s.Comment.Text()), group: about}
				if strings.HasPrefix(about, "Snapshot buffer") || strings.HasPrefix(about, "Request buffer") ||
					strings.HasPrefix(about, "Plan buffer") || strings.HasPrefix(about, "Outcomes buffer") {
					c.group = ""
				}
				all = append(all, c)
				about = ""
			}
		}
	}
	return all
}

// snake is a name with underscores: NoModel becomes no_model.
func snake(name string) string {
	for _, word := range []string{"TTFT", "JSON", "RAG", "PDF", "OK"} {
		name = strings.ReplaceAll(name, word, word[:1]+strings.ToLower(word[1:]))
	}
	return strings.ToLower(regexp.MustCompile(`([a-z0-9])([A-Z])`).ReplaceAllString(name, "${1}_${2}"))
}

// TestConstants: the libraries have the codes of the contract, with their comments. With -update it writes them.
func TestConstants(t *testing.T) {
	all := contractCodes(t)
	for _, l := range []struct {
		file string
		line func(c code) string
	}{
		{"c/pointsman.h", func(c code) string {
			return fmt.Sprintf("#define PM_%s %du", strings.ToUpper(snake(c.name)), c.value)
		}},
		{"zig/pointsman.zig", func(c code) string { return fmt.Sprintf("pub const %s = %d;", snake(c.name), c.value) }},
		{"rust/src/pointsman.rs", func(c code) string {
			return fmt.Sprintf("pub const %s: %s = %d;", strings.ToUpper(snake(c.name)), rustType(c.name), c.value)
		}},
		{"assemblyscript/pointsman.ts", func(c code) string {
			return fmt.Sprintf("export const %s: u32 = %d;", strings.ToUpper(snake(c.name)), c.value)
		}},
	} {
		t.Run(filepath.Dir(l.file), func(t *testing.T) {
			text, err := os.ReadFile(l.file)
			if err != nil {
				t.Fatal(err)
			}
			before, rest, begun := strings.Cut(string(text), "// constants: begin\n")
			_, after, ended := strings.Cut(rest, "// constants: end\n")
			if !begun || !ended {
				t.Fatal("the file has no place for constants")
			}
			var block strings.Builder
			for _, c := range all {
				if c.group != "" {
					fmt.Fprintf(&block, "\n// %s\n", c.group)
				}
				line := l.line(c)
				if c.comment != "" {
					line += " // " + c.comment
				}
				block.WriteString(line + "\n")
			}
			want := before + "// constants: begin\n" + block.String() + "\n// constants: end\n" + after
			if string(text) == want {
				return
			}
			if !*update {
				t.Fatal("its constants are not those of the contract: run go test ./sdk/templates -run TestConstants -update")
			}
			if err := os.WriteFile(l.file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// rustType is the type of the record's field that a code stands in, so that authors need no conversion.
func rustType(name string) string {
	for _, prefix := range []string{"Health", "Mode", "Task", "Level", "Privacy", "Latency", "Flag", "Kind", "Ask", "Failure", "Finish", "Option", "PlanReview"} {
		if strings.HasPrefix(name, prefix) {
			return "u8"
		}
	}
	switch {
	case strings.HasPrefix(name, "Reason"), strings.HasPrefix(name, "Because"), name == "NoModel":
		return "u16"
	case strings.HasPrefix(name, "Max"):
		return "usize"
	}
	return "u32"
}
