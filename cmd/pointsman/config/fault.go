package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Fault is one thing wrong in a configuration file.
type Fault struct {
	File         string
	Line, Column int    // from 1, column in characters; 0 if the fault has no place in the file
	Message      string // never holds the value of a secret
	Excerpt      string // the line with a caret under the column, values that are not at fault left out; may be empty
}

// String is "file:line:column: message" and the excerpt.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File + ":")
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", f.Line, f.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(f.Message)
	if f.Excerpt != "" {
		b.WriteString("\n" + f.Excerpt)
	}
	return b.String()
}

// Error is every fault found in a configuration, in the order of the file. [Load] and [Parse] return it as *Error.
type Error struct{ Faults []Fault }

// Error lists the faults, one after another.
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// sortFaults orders by place; several at one place stay in the order they were found.
func sortFaults(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

var (
	quotedText = regexp.MustCompile("(^|[ :])(\"[^\"]{4,}\"|'[^']{4,}'|`[^`]{4,}`)")
	plainKey   = regexp.MustCompile(`^\s*[A-Za-z0-9_.-]{1,40}\s*=`)
	plainTable = regexp.MustCompile(`^\s*\[{1,2}[A-Za-z0-9_. -]{1,60}\]{0,2}\s*$`)
)

// syntaxFault words an error of the TOML package. Its messages quote the text at fault, which may be a secret that lost
// its quotes, so longer quotations are left out, as is all of the line that is not plainly a key or a table header.
func syntaxFault(file, text string, err error) Fault {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return Fault{File: file, Line: 1, Column: 1, Message: "cannot read the file as TOML"}
	}
	message := parse.Message
	if !strings.HasPrefix(message, "Key ") {
		message = quotedText.ReplaceAllString(message, "${1}…")
	}
	// The offset is the reliable part of the position: for a line end the line is already the next one.
	offset := min(max(parse.Position.Start, 0), len(text))
	f := Fault{File: file, Message: printable(message)}
	f.Line, f.Column = lineColumn(text, offset)
	start := strings.LastIndexByte(text[:offset], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	shown := line
	if !plainTable.MatchString(line) {
		if shown = plainKey.FindString(line); shown == "" {
			return f
		}
		shown += " …"
	}
	caret := min(f.Column, len([]rune(shown)))
	margin := fmt.Sprint(f.Line)
	f.Excerpt = fmt.Sprintf("  %s | %s\n  %*s | %*s", margin, printable(shown), len(margin), "", caret, "^")
	return f
}

// Nearest is the candidate closest to name, "" if none is close enough to be what was meant.
func Nearest(name string, candidates []string) string {
	best, bestDistance := "", 1+(len(name)+2)/3
	for _, candidate := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < bestDistance && candidate != "" {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// instead is the ending of a message about a word that is not one of a few.
func instead(word string, allowed []string) string {
	if hint := meant(word, allowed); hint != "" {
		return hint
	}
	return " (one of: " + strings.Join(allowed, ", ") + ")"
}

// meant is the ending of a message about a misspelt name.
func meant(name string, candidates []string) string {
	if n := Nearest(name, candidates); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}

// distance is the Levenshtein distance, cut off for long names.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
