package config

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// path names one key or array element of a document: each step is a NUL and the key, or a SOH and the index.
type path string

func (p path) key(name string) path { return p + "\x00" + path(name) }
func (p path) at(i int) path        { return p + "\x01" + path(strconv.Itoa(i)) }

// span is a range of byte offsets.
type span struct{ start, end int }

// place is where a key and its value stand. Of a table header value is empty; of an array element key equals value.
type place struct{ key, value span }

// index knows where everything in a TOML document stands. The TOML package gives no positions of keys or values.
type index struct {
	text   string
	places map[path]place
	hidden []span // scalar values and comments, in order: excerpts leave them out
}

var errTooDeep = errors.New("values are nested too deeply")

const maxDepth = 32

// newIndex scans a document. Text that is not TOML gives an index of what came before the fault; the TOML package says
// what is wrong with it. The only error is [errTooDeep], found here so that no recursive reader sees such text.
func newIndex(text string) (*index, error) {
	s := scanner{index: &index{text: text, places: make(map[path]place)}, tables: make(map[path]int)}
	err := s.document()
	if errors.Is(err, errTooDeep) {
		return s.index, err
	}
	return s.index, nil
}

// lineColumn counts from 1; columns are characters.
func lineColumn(text string, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// excerpt is the line around offset with every scalar value and comment left out, but for a value that starts at reveal,
// and a second line with a caret under offset.
func (x *index) excerpt(offset, reveal int) string {
	start := strings.LastIndexByte(x.text[:offset], '\n') + 1
	end := len(x.text)
	if i := strings.IndexByte(x.text[offset:], '\n'); i >= 0 {
		end = offset + i
	}
	if end > offset && x.text[end-1] == '\r' {
		end--
	}
	var b strings.Builder
	caret := 0
	next := 0
	for next < len(x.hidden) && x.hidden[next].end <= start {
		next++
	}
	for pos := start; pos < end; {
		if pos >= offset && caret == 0 {
			caret = utf8.RuneCountInString(b.String()) + 1
		}
		if next < len(x.hidden) && pos >= x.hidden[next].start {
			h := x.hidden[next]
			next++
			switch {
			case h.start == reveal:
				b.WriteString(printable(x.text[pos:min(h.end, end)]))
			case x.text[h.start] != '#':
				b.WriteString("…")
			}
			pos = min(h.end, end)
			continue
		}
		_, size := utf8.DecodeRuneInString(x.text[pos:end])
		b.WriteString(printable(x.text[pos : pos+size]))
		pos += size
	}
	line := strings.TrimRight(b.String(), " ")
	if utf8.RuneCountInString(line) > 160 || caret == 0 {
		return ""
	}
	number, _ := lineColumn(x.text, offset)
	margin := strconv.Itoa(number)
	return "  " + margin + " | " + line + "\n  " + strings.Repeat(" ", len(margin)) + " | " + strings.Repeat(" ", caret-1) + "^"
}

// printable keeps an excerpt from steering the terminal it is printed on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			return '?'
		}
		return r
	}, text)
}

// scanner walks a document that the TOML package will check, so it only has to place right what is right.
type scanner struct {
	*index
	pos    int
	tables map[path]int // tables seen of each array of tables
}

var errScan = errors.New("not TOML")

// part is one part of a dotted key.
type part struct {
	name string
	span span
}

func (s *scanner) document() error {
	var table path
	for {
		s.blank(true)
		if s.pos >= len(s.text) {
			return nil
		}
		var err error
		if s.text[s.pos] == '[' {
			table, err = s.header()
		} else {
			err = s.pair(table, 0)
		}
		if err != nil {
			return err
		}
	}
}

// blank skips spaces and comments, and line ends if lines is set.
func (s *scanner) blank(lines bool) {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == ' ' || c == '\t', lines && (c == '\n' || c == '\r'):
			s.pos++
		case c == '#':
			start := s.pos
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
			s.hidden = append(s.hidden, span{start, s.pos})
		default:
			return
		}
	}
}

