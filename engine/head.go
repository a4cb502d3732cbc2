package engine

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// head is what the gate knows of a request's head while it comes in.
type head struct {
	at       int // where the line begins that is next, from the beginning of the head
	seen     int // how far the line was searched for its end
	lineEnd  int // where the header fields begin, 0 before they do
	target   [2]int
	fields   int
	length   int64 // -1: none was given
	chunked  bool
	host     bool
	old      bool // HTTP/1.0
	bodiless bool // a method whose requests have no body
	post     bool
}

// takeHead follows the bytes of a head that begin or go on in b, and returns how many of them belong to it.
func (g *gate) takeHead(b []byte) int {
	h, before := &g.head, len(g.text)
	text := b
	if before > 0 {
		g.text = append(g.text, b...)
		text = g.text
	} else {
		*h = head{length: -1}
	}
	for {
		from := max(h.at, h.seen)
		n := bytes.IndexByte(text[from:], '\n')
		if n < 0 {
			h.seen = len(text)
			if g.fault = h.tooLong(len(text)); g.fault != nil {
				g.blame(text)
			} else if before == 0 {
				g.text = append(g.text[:0], text...)
			}
			return len(b)
		}
		end := from + n + 1
		line, ok := cutBreak(text[h.at:end])
		switch {
		case !ok:
			g.fault = badFraming("a line of the request's head does not end in CRLF")
		case h.lineEnd == 0 && len(line) == 0 && g.posted && h.at == 0: // an old habit of clients
			g.posted = false
			h.at = end
			continue
		case h.lineEnd == 0:
			if g.fault = h.tooLong(end); g.fault == nil {
				g.fault = h.requestLine(line)
			}
		case len(line) > 0:
			if g.fault = h.tooLong(end); g.fault == nil {
				g.fault = h.field(line)
			}
		default:
			if g.fault = h.finish(g.maxBody); g.fault == nil {
				g.fault = g.hold(h.length)
			}
		}
		if g.fault != nil {
			g.blame(text)
			return len(b)
		}
		h.at = end
		if len(line) == 0 {
			g.enterBody(text)
			g.text, g.posted = g.text[:0], h.post
			return end - before
		}
	}
}

// enterBody sets out what follows the head.
func (g *gate) enterBody(text []byte) {
	switch {
	case g.head.chunked:
		g.stage, g.body, g.waste = stageChunkSize, 0, 0
		g.blame(text)
	case g.head.length > 0:
		g.stage, g.left = stageBody, g.head.length
	}
}

// blame keeps the target of a request with a flaw, or the beginning of one that is too long, for the shape of the answer.
func (g *gate) blame(text []byte) {
	h := &g.head
	if h.lineEnd == 0 {
		line, _, _ := bytes.Cut(text[h.at:min(len(text), h.at+256)], []byte{'\n'})
		_, line, _ = bytes.Cut(line, []byte{' '})
		line, _, _ = bytes.Cut(line, []byte{' '})
		g.path = bytes.Clone(line)
		return
	}
	g.path = append(g.path[:0], text[h.target[0]:h.target[1]]...)
}

// tooLong checks a head of which the line that is looked at reaches to end.
func (h *head) tooLong(end int) *Fault {
	switch {
	case h.lineEnd == 0 && end-h.at > maxRequestLine+2:
		return &Fault{Status: fasthttp.StatusRequestURITooLong, Type: typeRequest, Code: "uri_too_long", Message: "the request line exceeds the limit of 8 KiB"}
	case h.lineEnd > 0 && end-h.lineEnd > maxHeaderBytes:
		return headersTooLarge("headers_too_large", "the header fields exceed the limit of 32 KiB")
	}
	return nil
}

func headersTooLarge(code, message string) *Fault {
	return &Fault{Status: fasthttp.StatusRequestHeaderFieldsTooLarge, Type: typeRequest, Code: code, Message: message}
}

// requestLine takes the first line of a head.
func (h *head) requestLine(line []byte) *Fault {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return badFraming("the request line is not a method, a target and a version")
	}
	start := h.at + len(method) + 1
	h.target, h.lineEnd = [2]int{start, start + len(target)}, h.at+len(line)+2
	if len(method) == 0 || len(method) > 32 {
		return badFraming("the method is not valid")
	}
	for _, c := range method {
		if (c < 'A' || c > 'Z') && c != '-' {
			return badFraming("the method is not in upper case letters")
		}
	}
	switch string(method) {
	case "GET", "HEAD":
		h.bodiless = true
	case "POST":
		h.post = true
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.old = true
	default:
		return badFraming("the version is neither HTTP/1.1 nor HTTP/1.0")
	}
	return checkTarget(target)
}

