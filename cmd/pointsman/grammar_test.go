package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestGrammar: a command that is read alone says of itself and all below it what it says among the others.
func TestGrammar(t *testing.T) {
	all := newParser(grammar(nil), terminal{&bytes.Buffer{}, &bytes.Buffer{}})
	if n := len(all.Model.Children); n < 20 {
		t.Fatalf("%d commands", n)
	}
	for _, command := range all.Model.Children {
		alone := newParser(grammar([]string{command.Name, "--help"}), terminal{&bytes.Buffer{}, &bytes.Buffer{}})
		if n := len(alone.Model.Children); n != 1 {
			t.Fatalf("%s is read with %d others", command.Name, n-1)
		}
		for _, leaf := range append(command.Leaves(true), command) {
			if path := strings.Fields(leaf.Path()); usage(t, alone, path) != usage(t, all, path) {
				t.Errorf("%s: %s", path, usage(t, alone, path))
			}
		}
	}
}

func usage(t *testing.T, parser *kong.Kong, args []string) string {
	t.Helper()
	ctx, err := kong.Trace(parser, args)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	parser.Stdout = &out
	if err := ctx.PrintUsage(false); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