func (s *scanner) accept(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// header reads [a.b] or [[a.b]] and gives the table that the following pairs belong to.
func (s *scanner) header() (path, error) {
	s.pos++
	array := s.accept('[')
	parts, err := s.key()
	if err != nil {
		return "", err
	}
	if !s.accept(']') || array && !s.accept(']') {
		return "", errScan
	}
	var p path
	for i, part := range parts {
		p = p.key(part.name)
		s.note(p, place{key: part.span})
		n := s.tables[p]
		if last := i == len(parts)-1; array && last {
			s.tables[p] = n + 1
			p = p.at(n)
			s.note(p, place{key: part.span})
		} else if n > 0 {
			p = p.at(n - 1)
		}
	}
	return p, nil
}

// pair reads key = value.
func (s *scanner) pair(table path, depth int) error {
	parts, err := s.key()
	if err != nil {
		return err
	}
	if !s.accept('=') {
		return errScan
	}
	s.blank(false)
	for _, part := range parts[:len(parts)-1] {
		table = table.key(part.name)
		s.note(table, place{key: part.span})
	}
	last := parts[len(parts)-1]
	return s.value(table.key(last.name), last.span, depth)
}

// note keeps the first place of a path: a table may be mentioned many times.
func (s *scanner) note(p path, at place) {
	if _, ok := s.places[p]; !ok {
		s.places[p] = at
	}
}

func (s *scanner) key() ([]part, error) {
	var parts []part
	for {
		s.blank(false)
		start := s.pos
		if s.pos >= len(s.text) {
			return nil, errScan
		}
		var name string
		if c := s.text[s.pos]; c == '"' || c == '\'' {
			if err := s.quoted(string(c)); err != nil {
				return nil, err
			}
			name = unquote(s.text[start:s.pos])
		} else {
			for s.pos < len(s.text) && !strings.ContainsRune(" \t\r\n=.[]{},#\"'", rune(s.text[s.pos])) {
				s.pos++
			}
			name = s.text[start:s.pos]
			if name == "" {
				return nil, errScan
			}
		}
		parts = append(parts, part{name, span{start, s.pos}})
		s.blank(false)
		if !s.accept('.') {
			return parts, nil
		}
		if len(parts) >= maxDepth {
			return nil, errTooDeep
		}
	}
}

// value reads any value; key is where its key stands, or an empty span for an array element.
func (s *scanner) value(p path, key span, depth int) error {
	if depth > maxDepth {
		return errTooDeep
	}
	start := s.pos
	if s.pos >= len(s.text) {
		return errScan
	}
	var err error
	compound := false
	switch c := s.text[s.pos]; {
	case c == '[':
		compound, err = true, s.array(p, depth)
	case c == '{':
		compound, err = true, s.inlineTable(p, depth)
	case strings.HasPrefix(s.text[s.pos:], `"""`), strings.HasPrefix(s.text[s.pos:], "'''"):
		err = s.quoted(s.text[s.pos : s.pos+3])
	case c == '"' || c == '\'':
		err = s.quoted(string(c))
	default:
		for s.pos < len(s.text) && !strings.ContainsRune(",]}#\r\n", rune(s.text[s.pos])) {
			s.pos++
		}
		s.pos = start + len(strings.TrimRight(s.text[start:s.pos], " \t"))
		if s.pos == start {
			err = errScan
		}
	}
	value := span{start, s.pos}
	if key == (span{}) {
		key = value
	}
	s.note(p, place{key, value})
	if !compound {
		s.hidden = append(s.hidden, value)
	}
	return err
}

func (s *scanner) array(p path, depth int) error {
	s.pos++
	for i := 0; ; i++ {
		s.blank(true)
		if s.accept(']') {
			return nil
		}
		if err := s.value(p.at(i), span{}, depth+1); err != nil {
			return err
		}
		s.blank(true)
		if !s.accept(',') && !(s.pos < len(s.text) && s.text[s.pos] == ']') {
			return errScan
		}
	}
}

func (s *scanner) inlineTable(p path, depth int) error {
	s.pos++
	for {
		s.blank(true)
		if s.accept('}') {
			return nil
		}
		if err := s.pair(p, depth+1); err != nil {
			return err
		}
		s.blank(true)
		if !s.accept(',') && !(s.pos < len(s.text) && s.text[s.pos] == '}') {
			return errScan
		}
	}
}

// quoted skips a string with the given delimiter, at which it stands.
func (s *scanner) quoted(delimiter string) error {
	s.pos += len(delimiter)
	for s.pos < len(s.text) {
		switch {
		case delimiter[0] == '"' && s.text[s.pos] == '\\':
			s.pos = min(s.pos+2, len(s.text))
		case len(delimiter) == 1 && s.text[s.pos] == '\n':
			return errScan
		case strings.HasPrefix(s.text[s.pos:], delimiter):
			s.pos += len(delimiter)
			// A multi-line string may end in one or two quotes of its own.
			for n := 0; len(delimiter) == 3 && n < 2 && s.accept(delimiter[0]); n++ {
			}
			return nil
		default:
			s.pos++
		}
	}
	return errScan
}

// unquote gives the name a quoted key stands for. An escape that Go does not know stays as written: the key is then
// unknown anyway.
func unquote(text string) string {
	if text[0] == '"' {
		if name, err := strconv.Unquote(text); err == nil {
			return name
		}
	}
	return text[1 : len(text)-1]
}