// checkTarget wants an absolute path and perhaps a query, in printable ASCII, with no part that stands for another.
func checkTarget(target []byte) *Fault {
	if len(target) == 0 || target[0] != '/' {
		return badFraming("the request target must be a path")
	}
	query, dots, escaped := len(target), false, false
	for i, c := range target {
		switch {
		case c <= ' ' || c > '~' || c == '#':
			return badFraming("the request target holds a character that it must not")
		case c == '?':
			query = min(query, i)
		case c == '.':
			dots = true
		case c == '%' && query == len(target):
			if escaped = true; i+2 >= len(target) || !isHex(target[i+1]) || !isHex(target[i+2]) {
				return badFraming("the request target holds an escape that is none")
			}
		}
	}
	if !dots && !escaped {
		return nil
	}
	for segment := range bytes.SplitSeq(target[:query], []byte{'/'}) {
		if len(segment) <= 6 && isDots(segment) {
			return badFraming("the request target must not hold . or .. as a part of its path")
		}
	}
	return nil
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// isDots says whether a part of a path is one or two dots, in any spelling.
func isDots(segment []byte) bool {
	n := 0
	for ; len(segment) > 0; n++ {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && segment[0] == '%' && segment[1] == '2' && segment[2]|0x20 == 'e':
			segment = segment[3:]
		default:
			return false
		}
	}
	return n == 1 || n == 2
}

// field takes one header field. The characters of names and values are the server's to check, but for spaces in names, which it
// takes, and for the fields that say where the request ends and whom it is for.
func (h *head) field(line []byte) *Fault {
	if h.fields++; h.fields > maxHeaders {
		return headersTooLarge("too_many_headers", "the request has more header fields than the limit of 100")
	}
	n := bytes.IndexByte(line, ':')
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return badFraming("a header field goes on in the next line")
	case n <= 0 || bytes.IndexByte(line[:n], ' ') >= 0:
		return badFraming("the name of a header field is not valid")
	}
	name, value := line[:n], line[n+1:]
	switch n {
	case len("Host"):
		if bytes.EqualFold(name, []byte("Host")) {
			return h.setHost(bytes.Trim(value, " \t"))
		}
	case len("Expect"):
		if bytes.EqualFold(name, []byte("Expect")) && !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("100-continue")) {
			return &Fault{
				Status: fasthttp.StatusExpectationFailed, Type: typeRequest, Code: "expectation_failed",
				Message: "no expectation but 100-continue can be met",
			}
		}
	case len("Trailer"):
		if bytes.EqualFold(name, []byte("Trailer")) {
			return badFraming("trailers are not accepted")
		}
	case len("Content-Length"):
		if bytes.EqualFold(name, []byte("Content-Length")) {
			return h.setLength(bytes.Trim(value, " \t"))
		}
	case len("Transfer-Encoding"):
		if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			if h.chunked || !bytes.EqualFold(bytes.Trim(value, " "), []byte("chunked")) {
				return badFraming("the only transfer encoding is chunked, once")
			}
			h.chunked = true
		}
	}
	return nil
}

func (h *head) setHost(value []byte) *Fault {
	if h.host {
		return badFraming("two Host headers")
	}
	h.host = true
	for _, c := range value {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && bytes.IndexByte([]byte("-._~:[]%"), c) < 0 {
			return badFraming("the Host header is not a host")
		}
	}
	return nil
}

func (h *head) setLength(value []byte) *Fault {
	if h.length >= 0 {
		return badFraming("two Content-Length headers")
	}
	if len(value) == 0 {
		return badFraming("the Content-Length is not a number")
	}
	h.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return badFraming("the Content-Length is not a number")
		}
		h.length = min(h.length*10+int64(c-'0'), 1<<59) // beyond any limit; another digit cannot overflow it
	}
	return nil
}

// finish checks the head as a whole.
func (h *head) finish(maxBody int64) *Fault {
	switch {
	case !h.host && !h.old:
		return badFraming("no Host header")
	case h.chunked && h.length >= 0:
		return badFraming("both Content-Length and Transfer-Encoding")
	case h.chunked && h.old:
		return badFraming("Transfer-Encoding in HTTP/1.0")
	case h.bodiless && (h.chunked || h.length > 0):
		return badFraming("GET and HEAD take no body")
	case h.length > maxBody:
		return bodyTooLarge(maxBody)
	}
	return nil
}
