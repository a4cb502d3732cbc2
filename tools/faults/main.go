// Command faults runs the fault matrix: every row of matrix.txt with its tests, in full. It writes what each row came to, with the
// figures that its tests report, and puts the table into docs/reliability.md if it is asked to. A row is green if all its tests
// passed, none was skipped, and nothing is said to be missing.
//
// Run it from the root of the repository: make test-faults, ROWS="F4 F5" for some rows, UPDATE=1 to rewrite them in the table.
package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed matrix.txt
var matrix string

const (
	docs       = "docs/reliability.md"
	tableBegin = "<!-- The table is written by `make test-faults UPDATE=1` -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// row is a fault.
type row struct {
	name, fault, holds string
	runs               []*run
	missing            []string
}

// run is one call of `go test`. Rows share it.
type run struct {
	dir      string
	flags    []string
	env      []string
	patterns []string

	results map[string]*result // by test, without subtests
	broken  string             // why there are none
}

// result is what became of a test.
type result struct {
	action  string // pass, skip or fail: the worst that became of it or of a subtest
	figures []string
	output  []string
}

func main() {
	update := flag.Bool("update", false, "rewrite the table of "+docs)
	only := flag.String("rows", "", "rows to run, as F4 F5; all if it is empty")
	list := flag.Bool("list", false, "print the rows and their tests, and run nothing")
	flag.Parse()
	if err := work(*update, *list, strings.Fields(*only)); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func work(update, list bool, only []string) error {
	rows, err := parse(matrix)
	if err != nil {
		return err
	}
	if err := addNamed(rows); err != nil {
		return err
	}
	done, failed, red := map[*run]bool{}, 0, 0
	for _, r := range rows {
		if len(only) > 0 && !slices.Contains(only, r.name) {
			continue
		}
		if list {
			fmt.Println(r.name, r.fault)
			for _, t := range r.runs {
				fmt.Println("   ", t.dir, t.env, t.flags, t.patterns)
			}
			continue
		}
		for _, t := range r.runs {
			if !done[t] {
				done[t] = true
				t.run()
			}
		}
		green, says := r.verdict()
		fmt.Printf("%-4s %-5s %s: %s\n", r.name, color(green), r.fault, says)
		if !green && len(r.missing) == 0 {
			red++
		}
		for _, t := range r.runs {
			failed += t.complain()
		}
	}
	if list {
		return nil
	}
	if update {
		if err := write(rows, only); err != nil {
			return err
		}
	}
	if red > 0 {
		return fmt.Errorf("%d rows are red that should be green; %d tests failed", red, failed)
	}
	return nil
}

// parse reads the matrix. Runs that are alike become one.
func parse(text string) (rows []*row, err error) {
	shared := map[string]*run{}
	for n, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == 'F':
			name, rest, _ := strings.Cut(line, " ")
			fault, holds, ok := strings.Cut(rest, " | ")
			if !ok {
				return nil, fmt.Errorf("line %d says not what must hold", n+1)
			}
			rows = append(rows, &row{name: name, fault: strings.TrimSpace(fault), holds: holds})
		case len(rows) == 0:
			return nil, fmt.Errorf("line %d is in no row", n+1)
		case line[0] == '=':
			key := strings.Join(strings.Fields(line[1:]), " ")
			if shared[key] == nil {
				words := strings.Fields(key)
				t := &run{dir: words[0]}
				for _, word := range words[1:] {
					switch {
					case word[0] == '^':
						t.patterns = append(t.patterns, word)
					case word[0] == '-':
						t.flags = append(t.flags, word)
					default:
						t.env = append(t.env, word)
					}
				}
				shared[key] = t
			}
			r := rows[len(rows)-1]
			r.runs = append(r.runs, shared[key])
		case line[0] == '!':
			r := rows[len(rows)-1]
			r.missing = append(r.missing, strings.TrimSpace(line[1:]))
		default:
			return nil, fmt.Errorf("line %d is of no kind", n+1)
		}
	}
	return rows, nil
}

var named = regexp.MustCompile(`(?m)^func (TestF(\d+)[^\d(][^(]*)\(`)

// addNamed finds the tests that name their row.
func addNamed(rows []*row) error {
	return filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (entry.Name()[0] == '.' || entry.Name() == "node_modules" || entry.Name() == "testdata" || path == "tools"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_linux_test.go") && runtime.GOOS != "linux":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range named.FindAllSubmatch(text, -1) {
			i := slices.IndexFunc(rows, func(r *row) bool { return r.name == "F"+string(found[2]) })
			if i < 0 {
				return fmt.Errorf("%s: %s is of no row", path, found[1])
			}
			rows[i].add(filepath.ToSlash(filepath.Dir(path)), "^"+string(found[1])+"$")
		}
		return nil
	})
}

// add puts a test into a run of the row's own.
func (r *row) add(dir, pattern string) {
	i := slices.IndexFunc(r.runs, func(t *run) bool { return t.dir == dir && t.env == nil && t.flags == nil })
	if i < 0 {
		i = len(r.runs)
		r.runs = append(r.runs, &run{dir: dir})
	}
	r.runs[i].patterns = append(r.runs[i].patterns, pattern)
}

// event is a line of `go test -json`.
type event struct {
	Action, Test, Output string
}

// run runs the tests and takes what they say.
func (t *run) run() {
	t.results = map[string]*result{}
	args := append([]string{"test", "-json", "-count=1", "-timeout=2h", "-run", strings.Join(t.patterns, "|")}, t.flags...)
	cmd := exec.Command("go", append(args, "./"+t.dir)...)
	cmd.Env = append(append(os.Environ(), "POINTSMAN_FAULTS=full"), t.env...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.broken = err.Error()
		return
	}
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Buffer(nil, 16<<20); lines.Scan(); {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			said = append(said, lines.Text())
			continue
		}
		name, _, _ := strings.Cut(e.Test, "/")
		if name == "" {
			said = append(said, e.Output)
			continue
		}
		x := t.results[name]
		if x == nil {
			x = &result{}
			t.results[name] = x
		}
		x.take(&e)
	}
	err = cmd.Wait()
	if len(t.results) == 0 {
		t.broken = fmt.Sprintf("no test ran: %v %s", err, strings.Join(said, ""))
	}
}

func (x *result) take(e *event) {
	switch e.Action {
	case "output":
		if _, figure, ok := strings.Cut(e.Output, "figure: "); ok {
			x.figures = append(x.figures, strings.TrimSpace(figure))
		}
		if strings.Contains(e.Output, "level=") {
			return // of a gateway's log
		}
		if x.output = append(x.output, e.Output); len(x.output) > 200 {
			x.output = slices.Delete(x.output, 0, 100)
		}
	case "pass", "fail", "skip":
		if slices.Index(actions, e.Action) > slices.Index(actions, x.action) {
			x.action = e.Action
		}
	}
}

// actions are what may become of a test, from nothing to the worst.
var actions = []string{"", "pass", "skip", "fail"}

// complain prints what the tests that failed have said, and counts them.
func (t *run) complain() (failed int) {
	if t.broken != "" {
		fmt.Println(t.broken)
		failed++
	}
	for name, x := range t.results {
		if x.action == "pass" || x.action == "skip" {
			continue
		}
		failed++
		fmt.Println("    " + name)
		for _, line := range x.output {
			fmt.Print("        " + line)
		}
		x.output = nil // once
	}
	return failed
}

// verdict tells whether a row is green, and what it came to.
func (r *row) verdict() (green bool, says string) {
	green = len(r.missing) == 0
	parts := slices.Clone(r.missing)
	tests := 0
	for _, t := range r.runs {
		if t.broken != "" {
			tests++
			green, parts = false, append(parts, "the tests of "+t.dir+" did not run")
		}
		for name, x := range t.results {
			tests++
			switch x.action {
			case "pass":
				parts = append(parts, x.figures...)
			case "skip":
				green, parts = false, append(parts, name+" was skipped")
			default:
				green, parts = false, append(parts, name+" failed")
			}
		}
	}
	if tests == 0 && len(r.missing) == 0 {
		return false, "not yet: no test tries it"
	}
	if len(parts) == 0 {
		parts = append(parts, "tests that passed: "+strconv.Itoa(tests))
	}
	return green, strings.Join(merge(parts), "; ")
}

// measured is a number with a unit that belongs to it, or a duration.
var measured = regexp.MustCompile(`-?\d+(?:\.\d+)?(?:(?:ns|µs|ms|s|m|h)\b)?`)

// merge makes one of figures that differ in their numbers alone: each has the range of its numbers then.
func merge(figures []string) (merged []string) {
	alike := map[string][]string{}
	for _, figure := range figures {
		words := measured.ReplaceAllString(figure, "#")
		alike[words] = append(alike[words], figure)
	}
	for _, words := range slices.Sorted(maps.Keys(alike)) {
		all := alike[words]
		least := measured.FindAllString(all[0], -1)
		most := slices.Clone(least)
		for _, figure := range all[1:] {
			for i, n := range measured.FindAllString(figure, -1) {
				if size(n) < size(least[i]) {
					least[i] = n
				}
				if size(n) > size(most[i]) {
					most[i] = n
				}
			}
		}
		i := -1
		text := measured.ReplaceAllStringFunc(all[0], func(string) string {
			if i++; least[i] == most[i] {
				return least[i]
			}
			return least[i] + " to " + most[i]
		})
		if len(all) > 1 {
			text = fmt.Sprintf("%d times: %s", len(all), text)
		}
		merged = append(merged, text)
	}
	return merged
}

// size is a number, or a duration in seconds.
func size(text string) float64 {
	if d, err := time.ParseDuration(text); err == nil {
		return d.Seconds()
	}
	n, _ := strconv.ParseFloat(text, 64) // the pattern is that of a number
	return n
}

func color(green bool) string {
	if green {
		return "green"
	}
	return "**red**"
}

// write puts the rows that ran into the table of the docs, and leaves the others as they are.
func write(rows []*row, only []string) error {
	data, err := os.ReadFile(docs)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table", docs)
	}
	former := map[string]string{}
	for line := range strings.Lines(table) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok {
			former[name] = line
		}
	}
	var b strings.Builder
	green := 0
	b.WriteString("| | what goes wrong | what must hold | | what the run came to |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		line := former[r.name]
		if len(only) == 0 || slices.Contains(only, r.name) {
			ok, says := r.verdict()
			line = fmt.Sprintf("| %s | %s | %s | %s | %s |\n", r.name, r.fault, r.holds, color(ok), strings.NewReplacer("|", "\\|", "\n", " ").Replace(says))
		}
		b.WriteString(line)
		if strings.Contains(line, " | green | ") {
			green++
		}
	}
	fmt.Fprintf(&b, "\n%d of %d rows are green, on %d cores, %s/%s, %s.\n", green, len(rows), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return os.WriteFile(docs, []byte(before+tableBegin+b.String()+tableEnd+after), 0o644)
}
